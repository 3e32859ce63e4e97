from __future__ import annotations

import asyncio
import re
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import httpcore2
import pytest

from hosting.net import fetch
from hosting.net.addresses import Networks
from hosting.net.fetch import FetchError
from tests.support.properties import given
from tests.support.properties import strategies as st
from tools.attacks.addresses import ADDRESSES, NAMES

PUBLIC = "93.184.216.34"
LOOPBACK: Networks = (IPv4Network("127.0.0.0/8"),)


class Exchange(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        with suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = self.rfile.readline()
                if not line:
                    return
                head += line
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            body = self.rfile.read(int(length[1])) if length else b""
            self.server.requests.append(head + body)
            for piece in self.server.answers[head.split()[1].decode()]:
                self.wfile.write(piece)


class Server(socketserver.ThreadingTCPServer):
    """Answers with what was laid down for the path, byte by byte, and keeps what it was sent."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.port: int = self.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.answers: dict[str, Iterable[bytes]] = {}
        self.requests: list[bytes] = []
        self.connections = 0
        self.tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        if not self.tls:
            return super().finish_request(request, client_address)
        with suppress(OSError), self.tls.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def redirect(self, path: str, target: str, status: int = 302) -> None:
        self.answers[path] = [answer(b"", f"Location: {target}", status=status)]


def answer(body: bytes, *headers: str, status: int = 200) -> bytes:
    lines = [f"HTTP/1.1 {status} Some", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Network:
    """Stands in for the DNS, and for the public internet, all of which is one server here."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self.dead: list[str] = []
        self.silent: list[str] = []
        self.lookups: list[str] = []
        self.dialled: list[str] = []
        self.transports: list[asyncio.BaseTransport] = []
        connect = asyncio.BaseEventLoop.create_connection

        def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
            self.lookups.append(host)
            return [
                (socket.AF_INET6 if ":" in address else socket.AF_INET, 1, 6, "", (address, port))
                for address in self.addresses(host)
            ]

        async def create_connection(
            loop: asyncio.BaseEventLoop, protocol: Any, host: str, port: int, **options: Any
        ) -> Any:
            self.dialled.append(host)
            if host in self.dead:
                raise ConnectionRefusedError
            if host in self.silent:
                await asyncio.sleep(9)
            if not host.startswith("127."):
                host, port = "127.0.0.1", server.port
            made = await connect(loop, protocol, host, port, **options)
            self.transports.append(made[0])
            return made

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", create_connection)

    def addresses(self, host: str) -> list[str]:
        if host in self.names:
            answers = self.names[host]
            return answers.pop(0) if len(answers) > 1 else answers[0]
        with suppress(ValueError):
            return [str(ip_address(host))]
        with suppress(OSError):  # as C libraries do: 0x7f.1, 017700000001, 2130706433 …
            return [socket.inet_ntoa(socket.inet_aton(host))]
        return [PUBLIC]  # what gets as far as here by mistake is dialled, and seen


@pytest.fixture
def network(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    network = Network(server, monkeypatch)
    yield network
    assert all(transport.is_closing() for transport in network.transports)


def download(url: str, **options: Any) -> bytes:
    limits: dict[str, Any] = {"largest": 10_000, "seconds": 5, "allowed": LOOPBACK}
    return asyncio.run(fetch.download(url, **(limits | options)))


def post(url: str, body: bytes = b"", **headers: str) -> int:
    return asyncio.run(fetch.post(url, body, headers, seconds=5, allowed=LOOPBACK))


def refusal(url: str, **options: Any) -> str:
    with pytest.raises(FetchError) as caught:
        download(url, **options)
    return str(caught.value)


# What is refused before anything is sent


@pytest.mark.parametrize("url", ADDRESSES, ids=lambda url: ascii(url)[:50])
def test_a_hostile_url_reaches_nothing(url: str, server: Server, network: Network) -> None:
    network.names = {name: [addresses] for name, addresses in NAMES.items()}
    url = url.replace("PORT", str(server.port))
    sentence = refusal(url, allowed=())
    assert 10 < len(sentence) < 250
    assert sentence.isprintable()
    with pytest.raises(FetchError):
        asyncio.run(fetch.post(url, b"", {}, seconds=5))
    assert (network.dialled, server.connections) == ([], 0)


def test_the_canary_would_sing(server: Server, network: Network) -> None:
    server.answers["/"] = [answer(b"song")]
    assert download("http://example.com/", allowed=()) == b"song"
    assert (network.dialled, server.connections) == ([PUBLIC], 1)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://example.com/", "'ftp://example.com/' is not a URL that starts with http"),
        ("http:///a", "has no host"),
        ("http://a:b@example.com/", "user name or password"),
        ("http://example.com:70000/", "port '70000' is not a number from 1 to 65535"),
        ("http://[fe80::1%25eth0]/", "host '[fe80::1%25eth0]' is neither a name nor an address"),
        ("http://127.0.0.1./", "host '127.0.0.1.' is neither a name nor an address"),
        ("http://example.com../", "host 'example.com..' is neither a name nor an address"),
        ("http://:/", "has no host"),
        ("http://127.1/", "host '127.1' is neither a name nor an address"),
        ("http://example.com/" + "a" * 4000, "4,019 characters; give at most 4,000"),
        ("http://example.com/\na", r"the character '\n'"),
        ("http://bücher.example/", r"the character '\xfc'"),
    ],
)
def test_a_refusal_names_the_fault(url: str, words: str) -> None:
    with pytest.raises(FetchError, match=re.escape(words)):
        fetch.check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "HTTPS://Example.COM:443/a/b.png?x=1&y=%20#part",
        "http://xn--bcher-kva.example/",
        "http://my_bucket.s3.example.com/a@b:c",
        "http://redis:6379",
        "http://example.com:/a",
        "https://example.com.:443/a",
        "http://[2606:4700::1111]:/",
        "http://8.8.8.8:1/",
        "http://[2606:4700::1111]:65535/",
        "https://example.com?a=http://127.0.0.1/",
        "http://example.com/" + "a" * 3981,
    ],
)
def test_an_ordinary_url_is_taken(url: str) -> None:
    fetch.check_url(url)


