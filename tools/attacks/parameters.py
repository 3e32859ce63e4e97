"""Hostile values of what stands before a body: paths, queries, headers, links."""

from __future__ import annotations

from collections.abc import Iterator

PATHS: tuple[bytes, ...] = (
    *(b"none", b".", b"..", b"%2e%2e", b"..%2f..%2fetc%2fpasswd", b"%2e%2e%2f%2e%2e%2flock"),
    *(b"..%5c..%5cboot.ini", b"%00", b"a%00b", b"%0d%0aSet-Cookie:%20a=b", b"%ff%fe", b"%ED%A0%80"),
    *(
        b"%",
        b"%zz",
        b"%u0041",
        b"%25%32%65",
        b"%C3%A4",
        b"%F0%9F%92%A5",
        b"%E2%80%AE",
        b"%20",
        b"+",
    ),
    *(b"*", b"~", b"'", b"%22", b"%3Cscript%3E", b"{id}", b"%7B%7B7*7%7D%7D", b"a;b=c", b"a:b@c"),
    *(b"0", b"-1", b"1e999", b"9" * 400, b"null", b"a" * 10_000, b"a/b", b"a//b", b"//", b"a/"),
    *(
        b"http://127.0.0.1/",
        b"%3Fa",
        b"%23a",
        b"a,b",
        b"(a)",
        b"[a]",
        b"$(id)",
        b"\xc3\xa4",
        b"\xff",
    ),
)
"""Values of a path's parameter, as they stand in the request."""
QUERIES: tuple[bytes, ...] = (
    *(b"", b"0", b"-1", b"1", b"1.5", b"1e999", b"NaN", b"9" * 19, b"9" * 400, b"9" * 5000, b"x"),
    *(
        b"n0",
        b"o0",
        b"n-1",
        b"o-1",
        b"n1e9",
        b"n" + b"9" * 19,
        b"o" + b"9" * 400,
        b"n%D9%A1",
        b"nn1",
    ),
    *(b"%00", b"%ff", b"%ED%A0%80", b"%F0%9F%92%A5", b"%", b"%zz", b"%0d%0aA:%20b", b"+", b"%20"),
    *(
        b"'%20OR%201=1",
        b"%3Cscript%3E",
        b"a" * 10_000,
        b"[]",
        b"null",
        b"true",
        b"..%2f..",
        b"\xff",
    ),
)
"""Values of a query's parameter, as they stand in the request."""
WHOLE_QUERIES: tuple[bytes, ...] = (
    *(
        b"?",
        b"??",
        b"?&",
        b"?=",
        b"?=a",
        b"?&&&",
        b"?%",
        b"?%ff=%ff",
        b"?\xff",
        b"?a[]=1",
        b"?a[b]=1",
    ),
    *(b"?" + b"a=1&" * 5000, b"?" + b"a" * 10_000, b"?a=1;b=2", b"?a?b", b"?%00=%00", b"?limit=-1"),
    *(b"?token=a&access_token=b", b"?limit=99999999999999999999", b"?page=0&offset=-1&cursor="),
    *(b"?expires=abc&signature=", b"?expires=&expires=1", b"?expires=-1&signature=%ff"),
    *(b"?expires=" + b"9" * 5000 + b"&signature=a", b"?expires=1e999&signature=" + b"a" * 10_000),
    *(b"?expires=%D9%A1&signature=a", b"?expires=NaN&signature=\xff", b"?signature=a&expires=1"),
)
"""Queries that any path may get."""
REFUSED: dict[bytes, tuple[bytes, ...]] = {
    b"authorization": (
        *(b"", b" ", b"Bearer", b"Bearer ", b"bearer  x", b"Token", b"Token x", b"Basic", b"\xff"),
        *(b"Basic Og==", b"Basic !!", b"Bearer \xff\xfe", b"Bearer " + b"a" * 10_000, b"Digest a"),
        *(b"Bearer a b", b"Bearer\tx", b"Bearer null", b"Bearer ' OR 1=1 --", b"Bearer,Bearer x"),
    ),
    b"host": (
        *(
            b"",
            b":",
            b"localhost:",
            b"localhost:99999",
            b"localhost:x",
            b"[::1",
            b"[::1]:x",
            b"\xff",
        ),
        *(b"example.com", b"127.0.0.1.example.com", b"localhost@example.com", b"localhost/a"),
        *(
            b"localhost, example.com",
            b"[",
            b"]",
            b"a" * 10_000,
            b"localhost:\xb2",
            b"http://localhost",
        ),
        *(b"LOCALHOST", b"localhost.", b"localhost:-1", b"localhost:80:80", b"localhost?a#b"),
    ),
    b"origin": (
        *(b"", b"null", b"*", b"https://example.com", b"http://127.0.0.1:99999", b"http://["),
        *(
            b"file://",
            b"http://localhost.example.com",
            b"\xff",
            b"a" * 10_000,
            b"http://a, http://b",
        ),
    ),
}
"""Values of the headers that the most requests are refused by."""
READ: dict[bytes, tuple[bytes, ...]] = {
    b"range": (
        *(
            b"",
            b"bytes",
            b"bytes=",
            b"bytes=-",
            b"bytes=--1",
            b"bytes=0-",
            b"bytes=-0",
            b"bytes=1-0",
        ),
        *(
            b"bytes=-99999999999999999999",
            b"bytes=99999999999999999999-",
            b"bytes=a-b",
            b"bits=0-1",
        ),
        *(b"bytes=" + b"0-0," * 2000 + b"0-0", b"bytes=" + b"0-," * 2000 + b"0-", b"bytes=\xb2-"),
        *(b"bytes=0-0,-1", b"bytes=0.5-1", b"bytes= 0 - 1 ", b"bytes=" + b"9" * 5000 + b"-"),
    ),
    b"accept": (
        *(
            b"",
            b"*",
            b"*/*;q=abc",
            b"text/html",
            b"text/event-stream",
            b";",
            b"a/b;q=1e999",
            b"\xff",
        ),
        *(b"text/html;q=0, */*", b"a/b," * 2000, b"text/event-stream\x0b", b"application/xml"),
    ),
    b"prefer": (
        *(b"", b"wait=", b"wait=-1", b"wait=0", b"wait=1.5", b"wait=\xb2", b"wait=1e9", b"\xff"),
        *(b"wait=1,respond-async", b"respond-async; wait=1", b"WAIT=1", b"wait=" + b"1" * 3000),
    ),
    b"last-event-id": (
        *(
            b"",
            b"0",
            b"-1",
            b"1.5",
            b"1e999",
            b"9" * 19,
            b"9" * 5000,
            b"\xff",
            b"\xb2",
            b"x",
            b"1:2",
        ),
        *(b"1:99999999999999999999", b"-1:-1", b":", b"\xd9\xa1", b"null", b"a" * 10_000),
    ),
    b"content-type": (b"", b"\xff", b"multipart/form-data", b"application/json; charset=undefined"),
    b"content-encoding": (b"gzip", b"br", b"identity, gzip", b"\xff"),
    b"accept-encoding": (b"", b"*;q=0", b"gzip;q=abc", b"identity;q=0, *;q=0", b"\xff"),
    b"if-none-match": (b"", b"*", b'W/"', b"\xff", b'"a",' * 2000),
    b"if-modified-since": (b"", b"0", b"Fri, 99 Xxx 9999 99:99:99 GMT", b"\xff", b"9" * 5000),
    b"if-range": (b"", b"0", b"Thu, 01 Jan 1970 00:00:00 GMT", b"\xff"),
    b"cookie": (b"\xff", b"a=" + b"b" * 10_000, b"=;;=", b"session=../../etc/passwd"),
    b"x-forwarded-for": (b"127.0.0.1", b"\xff", b"a, b"),
    b"x-forwarded-host": (b"example.com", b"[", b"\xff"),
    b"x-forwarded-proto": (b"https", b"javascript", b"\xff"),
    b"forwarded": (b"for=127.0.0.1;host=example.com;proto=x", b"\xff"),
    b"x-http-method-override": (b"DELETE", b"\xff"),
    b"access-control-request-method": (b"DELETE", b"\xff"),
    b"expect": (b"100-continue", b"200-ok", b"\xff"),
    b"upgrade": (b"websocket", b"h2c", b"\xff"),
}
"""Values of other headers, by their names in small letters."""
METHODS = (
    b"PATCH",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"BREW",
    b"get",
    b"A" * 1000,
    b"HEAD",
    b"QUERY",
)


def headers() -> Iterator[dict[bytes, bytes]]:
    """Yield hostile headers: alone where a request is refused by them, else all at once."""
    for name, texts in REFUSED.items():
        yield from ({name: text} for text in texts)
    for at in range(max(map(len, READ.values()))):
        yield {name: texts[at % len(texts)] for name, texts in READ.items()}
