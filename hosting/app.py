"""The application: routes, start and stop."""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import math
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

import uvicorn
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from hosting import log, models_file, published_models, tracing
from hosting.api import (
    documentation,
    error_handlers,
    inspection,
    operations,
    shares,
    webhook_documents,
)
from hosting.api import files as files_routes
from hosting.api.a1111 import lists as a1111_lists
from hosting.api.a1111 import routes as a1111_routes
from hosting.api.auth import AuthMiddleware
from hosting.api.batches import routes as batches_routes
from hosting.api.body_limit import BodyLimit
from hosting.api.cog import routes as cog_routes
from hosting.api.connections import KEEP_ALIVE_SECONDS, Connection
from hosting.api.context import Services
from hosting.api.deepinfra import routes as deepinfra_routes
from hosting.api.form import routes as form_routes
from hosting.api.http_defaults import HttpDefaults
from hosting.api.huggingface import routes as huggingface_routes
from hosting.api.limits import Limits, OpenStreams
from hosting.api.openai import routes as openai_routes
from hosting.api.origin_guard import OriginGuard
from hosting.api.replicate import routes as replicate_routes
from hosting.api.security_headers import SecurityHeaders
from hosting.api.stability import routes as stability_routes
from hosting.api.telemetry import telemetry
from hosting.api.unread_body import UnreadBody
from hosting.backends.endpoints import Endpoint, SetupFailed
from hosting.backends.inspector import Inspector
from hosting.backends.servers import Launch, Server
from hosting.models_file import ModelsError
from hosting.net.links import Links
from hosting.published_models import PublishedModels
from hosting.queue import inputs
from hosting.queue.batches import Batches
from hosting.queue.dispatch import Dispatcher
from hosting.queue.intake import Intake
from hosting.queue.prediction_queue import PredictionQueue
from hosting.settings import LOOPBACK_NAMES, Settings, SettingsError
from hosting.storage import tokens
from hosting.storage.database import Database, Unavailable, secret
from hosting.storage.files import Files
from hosting.storage.store import Store
from hosting.timings import DEFAULT_TIMINGS, Timings

DESCRIPTION = """
Stable Diffusion 1 and 2 by Replicate's API (`/v1`), AUTOMATIC1111's (`/sdapi/v1`) and Cog's
(`/predictions`), and by those of OpenAI, DeepInfra, Hugging Face and Stability AI.
Predictions queue, and none is lost. Where tokens were made, send one as `Authorization: Bearer …`.
"""

MODELS = "models.yaml"
"""The operator's own names of models, in DATA."""


async def serve(
    settings: Settings,
    launches: list[Launch],
    host: str,
    port: int,
    timings: Timings = DEFAULT_TIMINGS,
) -> int:
    """Serve until it is asked to stop, and return the exit status.

    Args:
        launches: the Cog servers to start, where the settings name none that run.
        host: the address to listen on.

    Raises:
        SettingsError: when it may not listen there, or another front has the folder.
        ModelsError: when the operator's own names of models can't be used.
    """
    log.configure()
    tracing.configure()
    with _lock(settings):
        database = Database(settings.database)
        _check_open(settings, database, host)
        application = create(settings, database, launches, host, timings)
        dispatcher: Dispatcher = application.state.dispatcher
        server = _Server(
            uvicorn.Config(
                application,
                host=host,
                port=port,
                http=Connection,
                ws="none",  # whatever is installed
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
            )
        )
        hurry = asyncio.Event()
        stops: list[asyncio.Task[None]] = []

        async def stop_then_exit() -> None:
            # It answers as long as predictions run: their clients ask for them.
            await dispatcher.stop(hurry)
            server.should_exit = True

        def stop() -> None:
            if stops:
                hurry.set()
                server.should_exit = True
            else:
                stops.append(asyncio.create_task(stop_then_exit()))

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop)
        application.state.stop = stop
        log.info(f"listening at http://{f'[{host}]' if ':' in host else host}:{port}")
        await server.serve()
        await asyncio.gather(*stops)
        await asyncio.to_thread(tracing.close)
        database.close()
        return 1 if application.state.failed or not server.started else 0