@given(
    st.text(max_size=20) | st.text("htps:/[]@.#?%\\127afx \t", max_size=40).map("http://".__add__)
)
def test_any_text_is_taken_or_refused_and_nothing_else(text: str) -> None:
    with suppress(FetchError):
        fetch.check_url(text)


# The address that was checked is the one that is dialled


def test_a_name_that_changes_its_address_gains_nothing(server: Server, network: Network) -> None:
    network.names["rebind.example"] = [[PUBLIC], ["127.0.0.1"]]
    server.answers["/a"] = [answer(b"public")]
    assert download("http://rebind.example:81/a", allowed=()) == b"public"
    assert (network.lookups, network.dialled) == (["rebind.example"], [PUBLIC])
    assert b"\r\nHost: rebind.example:81\r\n" in server.requests[0]
    assert "not public" in refusal("http://rebind.example:81/a", allowed=())
    assert len(network.dialled) == 1


def test_a_name_is_looked_up_and_checked_again_after_a_redirect(
    server: Server, network: Network
) -> None:
    network.names["rebind.example"] = [[PUBLIC], ["127.0.0.1"]]
    server.redirect("/a", "/b")
    server.answers["/b"] = [answer(b"secret")]
    assert "not public" in refusal("http://rebind.example/a", allowed=())
    assert (len(network.lookups), network.dialled) == (2, [PUBLIC])


@pytest.mark.parametrize("inner", ["127.0.0.1", "10.1.2.3", "::1", "::ffff:10.1.2.3", "fd00::1"])
def test_one_address_that_is_not_public_spoils_a_name(inner: str, network: Network) -> None:
    for addresses in ([PUBLIC, inner], [inner, PUBLIC], [*(PUBLIC,) * 9, inner]):
        network.names["both.example"] = [addresses]
        assert refusal("http://both.example/", allowed=()) == (
            "both.example leads to an address that is not public"
        )
    assert network.dialled == []


