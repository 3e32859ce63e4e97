"""Whatever is killed, no prediction is lost, none is run into two, and the results are the same."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from PIL import Image

from tests.support import lora_files, random_models
from tests.support.cluster import Cluster
from tests.support.pictures import same
from tests.support.server import Server, start, until
from tools.benchmark.server import free_port

if TYPE_CHECKING:
    from stable_diffusion.models import Model

SEEDS = range(100, 112)
"""Of the predictions that are asked for, over and over."""
AT_ONCE = 12
"""Predictions that are unfinished at any time, more than the slots."""
BETWEEN = 3
"""Predictions that finish between two kills."""


@dataclass
class Service:
    """A front that is started again, on the same port and folder, when it was killed."""

    folder: Path
    port: int = field(default_factory=free_port)
    server: Server | None = None
    cog_urls: str = ""
    models: tuple[str, ...] = ("demo",)
    settings: dict[str, Any] = field(default_factory=dict)
    inputs_of: Callable[[int], dict[str, Any]] = lambda _: {}
    """The inputs that a seed's predictions have besides."""

    def start(self) -> None:
        self.server = start(
            self.folder,
            *("--model", *self.models),
            port=self.port,
            COG_URLS=self.cog_urls,
            **self.settings,
            # With more threads, steps take ages where other work has the cores too.
            OMP_NUM_THREADS="1",
        )

    def ask(self, path: str, body: Any = None) -> Any:
        assert self.server is not None
        with self.server.ask(path, body) as response:
            return json.load(response)

    def process(self, place: int) -> psutil.Process:
        """The front, Cog's server or its worker."""
        assert self.server is not None
        front = psutil.Process(self.server.process.pid)
        return [front, *front.children(recursive=True)][place]

    def kill_worker(self) -> None:
        self.process(2).kill()

    def kill_cog(self) -> None:
        self.process(1).kill()

    def kill_front(self, number: int = signal.SIGKILL) -> None:
        assert self.server is not None
        behind = self.process(0).children(recursive=True)
        os.kill(self.server.process.pid, number)
        self.server.process.wait(90)
        # What it has started goes with it.
        assert psutil.wait_procs(behind, timeout=30)[1] == []
        self.start()

    def stop_front(self) -> None:
        self.kill_front(signal.SIGTERM)


@dataclass
class Load:
    """A client that keeps the queue full, and remembers what was accepted."""

    service: Service
    accepted: dict[str, int] = field(default_factory=dict)
    """The seeds of the predictions, by their ids."""
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.is_over.is_set():
            try:
                waiting = self.service.ask("/health")["queue"]
                if sum(waiting.values()) < AT_ONCE:
                    self.accept(random.choice(SEEDS))
            except (OSError, ValueError, TypeError):
                pass  # the front is down; what it has not answered was not accepted
            time.sleep(0.1)

    def accept(self, seed: int) -> str:
        inputs = {"prompt": "a red apple", "num_inference_steps": 10, "seed": seed}
        asked = {
            "input": inputs | self.service.inputs_of(seed),
            "model": "stability-ai/stable-diffusion",
        }
        accepted = self.service.ask("/v1/predictions", asked)
        self.accepted[accepted["id"]] = seed
        return str(accepted["id"])


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    service.start()
    yield service
    assert service.server is not None
    service.server.stop()


def listed(service: Service) -> list[dict[str, Any]]:
    """All predictions that the front knows, over all pages."""
    results: list[dict[str, Any]] = []
    cursor = "/v1/predictions"
    while cursor:
        page = service.ask(cursor)
        results += page["results"]
        cursor = (page["next"] or "").partition(str(service.port))[2]
    return results


def picture(service: Service, prediction: dict[str, Any]) -> Image.Image:
    (url,) = prediction["output"]
    assert service.server is not None
    with service.server.ask(url.partition(str(service.port))[2]) as response:
        return Image.open(io.BytesIO(response.read()))


def finished(service: Service) -> int:
    try:
        return sum(one["status"] == "succeeded" for one in listed(service))
    except (OSError, ValueError):
        return 0