def create(
    settings: Settings,
    database: Database,
    launches: list[Launch],
    host: str = "127.0.0.1",
    timings: Timings = DEFAULT_TIMINGS,
) -> FastAPI:
    """Return the application. It runs the queue as long as its lifespan lasts.

    Args:
        launches: as for `serve`.
        host: the address that it is reached at.

    Raises:
        ModelsError: when the operator's own names of models can't be used.
    """
    models = models_file.load(settings.data / MODELS)
    for launch in launches:
        _check_defaults(settings.data / MODELS, models, launch)
    endpoints = [Endpoint(url, settings.cog_slots) for url in settings.cog_urls]
    if not endpoints:
        if settings.database_url:  # DATA is not ours alone, nor perhaps on this machine
            folder = Path(tempfile.mkdtemp(prefix="stable-diffusion-servers-"))
        else:
            # What a front that was killed has left there is of no use to anyone.
            folder = settings.data.resolve() / "servers"
            shutil.rmtree(folder, ignore_errors=True)
        endpoints = [
            Endpoint(
                Server(launch, folder / str(number)),
                launch.slots,
                60 * settings.idle_minutes or math.inf,
            )
            for number, launch in enumerate(launches)
        ]
    models.several = lambda: [
        (one.task, one.model)
        for endpoint in endpoints
        for one in endpoint.served
        if one.task and one.is_named
    ]
    database.write_now(tokens.prepare)
    links = Links(database.write_now(secret, "links"), settings.link_hours * 3600)
    store, files = Store(database), Files(settings.data)
    render = webhook_documents.renderer(links, files, models)
    dispatcher = Dispatcher(settings, store, files, endpoints, render, timings)
    intake = Intake(settings, store, files, links)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = asyncio.create_task(dispatcher.run())
        running.add_done_callback(ended)
        yield
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    def ended(running: asyncio.Task[None]) -> None:
        if running.cancelled() or (error := running.exception()) is None:
            return
        reasons = error.exceptions if isinstance(error, BaseExceptionGroup) else [error]
        for reason in reasons:
            is_known = isinstance(reason, (SetupFailed, Unavailable, OSError))
            log.error("can't go on", exception=None if is_known else reason, reason=str(reason))
        application.state.failed = True
        application.state.stop()

    application = FastAPI(
        title="Stable Diffusion",
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=documentation.OPENAPI,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,  # it is OriginGuard that keeps pages of others out
        telemetry=telemetry(),
        exception_handlers=error_handlers.HANDLERS,
    )
    application.state.dispatcher = dispatcher
    application.state.services = Services(
        settings=settings,
        limits=Limits(settings.requests_per_minute),
        queue=PredictionQueue(store, intake, dispatcher, timings),
        batches=Batches(settings, store, files, intake, dispatcher),
        store=store,
        files=files,
        links=links,
        downloads=dispatcher.downloads,
        thumbnails=dispatcher.thumbnails,
        endpoints=endpoints,
        models=models,
        metrics=dispatcher.metrics,
        inspector=Inspector(),
        streams=OpenStreams(),
    )
    application.state.failed = False
    application.state.stop = lambda: None
    for routes in (
        replicate_routes,
        deepinfra_routes,
        a1111_routes,
        a1111_lists,
        openai_routes,
        huggingface_routes,
        stability_routes,
        cog_routes,
        files_routes,
        batches_routes,
        shares,
        inspection,
        operations,
        documentation,
    ):
        application.include_router(routes.routes)
    form_routes.include(application)
    application.add_middleware(AuthMiddleware, answer=error_handlers.answer)
    if settings.allowed_origins:  # around the middleware above: the pages may read its answers too
        application.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=[
                "authorization",
                "content-type",
                "prefer",
                "last-event-id",
                "x-priority",
            ],
        )
    # Outermost: what is too large, or goes wrong, is answered outside of add_middleware's.
    answer = error_handlers.answer
    stack = BodyLimit(application.build_middleware_stack(), settings.upload_megabytes, answer)
    guarded = OriginGuard(HttpDefaults(stack), settings, host, answer)
    application.middleware_stack = UnreadBody(SecurityHeaders(guarded))
    return application


class _Server(uvicorn.Server):
    """Uvicorn's, which leaves the signals to us: it would die of them in the end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def _lock(settings: Settings) -> Iterator[IO[str]]:
    """Keep a second front out of the folder: with SQLite, there can be only one."""
    try:
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        opened = (settings.data / "lock").open("w")
    except OSError as error:
        raise SettingsError(f"DATA is {settings.data}, which can't be used: {error}") from None
    # One with PostgreSQL bears others that have it too.
    kind = fcntl.LOCK_SH if settings.database_url else fcntl.LOCK_EX
    with opened as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(f"another front uses {settings.data}; give another DATA") from None
        yield file


def _check_open(settings: Settings, database: Database, host: str) -> None:
    """Raise SettingsError where anyone who can reach the front could use it."""
    if database.write_now(tokens.are_needed):
        return
    where = None if _is_loopback(host) else host
    where = where or next(iter(sorted(settings.hosts - set(LOOPBACK_NAMES))), None)
    if where:
        raise SettingsError(
            f"{where} can be reached from elsewhere, and anyone could use the models: make a token "
            "first, by scripts/tokens create NAME"
        )


def _check_defaults(path: Path, models: PublishedModels, launch: Launch) -> None:
    """Raise ModelsError where a server would refuse a default of a model that it serves.

    Args:
        path: the file that has the operator's models; those of ours are right.
    """
    for model in models.models:
        for version in models.versions(model):
            if model.task == launch.task and (
                fault := inputs.fault_of_defaults(
                    version.defaults, published_models.taken_schema(version, launch.schema)
                )
            ):
                raise ModelsError(f"{path}: {model.id}, defaults, {fault}")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