def test_the_next_address_is_tried_but_not_without_end(server: Server, network: Network) -> None:
    network.dead = [f"8.8.8.{n}" for n in range(9)]
    server.answers["/"] = [answer(b"yes")]
    network.names["some.example"] = [[*network.dead[:2], PUBLIC, "8.8.4.4"]]
    assert download("http://some.example/") == b"yes"
    assert network.dialled == ["8.8.8.0", "8.8.8.1", PUBLIC]
    network.names["many.example"] = [[*network.dead, PUBLIC]]
    assert "gave no whole answer" in refusal("http://many.example/")
    assert network.dialled[3:] == network.dead[:4]


def test_an_address_that_swallows_everything_leaves_time_for_the_next(
    server: Server, network: Network
) -> None:
    network.silent = ["2606:4700::1"]
    network.names["some.example"] = [["2606:4700::1", PUBLIC]]
    server.answers["/"] = [answer(b"yes")]
    assert download("http://some.example/", seconds=0.6) == b"yes"
    assert network.dialled == ["2606:4700::1", PUBLIC]


def test_only_the_allowed_networks_are_taken_besides(server: Server, network: Network) -> None:
    server.answers["/"] = [answer(b"inside")]
    network.names["inner.example"] = [["10.0.0.5"]]
    ten = (ip_network("10.0.0.0/24"),)
    assert download("http://inner.example/", allowed=ten) == b"inside"
    assert "not public" in refusal("http://10.0.1.5/", allowed=ten)
    assert "not public" in refusal(server.url, allowed=ten)


def test_the_environment_names_no_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    server.answers["/"] = [answer(b"direct")]
    assert download(server.url) == b"direct"


def test_an_ipv6_host_keeps_its_brackets(server: Server, network: Network) -> None:
    server.answers["/?a"] = [answer(b"six")] * 2
    assert download("http://[2606:4700::1]:8080?a") == b"six"
    assert network.dialled == ["2606:4700::1"]
    assert b"\r\nHost: [2606:4700::1]:8080\r\n" in server.requests[0]


def test_a_name_that_nobody_knows_is_told_in_a_sentence(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")):

        def fail(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        assert refusal("http://gone.example/") == "the host gone.example could not be found"


# What comes back


def test_a_file_is_downloaded_as_it_is(server: Server) -> None:
    data = bytes(range(256)) * 20
    server.answers["/a.png?x=%20&y"] = [answer(data)]
    assert download(f"{server.url}/a.png?x=%20&y#part") == data
    (request,) = server.requests
    assert request.startswith(b"GET /a.png?x=%20&y HTTP/1.1\r\n")
    assert b"\r\nAccept-Encoding: identity\r\n" in request
    assert b"\r\nHost: 127.0.0.1:%d\r\n" % server.port in request


def test_chunks_and_an_answer_that_ends_with_the_connection_are_read(server: Server) -> None:
    head = b"HTTP/1.1 200 OK\r\n"
    server.answers["/c"] = [
        head,
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    ]
    server.answers["/e"] = [head, b"\r\n", b"abc"]
    assert download(f"{server.url}/c") == download(f"{server.url}/e") == b"abc"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: Server, status: int) -> None:
    server.redirect("/a/b", "c?d", status)
    server.redirect("/a/c?d", "/e", status)
    server.redirect("/e", f"{server.url}/f", status)
    server.answers["/f"] = [answer(b"here")]
    assert download(f"{server.url}/a/b") == b"here"
    assert "127.0.0.1 redirects more than 2 times" in refusal(f"{server.url}/a/b", redirects=2)
    server.redirect("/f", f"//127.0.0.1:{server.port}/g", status)
    assert "more than 3 times" in refusal(f"{server.url}/a/b", redirects=3)


def test_a_loop_of_redirects_ends(server: Server) -> None:
    server.redirect("/a", "/b")
    server.redirect("/b", "/a")
    assert "redirects more than 10 times" in refusal(f"{server.url}/a")
    assert len(server.requests) == 11


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("/a b.png", "/a%20b.png"),
        ("/ä ö.png?q=ü", "/%C3%A4%20%C3%B6.png?q=%C3%BC"),
        ("/100%25 sure", "/100%25%20sure"),
        ("/狐.png#part", "/%E7%8B%90.png"),
        ("/\u2028", "/%E2%80%A8"),
        ("/a?b=c%26d&e=[1]", "/a?b=c%26d&e=[1]"),
    ],
)
def test_what_is_not_ascii_is_percent_encoded_as_browsers_do(
    server: Server, asked: str, sent: str
) -> None:
    server.answers[sent] = [answer(b"here")]
    assert download(f"{server.url}{asked}") == b"here"
    assert download(f"\n {server.url}{asked} ") == b"here"
    server.answers["/moved"] = [
        f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {asked}\r\n\r\n".encode()
    ]
    assert download(f"{server.url}/moved") == b"here"


