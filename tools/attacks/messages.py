"""What is no HTTP, or not quite: requests whose parts contradict each other or never come."""

from __future__ import annotations

from collections.abc import Iterator

BODY = b'{"input": {}}'


def hostile(target: bytes, head: bytes) -> Iterator[bytes]:
    """Yield messages around a POST.

    Args:
        target: of the request.
        head: the headers that it needs, each with its line's end, Host not among them.
    """
    host = b"Host: localhost\r\n"
    typed = host + head + b"Content-Type: application/json\r\n"
    post = b"POST " + target + b" HTTP/1.1\r\n"
    size = len(BODY)
    for length in (
        *(b"", b"-1", b"+1", b"0", b"1.5", b"0x10", b"1e9", b"\xb2", b"9" * 400, b"1, 1", b"1, 2"),
        *(str(size + 1).encode(), str(size // 2).encode(), b" " + str(size).encode() + b" "),
        *(str(size).encode() + b"\r\nContent-Length: 1", b"99999999999", b"0\r\n\tfolded"),
    ):
        yield post + typed + b"Content-Length: " + length + b"\r\n\r\n" + BODY
    chunked = b"%x\r\n" % size + BODY + b"\r\n0\r\n\r\n"
    for chunks in (
        *(
            b"",
            b"0\r\n\r\n",
            b"zz\r\n",
            b"-1\r\n\r\n",
            b"f" * 20 + b"\r\n",
            b"1\r\nab\r\n",
            chunked,
        ),
        *(b"%x;" % size + b"a=b" * 9000 + b"\r\n", b"0\r\n" + b"A: b\r\n" * 2000 + b"\r\n"),
        *(b"1\r\na\r\n0\r\nContent-Length: 5\r\n\r\n", chunked[:-2], chunked + chunked),
    ):
        yield post + typed + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    for encoding in (
        *(b"Chunked", b"chunked, chunked", b"gzip, chunked", b"identity", b"", b"x", b"\xff"),
        *(
            b"chunked\r\nContent-Length: 3",
            b"chunked\r\nTransfer-Encoding: identity",
            b"\x0bchunked",
        ),
    ):
        yield post + typed + b"Transfer-Encoding: " + encoding + b"\r\n\r\n" + chunked
    sized = b"Content-Length: %d\r\n\r\n" % size + BODY
    for line in (
        *(b"POST", b"POST ", b"POST  HTTP/1.1", b"POST " + target),
        b" POST " + target + b" HTTP/1.1",
        *(b"POST " + target + b" HTTP/0.9", b"POST " + target + b" HTTP/1.0", b"\xff / HTTP/1.1"),
        *(b"POST " + target + b" HTTP/2.0", b"POST " + target + b" HTTP/9.9", b"POST * HTTP/1.1"),
        *(b"POST http://localhost" + target + b" HTTP/1.1", b"POST //" + target + b" HTTP/1.1"),
        *(b"POST http://[ HTTP/1.1", b"POST ? HTTP/1.1", b"POST # HTTP/1.1", b"POST a HTTP/1.1"),
        *(b"POST " + target + b"#a HTTP/1.1", b"POST " + target + b"\0 HTTP/1.1", b"\r\n\r\n"),
        *(b"POST " + target + b"\tHTTP/1.1", b"GET /" + b"a" * 10**5 + b" HTTP/1.1", b"\0"),
        *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"GET /"),
    ):
        yield line + b"\r\n" + typed + sized
    for more in (
        *(b"Host: localhost\r\n", b"no colon\r\n", b": empty\r\n", b"A b: c\r\n", b"A : b\r\n"),
        *(b"A: b\r\n folded\r\n", b"A: \0\r\n", b"A: \x7f\r\n", b"\xff: \xff\r\n", b"A\n\r: b\r\n"),
        *(b"A: " + b"b" * 10**5 + b"\r\n", b"A: b\r\n" * 2000, b"A" * 30_000 + b": b\r\n"),
        b"A:b\n",
        b"Connection: close, keep-alive, upgrade\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        *(b"Expect: 100-continue\r\n", b"Content-Encoding: gzip\r\n", b"Connection: \xff\r\n"),
    ):
        yield post + typed + more + sized
    yield post + head + sized
    yield (post + typed + sized)[:-1]
    yield post + typed[:-1]
    yield post + typed + b"\r\n" + BODY
    yield (post + typed + sized) * 2
