from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from replicate.client import Client

from tests.support import cluster as clusters
from tests.support import front_process as fronts
from tests.support.cluster import Cluster
from tests.support.databases import everywhere, server
from tests.support.front_process import Front, Site

if TYPE_CHECKING:
    from stable_diffusion.models import Model

__all__ = ["everywhere", "server"]


@pytest.fixture(scope="session")
def demo() -> Model:
    from tests.support import studio

    return studio.demo_model()


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests, as it takes long to start. It is `whole` when a test begins."""
    with clusters.running(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def whole(cluster: Cluster) -> Cluster:
    """The cluster, whatever was done to it before."""
    cluster.wait_until_whole()
    return cluster


@pytest.fixture(
    scope="package",
    params=[pytest.param("a cluster", marks=pytest.mark.slow), "a server of its own"],
)
def front(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    """One for all tests, as it takes seconds to start. What a test begins, it also ends."""
    folder = tmp_path_factory.mktemp("front")
    with ExitStack() as stack:
        urls = ""
        if request.param == "a cluster":
            cluster = request.getfixturevalue("cluster")
            cluster.wait_until_whole()
            urls = cluster.url
        running = fronts.running(folder, lambda database: database.write_now(fronts.archive), urls)
        yield stack.enter_context(running)


@pytest.fixture
def client(front: Front) -> Iterator[Client]:
    """Ada's."""
    with front.client("ada") as client:
        yield client


@pytest.fixture
def bob(front: Front) -> Iterator[Client]:
    """Someone else's client."""
    with front.client("bob") as client:
        yield client


@pytest.fixture
def eve(front: Front) -> Iterator[Client]:
    """The client of someone who has been here long."""
    with front.client("eve") as client:
        yield client


@pytest.fixture
def site() -> Iterator[Site]:
    with fronts.site() as site:
        yield site
