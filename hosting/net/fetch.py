"""Downloads a client's URL, and posts to a client's webhook, without reaching the inner network."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import quote, urljoin

import httpcore2

from hosting.net.addresses import Networks, is_public
from hosting.net.lookups import look_up

LONGEST_URL_CHARACTERS = 4_000
"""Characters of a URL. A signed one of an object store has about half of that."""
MOST_ADDRESSES = 4
"""Addresses of one host that are tried, however many its name has."""
LONGEST_QUOTE_CHARACTERS = 100
"""Characters of a URL that a sentence quotes."""
USER_AGENT = "stable-diffusion-hosting"
"""Sent with downloads, since some sites answer 403 to a client without a name."""
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
"""Characters of a path and a query that stay as they are."""
REDIRECTS = (301, 302, 303, 307, 308)

LABEL = "(?:[a-z0-9_-]{0,61}[a-z0-9_])?"
NAME = re.compile(rf"(?=.{{1,253}}$)(?:[a-z0-9_]{LABEL}\.)*[a-z]{LABEL}")
"""A host's name. Its last label starts with a letter, or C libraries take it for a number."""


class FetchError(Exception):
    """A sentence, for the person who gave the URL."""


async def download(
    url: str,
    *,
    largest: int,
    seconds: float,
    allowed: Networks = (),
    redirects: int = 10,
    owner: str = "",
    fault_of: Callable[[bytes], str | None] = lambda _: None,
) -> bytes:
    """Return the file at a URL.

    Args:
        url: http or https, see `check_url`.
        largest: bytes that the file may have.
        seconds: the time for everything, from the first look-up to the last byte.
        allowed: networks that are taken although they are not public.
        redirects: how many are followed. The target of each is checked like the first URL.
        owner: who has given the URL: names that are slow to be found hold up no other owner.
        fault_of: what is wrong with a file, as the rest of a sentence that its URL begins.

    Raises:
        FetchError: when the URL is refused, or the file doesn't come whole, plain and in time, or
            has a fault. It names the URL that a redirect led to, if that is at fault.
    """
    first = url
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
    try:
        async with asyncio.timeout(seconds):
            for _ in range(redirects + 1):
                async with _answer("GET", url, headers, None, seconds, allowed, owner) as response:
                    location = _header(response, b"location")
                    if response.status not in REDIRECTS or location is None:
                        data = await _file(_host(url), response, largest)
                        if fault := fault_of(data):
                            raise FetchError(f"{url[:LONGEST_QUOTE_CHARACTERS]} {fault}")
                        return data
                url = _target(url, location)
    except FAILURES as error:
        raise _redirected(first, url, _failure(url, seconds)) from error
    except FetchError as error:
        raise _redirected(first, url, error) from error.__cause__
    raise FetchError(f"{_host(first)} redirects more than {redirects} times")


async def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    seconds: float,
    allowed: Networks = (),
    owner: str = "",
) -> int:
    """Post a body to a URL; redirects are not followed, and the answer's body is not read.

    Args:
        url: http or https, see `check_url`.
        body: sent as it is.
        headers: names and values in ASCII, sent besides Host and Content-Length.
        seconds: the time for everything, from the look-up to the answer's status.
        allowed: networks that are taken although they are not public.
        owner: as for `download`.

    Returns:
        The answer's status code, whatever it is.

    Raises:
        FetchError: when the URL is refused, or there is no answer in time.
    """
    try:
        async with (
            asyncio.timeout(seconds),
            _answer("POST", url, headers, body, seconds, allowed, owner) as response,
        ):
            return response.status
    except FAILURES as error:
        raise _failure(url, seconds) from error


def check_url(url: str) -> None:
    """Check a URL's text: whether its host leads to a public address is not looked up.

    Taken are `http://` and `https://`, a host's name or its address in the usual form, and a port
    from 1 to 65535, or none: at most 4,000 characters, none of control, no backslash. What is not
    ASCII, and spaces, are percent-encoded in path and query, as browsers do; the host must be
    ASCII.

    Raises:
        FetchError: names the fault.
    """
    _parsed(url)


# The URL