@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1/",
        "http://127.0.0.1:PORT/secret",
        "//127.0.0.1:PORT/secret",
        "http://localhost:PORT/secret",
        "http://[::ffff:7f00:1]:PORT/secret",
        "http://2130706433:PORT/secret",
        "http://example.com@127.0.0.1:PORT/secret",
        "http:\\\\127.0.0.1:PORT\\secret",
        "ht\ttp://127.0.0.1:PORT/secret",
        "file:///etc/passwd",
        "gopher://127.0.0.1:PORT/_x",
        "data:text/plain,x",
        "http://[::1/",
        "http://example.com:0/",
        "/" + "a" * 4000,
    ],
)
def test_a_redirects_target_is_checked_like_the_first_url(
    target: str, server: Server, network: Network
) -> None:
    network.names["localhost"] = [["127.0.0.1"]]
    server.redirect("/a", target.replace("PORT", str(server.port)))
    server.answers["/secret"] = [answer(b"secret")]
    refusal("http://example.com/a", allowed=())
    assert (network.dialled, len(server.requests)) == ([PUBLIC], 1)


def test_what_fails_behind_a_redirect_is_named_with_where_it_is(
    server: Server, network: Network
) -> None:
    network.names["gone.example"] = [["10.0.0.1"]]
    server.redirect("/a", "http://other.example/b")
    server.answers["/b"] = [answer(b"", status=404)]
    before = "example.com redirects to "
    sentence = f"{before}'http://other.example/b': other.example answered 404"
    assert refusal("http://example.com/a") == sentence
    server.answers["/b"] = [answer(b"<html>")] * 2
    sentence = f"{before}'http://other.example/b': http://other.example/b is no picture"
    assert refusal("http://example.com/a", fault_of=lambda _: "is no picture") == sentence
    sentence = "http://other.example/b is no picture"
    assert refusal("http://other.example/b", fault_of=lambda _: "is no picture") == sentence
    for target, fault in (
        ("http://gone.example/", "gone.example leads to an address that is not public"),
        ("ftp://x/", "'ftp://x/' is not a URL that starts with http:// or https://"),
        ("http://x:0/", "the URL's port '0' is not a number from 1 to 65535"),
    ):
        server.redirect("/a", target)
        assert refusal("http://example.com/a", allowed=()) == f"{before}{target!r}: {fault}"
    server.redirect("/a", "http://x.example/" + "a" * 5000)
    assert len(refusal("http://example.com/a")) < 250


def test_a_name_may_end_with_the_dot_of_the_root(server: Server, network: Network) -> None:
    server.answers["/a"] = [answer(b"here")]
    assert download("http://example.com.:/a", allowed=()) == b"here"
    assert network.lookups == ["example.com"]
    assert b"\r\nHost: example.com\r\n" in server.requests[0]


def test_a_redirect_to_nowhere_is_an_answer_like_another(server: Server) -> None:
    server.answers["/"] = [answer(b"", status=302)]
    assert refusal(server.url) == "127.0.0.1 answered 302"


@pytest.mark.parametrize("status", [201, 204, 206, 304, 401, 403, 404, 500, 503])
def test_other_statuses_than_200_are_told(server: Server, status: int) -> None:
    server.answers["/"] = [f"HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n".encode()]
    assert refusal(server.url) == f"127.0.0.1 answered {status}"