def test_whatever_is_killed_every_accepted_prediction_finishes_with_the_same_result(
    service: Service,
) -> None:
    kills = [service.kill_worker, service.kill_cog, service.kill_front, service.stop_front]
    kill_in_turn(service, kills)


def test_nothing_is_lost_of_two_models_on_one_card_and_eight_loras(
    tmp_path: Path, demo: Model
) -> None:
    other, loras = tmp_path / "other", tmp_path / "loras"
    random_models.make("img2img", demo, other)
    loras.mkdir()
    lora_files.write_eight(loras, demo.pipeline)

    def inputs_of(seed: int) -> dict[str, Any]:
        number = seed % len(SEEDS)
        if number >= len(lora_files.EIGHT):
            return {"model": "other"}
        return {"model": "demo", "loras": [f"{lora_files.EIGHT[number]}:0.5"]}

    # The larger has 58 MB of weights, and both together 66: they have no room together.
    settings = {"LORAS": str(loras), "WEIGHTS_GB": "0.06", "EXECUTOR": "plain"}
    service = Service(tmp_path, models=("demo", str(other)), settings=settings, inputs_of=inputs_of)
    service.start()
    kill_in_turn(service, [service.kill_worker, service.kill_cog, service.kill_front])
    assert service.server is not None
    service.server.stop()


@pytest.mark.slow
def test_whatever_is_killed_of_a_cluster_every_accepted_prediction_finishes_with_the_same_result(
    whole: Cluster, tmp_path: Path
) -> None:
    service = Service(tmp_path, cog_urls=whole.url)
    service.start()

    def kill_worker() -> None:
        whole.cog_servers()[0].children()[0].kill()

    def kill_cog() -> None:
        whole.cog_servers()[0].kill()

    def kill_replica() -> None:
        replica = whole.cog_servers()[0].parent()
        assert replica is not None
        replica.kill()

    kills = [kill_worker, kill_cog, kill_replica, service.kill_front]
    kills += [partial(whole.kill, name) for name in ("Ingress", "ProxyActor")]
    kill_in_turn(service, kills)
    assert service.server is not None
    service.server.stop()


def kill_in_turn(service: Service, kills: list[Callable[[], None]]) -> None:
    """Kills under load, and then counts."""
    load = Load(service)
    ids = [load.accept(seed) for seed in SEEDS]
    until(lambda: finished(service) == len(ids))
    undisturbed = {load.accepted[one["id"]]: picture(service, one) for one in listed(service)}

    client = threading.Thread(target=load.run)
    client.start()
    try:
        for kill in kills:
            wanted = finished(service) + BETWEEN
            until(partial(is_busy, service, wanted), 240)
            kill()
    finally:
        load.is_over.set()
        client.join()
    until(lambda: all(one["completed_at"] for one in listed(service)), 240)

    known = listed(service)
    by_id = {one["id"]: one for one in known}
    assert len(by_id) == len(known)
    # One that was being answered when the front was killed may be there though nobody heard of it.
    assert set(load.accepted) <= set(by_id)
    assert len(by_id) - len(load.accepted) <= 2
    assert {(one["status"], one["error"]) for one in known} == {("succeeded", None)}
    for prediction_id, seed in load.accepted.items():
        assert same(picture(service, by_id[prediction_id]), undisturbed[seed])
    # Nothing is left of the attempts before: each has the one file that it names.
    files = [path.name for path in (service.folder / "data").glob("predictions/*/*")]
    named = [one["output"][0].partition("?")[0].rpartition("/")[2] for one in known]
    assert sorted(files) == sorted(named)
    print(f"accepted {len(load.accepted)}, finished {len(known)}, kills {len(kills)}")


def is_busy(service: Service, wanted: int) -> bool:
    """Whether so many have finished, and several are running."""
    try:
        return finished(service) >= wanted and service.ask("/health")["queue"]["processing"] > 1
    except (OSError, ValueError, TypeError):
        return False
