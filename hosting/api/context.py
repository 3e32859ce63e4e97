"""The services that routes work with."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from hosting.api.limits import Limits, OpenStreams
from hosting.backends.endpoints import Endpoint, ServedModel
from hosting.backends.inspector import Inspector
from hosting.net.links import Links
from hosting.published_models import PublishedModels
from hosting.queue.batches import Batches
from hosting.queue.downloads import Downloads
from hosting.queue.metrics import Metrics
from hosting.queue.prediction_queue import PredictionQueue
from hosting.queue.thumbnails import Thumbnails
from hosting.settings import Settings
from hosting.storage.files import Files
from hosting.storage.store import Store


@dataclass(frozen=True)
class Services:
    """The parts of the application that routes use."""

    settings: Settings
    limits: Limits
    queue: PredictionQueue
    batches: Batches
    store: Store
    files: Files
    links: Links
    downloads: Downloads
    thumbnails: Thumbnails
    endpoints: list[Endpoint]
    models: PublishedModels
    metrics: Metrics
    inspector: Inspector
    streams: OpenStreams

    @property
    def served(self) -> list[ServedModel]:
        """The models that run here, as far as they are known, in the endpoints' order."""
        return [one for endpoint in self.endpoints for one in endpoint.served]


def services_of(request: Request) -> Services:
    """Return what the application that a request came to was made with."""
    services: Services = request.app.state.services
    return services