def _parsed(url: str) -> httpcore2.URL:
    # By hand, since urllib repairs what it should refuse, and another program repairs otherwise.
    if len(url) > LONGEST_URL_CHARACTERS:
        raise FetchError(
            f"the URL has {len(url):,} characters; give at most {LONGEST_URL_CHARACTERS:,}"
        )
    url = url.strip(" \t\r\n\f")
    if strange := re.search(r"[\0-\x1f\x7f-\x9f\\\ud800-\udfff]", url):
        raise FetchError(
            f"the URL holds the character {strange[0]!a}; give it without control characters and "
            "backslashes"
        )
    parts = re.fullmatch(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", url, re.IGNORECASE)
    if parts is None:
        raise FetchError(f"{url[:60]!r} is not a URL that starts with http:// or https://")
    scheme, authority, target = parts[1].lower(), parts[2].lower(), parts[3]
    if strange := re.search(r"[^!-~]", authority):
        raise FetchError(
            f"the URL's host holds the character {strange[0]!a}; give an international name as xn--"
        )
    if "@" in authority:
        raise FetchError("the URL holds a user name or password; give it without")
    host, port, usual = authority, "", "443" if scheme == "https" else "80"
    if ":" in authority and not authority.endswith("]"):
        host, _, port = authority.rpartition(":")
    port = port or usual
    if not host:
        raise FetchError(f"the URL {url[:60]!r} has no host")
    name = host.removesuffix(".")  # of the root, which certificates leave out
    if NAME.fullmatch(name):
        host = name
    elif not _is_address(host):
        raise FetchError(
            f"the URL's host {host[:60]!r} is neither a name nor an address; give one like "
            "example.com, 192.0.2.1 or [2001:db8::1]"
        )
    if not (re.fullmatch("[0-9]{1,5}", port) and 1 <= int(port) <= 65535):
        raise FetchError(f"the URL's port {port[:20]!r} is not a number from 1 to 65535")
    return httpcore2.URL(
        scheme=scheme,
        host=host.strip("[]"),
        port=None if port == usual else int(port),
        target=quote(target if target.startswith("/") else f"/{target}", safe=PRINTABLE),
    )


def _is_address(host: str) -> bool:
    try:
        if host.startswith("["):
            return host.endswith("]") and IPv6Address(host[1:-1]).scope_id is None
        return bool(IPv4Address(host))
    except ValueError:
        return False


def _host(url: str) -> str:
    return _parsed(url).host.decode()


def _redirected(first: str, url: str, error: FetchError) -> FetchError:
    """Return what failed at a URL, for who has given another."""
    if url == first:
        return error
    return FetchError(f"{_host(first)} redirects to {url[:LONGEST_QUOTE_CHARACTERS]!r}: {error}")


def _target(url: str, location: bytes) -> str:
    try:
        try:
            text = location.decode()
        except UnicodeDecodeError:
            text = location.decode("latin-1")
        return urljoin(url, text)
    except ValueError:
        raise FetchError(f"{_host(url)} redirects to something that is not a URL") from None


# The connection


class _Network(httpcore2.AnyIOBackend):
    """Looks a host up once, and dials no address but those that were checked."""

    def __init__(self, allowed: Networks, owner: str) -> None:
        self.allowed = allowed
        self.owner = owner
        self.stream: httpcore2.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = (await _addresses(host, port, self.allowed, self.owner))[:MOST_ADDRESSES]
        # One that swallows what it is sent must leave time for the next.
        share = timeout and timeout / len(addresses)
        for address in addresses:
            with suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                self.stream = await super().connect_tcp(
                    address, port, share, local_address, socket_options
                )
                return self.stream
        raise httpcore2.ConnectError

    async def close(self) -> None:
        # httpcore2 2.16 leaves the socket open when it is cancelled in a TLS handshake.
        if self.stream:
            await self.stream.aclose()


async def _addresses(host: str, port: int, allowed: Networks, owner: str) -> list[str]:
    try:
        addresses = await look_up(host, port, owner)
    except (OSError, UnicodeError) as error:
        raise FetchError(f"the host {host} could not be found") from error
    for address in addresses:
        if not is_public(address) and not any(ip_address(address) in net for net in allowed):
            raise FetchError(f"{host} leads to an address that is not public")
    return addresses


@cache
def _tls() -> ssl.SSLContext:
    return httpcore2.default_ssl_context()  # reads a hundred certificates, so only once


@asynccontextmanager
async def _answer(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    seconds: float,
    allowed: Networks,
    owner: str,
) -> AsyncIterator[httpcore2.Response]:
    parsed = _parsed(url)
    host = parsed.host.decode()
    name = f"[{host}]" if ":" in host else host  # httpcore2 itself leaves the brackets out
    port = f":{parsed.port}" if parsed.port else ""
    network = _Network(allowed, owner)
    try:
        async with (
            httpcore2.AsyncConnectionPool(_tls(), network_backend=network) as pool,
            pool.stream(
                method,
                parsed,
                headers=[("Host", name + port), *headers.items()],
                content=body,
                extensions={"timeout": {"connect": seconds}},
            ) as response,
        ):
            yield response
    finally:
        await network.close()


FAILURES = (
    OSError,  # TimeoutError and ssl.SSLError among them
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.TimeoutException,
)


def _failure(url: str, seconds: float) -> FetchError:
    # One sentence for all, so that nobody learns which ports are open and what listens there.
    secure = _parsed(url).scheme == b"https"
    over = "HTTPS (with a valid certificate for that name)" if secure else "HTTP"
    return FetchError(f"{_host(url)} gave no whole answer over {over} within {seconds:g} seconds")


# The answer


def _header(response: httpcore2.Response, name: bytes) -> bytes | None:
    return {key.lower(): value for key, value in response.headers}.get(name)


async def _file(host: str, response: httpcore2.Response, largest: int) -> bytes:
    if response.status != 200:
        raise FetchError(f"{host} answered {response.status}")
    encoding = _header(response, b"content-encoding") or b"identity"
    if encoding.strip().lower() != b"identity":
        raise FetchError(f"{host} sent the file compressed, although asked for it as it is")
    too_large = f"the file from {host} has more than {largest:,} bytes"
    if int(_header(response, b"content-length") or 0) > largest:
        raise FetchError(too_large)
    data = bytearray()
    async with aclosing(response.aiter_stream()) as chunks:
        async for chunk in chunks:
            data += chunk
            if len(data) > largest:
                raise FetchError(too_large)
    return bytes(data)