def test_a_file_that_is_announced_too_large_is_not_read(server: Server) -> None:
    server.answers["/"] = [answer(b"a" * 101)]
    assert len(download(server.url, largest=101)) == 101
    assert "has more than 100 bytes" in refusal(server.url, largest=100)
    server.answers["/"] = endless(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n", b"")
    assert "has more than 100 bytes" in refusal(server.url, largest=100)


def test_a_file_that_turns_out_too_large_is_cut_off(server: Server) -> None:
    head = b"HTTP/1.1 200 OK\r\n"
    chunk = b"400\r\n" + b"a" * 1024 + b"\r\n"
    server.answers["/c"] = endless(head + b"Transfer-Encoding: chunked\r\n\r\n", chunk, 0)
    server.answers["/e"] = endless(head + b"\r\n", b"a" * 1024, 0)
    for path in ("/c", "/e"):
        assert "has more than 10,000 bytes" in refusal(server.url + path)


def endless(start: bytes, piece: bytes, pause: float = 0.02) -> Iterator[bytes]:
    yield start
    for _ in range(200):
        time.sleep(pause)
        yield piece


SLOW = {
    "silence": (b"", b""),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "a status without end": (b"HTTP/1.1 200 O", b"k"),
    "answers before the answer": (b"", b"HTTP/1.1 103 Early\r\n\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", b"a"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
}


@pytest.mark.parametrize("kind", SLOW)
def test_what_drips_is_cut_off_in_time(server: Server, network: Network, kind: str) -> None:
    server.answers["/"] = endless(*SLOW[kind])
    started = time.monotonic()
    sentence = refusal(server.url, seconds=0.2)
    assert sentence == "127.0.0.1 gave no whole answer over HTTP within 0.2 seconds"
    assert 0.2 <= time.monotonic() - started < 3  # all of it would take four


def test_the_time_is_for_all_redirects_together(server: Server) -> None:
    def late() -> Iterator[bytes]:
        time.sleep(0.3)
        yield answer(b"", "Location: /", status=302)

    class Late:
        def __iter__(self) -> Iterator[bytes]:
            return late()

    server.answers["/"] = Late()
    assert "within 1.05 seconds" in refusal(server.url, seconds=1.05, redirects=50)
    assert 1 < len(server.requests) <= 4


def test_a_slow_look_up_is_cut_off_in_time(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(4))
    started = time.monotonic()
    assert "within 0.1 seconds" in refusal("http://slow.example/", seconds=0.1)
    assert time.monotonic() - started < 3


def test_a_cancelled_download_is_cancelled(server: Server, network: Network) -> None:
    async def run() -> None:
        limits: dict[str, Any] = {"largest": 9_000, "seconds": 9, "allowed": LOOPBACK}
        task = asyncio.create_task(fetch.download(server.url, **limits))
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        await task

    server.answers["/"] = endless(*SLOW["body"])
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "x-gzip", "gzip, identity"])
def test_a_compressed_answer_is_refused(server: Server, encoding: str) -> None:
    server.answers["/"] = [answer(b"\x1f\x8b", f"content-Encoding: {encoding}")]
    assert "sent the file compressed" in refusal(server.url)
    for plain in ("identity", "Identity", "IDENTITY ", ""):
        server.answers["/"] = [answer(b"plain", f"Content-Encoding: {plain}")]
        assert download(server.url) == b"plain"


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00\xff\x00\xff\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"+PONG\r\n" * 10,
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1" + b"0" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nNo colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
    ],
)
def test_what_is_not_http_or_breaks_off_is_told_like_no_answer(
    server: Server, network: Network, garbage: bytes
) -> None:
    server.answers["/"] = [garbage]
    assert refusal(server.url) == "127.0.0.1 gave no whole answer over HTTP within 5 seconds"


