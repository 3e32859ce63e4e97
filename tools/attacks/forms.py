"""Hostile forms: what their types say of them, and what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

BOUNDARY = b"boundary"
MULTIPART = b"multipart/form-data; boundary=boundary"
URLENCODED = b"application/x-www-form-urlencoded"
CHARSETS: tuple[bytes, ...] = (
    *(b"undefined", b"punycode", b"utf-7", b"unicode_escape", b"raw_unicode_escape", b"idna"),
    *(b"rot13", b"base64", b"hex", b"zlib", b"bz2", b"uu", b"mbcs", b"oem", b"utf-16", b"utf-32"),
    *(b"cp037", b"none", b"", b'"', b"\xff", b"a" * 10_000, b"utf-8; charset=utf-7", b"../utf_8"),
)
"""Character sets that a form may say it is in; Python knows the first of them as codecs."""
TYPES: tuple[bytes, ...] = (
    *(b"", b";", b"/", b"text/plain", b"application/xml", b"application/octet-stream", b"\xff"),
    *(b"application/json", b"application/json; charset=utf-16", b"a" * 10_000, b";" * 10_000),
    *(b"multipart/form-data", b"multipart/form-data;", b"multipart/form-data; boundary"),
    *(b"multipart/form-data; boundary=", b'multipart/form-data; boundary=""', b"multipart/"),
    *(b"multipart/form-data; boundary=other", b"multipart/form-data; boundary=bound\xe4ry"),
    *(b"multipart/form-data; boundary=" + b"b" * 1000, b'multipart/form-data; boundary="bound'),
    *(b"multipart/form-data; boundary=a; boundary=boundary", b"multipart/mixed; boundary=boundary"),
    *(b"MULTIPART/FORM-DATA; BOUNDARY=boundary", b"multipart/form-data, application/json"),
    *(b"multipart/form-data; boundary*=utf-8''%00", b"multipart/form-data; boundary*0=bound"),
    *(b"multipart/related; boundary=boundary", b"multipart/byteranges; boundary=boundary"),
)
"""Content types, of a body that is multipart by the boundary `boundary`."""
FILENAMES: tuple[bytes, ...] = (
    *(b'filename=""', b'filename="."', b'filename=".."', b'filename="../../etc/passwd"'),
    *(b'filename="C:\\\\a\\\\b.png"', b'filename="a\0b.png"', b'filename="a%00b%0d%0a.png"'),
    *(b'filename="' + b"a" * 10_000 + b'"', b'filename="unclosed', b"filename=", b"filename"),
    *(b'filename="f\xfcx.png"', b'filename="\xed\xa0\xbd"', b'filename="\xff\xfe"'),
    *(b'filename="f\\ud83d"', b'filename="+2D0-"', b"filename*=utf-8''%ff", b"filename*=x''a"),
    *(b"filename*=undefined''a", b"filename*=punycode''%ff", b"filename*=utf-7''+2D0-"),
    *(b"filename*=unicode_escape''%5Cud83d", b"filename*=utf-16''a", b"filename*=''", b"filename*"),
    *(b"filename*0=a; filename*1=b", b"filename*utf-8''a", b'filename="a"; filename="b"'),
    *(b'filename="\xe2\x80\xaegnp.exe"', b'filename="a\tb"', b'filename="CON"'),
    b'filename="a/b/c"',
)
URLENCODED_BODIES: tuple[bytes, ...] = (
    *(b"", b"=", b"&", b"&" * 10_000, b"%", b"a=%", b"a=%zz", b"a=%ff", b"%00=%00", b"a=%ED%A0%80"),
    *(b"a=1&" * 5000, b"a;b;c", b"\xff=\xfe", b"\0", b"a" * 100_000, b"a=" + b"+" * 100_000),
    *(b"prompt", b"prompt=", b"prompt=a&prompt=b", b"prompt[]=a", b"prompt[a]=b"),
    *(b"_charset_=utf-7", b"prompt=%E4", b"prompt=\xe4", b"%E4=a"),
)


def multipart(*parts: bytes) -> bytes:
    """Return a body of these parts, by the boundary `boundary`."""
    lines = b"".join(b"--" + BOUNDARY + b"\r\n" + part + b"\r\n" for part in parts)
    return lines + b"--" + BOUNDARY + b"--\r\n"


def part(name: str, data: bytes = b"", more: bytes = b"", headers: bytes = b"") -> bytes:
    """Return a part.

    Args:
        more: further parameters of its Content-Disposition.
        headers: further headers, each with its line's end.
    """
    more = b"; " + more if more else b""
    head = b'Content-Disposition: form-data; name="' + name.encode() + b'"' + more
    return head + b"\r\n" + headers + b"\r\n" + data


def hostile(fields: Mapping[str, bytes], file: str, data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield hostile forms, and their content types.

    Args:
        fields: the sane fields beside the file.
        file, data: the name and the sane content of the part that is a file.
    """
    rest = [part(name, value) for name, value in fields.items()]
    picture = part(file, data, b'filename="a.png"', b"Content-Type: image/png\r\n")
    sane = multipart(*rest, picture)
    yield MULTIPART, sane
    yield from ((kind, sane) for kind in TYPES)
    for charset in CHARSETS:
        strange = part(file, data, b'filename="f\xc3\xbcx\\ud83d +2D0-"')
        named = b"; charset=" + charset
        yield MULTIPART + named, multipart(*rest, strange)
        yield (
            MULTIPART,
            multipart(
                *rest, part(file, data, b"filename=a", b"Content-Type: a/b" + named + b"\r\n")
            ),
        )
        yield URLENCODED + named, b"prompt=f%FCx%5Cud83d&content=%ff\xff"
        yield MULTIPART, multipart(part("_charset_", charset), *rest, picture)
    for filename in FILENAMES:
        yield MULTIPART, multipart(*rest, part(file, data, filename))
    yield from ((MULTIPART, body) for body in _broken(rest, picture, file, data, sane))
    yield from ((URLENCODED, body) for body in URLENCODED_BODIES)


