"""The view of a client: how it reached the front, and so how answers name the front."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request

from hosting.api.context import Services, services_of


@dataclass(frozen=True)
class View:
    """How a client reached the front, and so how answers name the front."""

    services: Services
    base: str
    """The front's URL, without a path."""
    hosts: frozenset[str]
    """The names and ports under which links to the front are its own."""
    takes_data: bool
    """Whether outputs go to the client as data URLs: Replicate's own clients make files of them
    and of https URLs, not of plain http ones."""
    expires: str | None = None
    """When its links expire, in seconds since 1970; None leaves that to `Links`."""

    def link(self, path: str) -> str:
        """Return the URL of a path of ours, signed."""
        return self.services.links.sign(self.base, path, self.expires)


def view_of(request: Request) -> View:
    """Return how a request reached the front."""
    services = services_of(request)
    public = services.settings.public_url
    base = public or f"{request.url.scheme}://{request.headers['host']}"
    hosts = frozenset(urlsplit(url).netloc.lower() for url in (base, public) if url)
    agent = request.headers.get("user-agent", "")
    is_replicate = agent.startswith(("replicate-python/", "replicate-javascript/"))
    return View(services, base, hosts, is_replicate and base.startswith("http:"))