@pytest.mark.parametrize(
    "error",
    [
        httpcore2.ConnectTimeout,
        httpcore2.ReadTimeout,
        httpcore2.ReadError,
        httpcore2.WriteError,
        httpcore2.LocalProtocolError,
        httpcore2.RemoteProtocolError,
        ssl.SSLError,
        TimeoutError,
        BrokenPipeError,
    ],
)
def test_whatever_fails_below_is_told_like_no_answer(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(httpcore2.AsyncConnectionPool, "handle_async_request", fail)
    assert "gave no whole answer" in refusal("http://8.8.8.8/")
    with pytest.raises(FetchError, match="gave no whole answer"):
        post("http://8.8.8.8/")


def test_a_closed_port_is_told_like_no_answer(server: Server) -> None:
    server.shutdown()
    server.server_close()
    assert refusal(server.url) == "127.0.0.1 gave no whole answer over HTTP within 5 seconds"


# What is posted


def test_a_post_carries_its_headers_and_body_exactly(server: Server) -> None:
    body = b'{"a": "\xc3\xa4"}\r\n\x00'
    server.answers["/hook?a=b"] = [answer(b"thanks", status=202)]
    headers = {"Content-Type": "application/json", "webhook-id": "msg_1"}
    assert post(f"{server.url}/hook?a=b", body, **headers) == 202
    (request,) = server.requests
    head, _, sent = request.partition(b"\r\n\r\n")
    assert sent == body
    assert head.split(b"\r\n") == [
        b"POST /hook?a=b HTTP/1.1",
        b"Host: 127.0.0.1:%d" % server.port,
        b"Content-Type: application/json",
        b"webhook-id: msg_1",
        b"Content-Length: %d" % len(body),
    ]


@pytest.mark.parametrize("status", [200, 204, 301, 302, 307, 308, 400, 404, 410, 500])
def test_a_posts_status_is_handed_back_and_no_redirect_followed(
    server: Server, status: int
) -> None:
    server.redirect("/hook", "/elsewhere", status)
    server.answers["/elsewhere"] = [answer(b"")]
    assert post(f"{server.url}/hook", b"{}") == status
    assert len(server.requests) == 1


def test_an_endless_answer_to_a_post_is_not_read(server: Server, network: Network) -> None:
    server.answers["/"] = endless(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 100_000, 0)
    started = time.monotonic()
    assert post(server.url) == 200
    assert time.monotonic() - started < 1


def test_a_post_that_does_not_arrive_is_told(server: Server, network: Network) -> None:
    with pytest.raises(FetchError, match="not public"):
        asyncio.run(fetch.post(server.url, b"", {}, seconds=5))
    assert server.connections == 0
    server.answers["/"] = endless(*SLOW["headers"])
    started = time.monotonic()
    with pytest.raises(FetchError, match="within 0.2 seconds"):
        asyncio.run(fetch.post(server.url, b"", {}, seconds=0.2, allowed=LOOPBACK))
    assert time.monotonic() - started < 1
    network.dead.append(PUBLIC)
    with pytest.raises(FetchError, match="gave no whole answer"):
        post("http://example.com/")


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that files.example has given itself, and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    name = "-subj /CN=files.example -addext subjectAltName=DNS:files.example"
    made = subprocess.run(
        [*command.split(), *name.split(), "-keyout", path, "-out", "-"],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + made.stdout)
    return path


@pytest.fixture
def asked(server: Server, certificate: Path) -> list[str | None]:
    """The names of the servers that clients asked for, once the server speaks TLS."""
    asked: list[str | None] = []
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(certificate)
    server.tls.sni_callback = lambda _, name, __: asked.append(name)
    server.answers["/"] = [answer(b"safe")]
    return asked


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    fetch._tls.cache_clear()
    yield
    fetch._tls.cache_clear()


def test_the_certificate_has_to_be_the_urls_hosts_and_not_the_addresss(
    server: Server, network: Network, asked: list[str | None], trusted: None
) -> None:
    assert download("https://Files.example/") == b"safe"
    assert b"\r\nHost: files.example\r\n" in server.requests[0]
    for host in ("other.example", "files.example.other.example", PUBLIC):
        assert refusal(f"https://{host}/") == (
            f"{host} gave no whole answer over HTTPS (with a valid certificate for that name) "
            "within 5 seconds"
        )
    assert asked == ["files.example", "other.example", "files.example.other.example", None]
    assert network.dialled == [PUBLIC] * 4
    assert len(server.requests) == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(
    server: Server, network: Network, asked: list[str | None]
) -> None:
    assert "a valid certificate" in refusal("https://files.example/")
    assert (asked, server.requests) == (["files.example"], [])


def test_a_handshake_without_end_is_cut_off_in_time(server: Server, network: Network) -> None:
    assert "a valid certificate" in refusal("https://files.example/", seconds=0.3)
    assert server.requests == []