def _broken(
    rest: list[bytes], picture: bytes, file: str, data: bytes, sane: bytes
) -> Iterator[bytes]:
    """Yield bodies whose parts are not as they should be."""
    yield from (b"", b"--boundary", b"--boundary--", b"--boundary--\r\n", b"--boundary\r\n\r\n")
    yield from (sane[: len(sane) * share // 10] for share in range(1, 10))
    yield from (sane[:-4], sane[:-2], sane + sane, sane.replace(b"\r\n", b"\n"))
    yield b"preamble" * 10_000 + b"\r\n" + sane + b"epilogue" * 10_000
    yield b"\r\n" * 10_000 + sane
    disposition = b'Content-Disposition: form-data; name="%s"' % file.encode()
    for head in (
        *(b"", b"\r\n", b": \r\n", b"no colon\r\n", b"Content-Disposition\r\n"),
        *(b"Content-Disposition:\r\n", b"Content-Disposition: form-data\r\n"),
        *(b"Content-Disposition: form-data; name\r\n", b"Content-Disposition: attachment\r\n"),
        *(b'Content-Disposition: form-data; name=""\r\n', b"Content-Disposition: ;;;=;\r\n"),
        *(b"Content-Disposition: form-data; name*=utf-8''%ff\r\n", b"Content-Type: text/plain\r\n"),
        *(b'Content-Disposition: form-data; name="\xff\xfe"\r\n', b"A: " + b"a" * 10**5 + b"\r\n"),
        *(b'Content-Disposition: form-data; name="a\0b"\r\n', b"A: a\r\n" * 5000),
        *(disposition + b"\r\n" + disposition + b"\r\n", b"A: b\r\n folded\r\n" + disposition),
        *(disposition + b"\r\nContent-Type: \xff\r\n", disposition + b"\nContent-Type: a/b\n"),
        *(disposition + b"\r\nContent-Transfer-Encoding: base64\r\n", b"\0: \0\r\n"),
        *(disposition + b"\r\nContent-Type: " + b"a/" * 10_000 + b"\r\n", disposition + b"\r\r\n"),
        disposition + b"\r\nContent-Type: multipart/mixed; boundary=boundary\r\n",
    ):
        yield multipart(*rest, head + b"\r\n" + data)
    yield multipart(*rest, part(file, sane, b"", b"Content-Type: multipart/mixed; boundary=x\r\n"))
    yield multipart(*rest, picture, picture)
    yield multipart(*rest, *rest, part(file, b"text"), picture)
    yield multipart(picture, *rest, part(file, b"text"))
    yield multipart(*rest, part(file, b"not a file"))
    yield multipart(*rest, part(file, data, headers=b"Content-Type: image/png\r\n"))
    yield multipart(*rest, part(file, b"\x89PNG\r\n\x1a\n\xff"))
    yield multipart(part("prompt", b"\xe4"), *rest, picture)
    yield multipart(*rest, part(file, b"", b'filename=""'))
    yield multipart(*(part(f"a{number}", b"b") for number in range(5000)))
    yield multipart(*(part(f"a{number}", b"b", b'filename="c"') for number in range(5000)))
    yield multipart(*(part(file, b"b", b'filename="c"') for _ in range(20)))
    yield multipart(part("a" * 100_000, b"b"), *rest, picture)
    yield multipart(part("unknown", b"b" * 2**21), *rest, picture)
