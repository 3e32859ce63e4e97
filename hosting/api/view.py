"""The view of a client: how it reached the front, and so how answers name the front."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request

from hosting.api import priorities
from hosting.api.context import Services, services_of
from hosting.states import Priority

REPLICATES = re.compile(r"replicate[-/]|(?:(?:Async)?Replicate|_ModuleClient)/")
"""How the User-Agent of Replicate's own clients begins."""
MAKES_FILES = re.compile(
    r"replicate-(?:python|javascript)/[1-9]|(?:(?:Async)?Replicate|_ModuleClient)/Python [1-9]"
)
"""How the User-Agent of Replicate's own clients begins from version 1.0 on, whose `run` makes files
of data URLs and of https URLs, not of plain http ones. Version 2 of Python's names its class."""


@dataclass(frozen=True)
class View:
    """How a client reached the front, and so how answers name the front."""

    services: Services
    base: str
    """The front's URL, without a path."""
    hosts: frozenset[str]
    """The names and ports under which links to the front are its own."""
    makes_files: bool
    """Whether the client is one of Replicate's own that makes files of what `run` returns."""
    knows_aborted: bool
    """Whether the client takes the status `aborted` for an end. None of Replicate's own does."""
    priority_header: str | None = None
    """Its header `X-Priority`."""
    expires: str | None = None
    """When its links expire, in seconds since 1970; None leaves that to `Links`."""

    @property
    def priority(self) -> Priority:
        """The priority of what it asks for.

        Raises:
            Problem: when its header is another word.
        """
        return priorities.read(self.priority_header)

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
    makes_files, knows_aborted = MAKES_FILES.match(agent), not REPLICATES.match(agent)
    priority = request.headers.get(priorities.HEADER)
    return View(services, base, hosts, makes_files is not None, knows_aborted, priority)
