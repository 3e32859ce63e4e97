"""What the routes work with."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from hosting.api.limits import Limits
from hosting.queue.dispatch import Dispatcher
from hosting.settings import Settings


@dataclass(frozen=True)
class Services:
    """What the application was made with."""

    settings: Settings
    dispatcher: Dispatcher
    limits: Limits


def services_of(request: Request) -> Services:
    """What the application that a request came to was made with."""
    services: Services = request.app.state.services
    return services
