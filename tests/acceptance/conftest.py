from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from replicate.client import Client
from sqlalchemy import select
from sqlalchemy.orm import Session

from hosting import published_models
from hosting.storage import predictions
from hosting.storage.tables import Prediction, Token
from tests.support import cluster as clusters
from tests.support import front_process as fronts
from tests.support.front_process import ARCHIVED, TEXT_TO_IMAGE, Front, Site


# The cluster first: when its tests are over it ends, and takes nothing from those that follow.
@pytest.fixture(
    scope="session",
    params=[pytest.param("a cluster", marks=pytest.mark.slow), "a server of its own"],
)
def front(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    """One for all tests, as it takes seconds to start. What a test asks for, it also ends."""
    folder = tmp_path_factory.mktemp("front")
    with ExitStack() as stack:
        urls = ""
        if request.param == "a cluster":
            urls = stack.enter_context(clusters.running(folder)).url
        running = fronts.running(folder, lambda database: database.now(_archive), urls)
        yield stack.enter_context(running)


def _archive(session: Session) -> None:
    """Finished predictions, more than a page has, all of Eve's; their prompts are their numbers."""
    eve = session.scalars(select(Token).where(Token.name == "eve")).one()
    model = published_models.find(TEXT_TO_IMAGE)
    assert model is not None
    now = time.time()
    for number in range(ARCHIVED):
        old = Prediction(
            token_id=eve.id,
            task=model.task,
            model=model.id,
            version=published_models.version_of(model),
            source="http://127.0.0.1",
            input={"prompt": str(number)},
            request={},
            files={},
            ready=True,
            status="succeeded",
            started_at=now,
            completed_at=now,
        )
        predictions.add(session, old, ARCHIVED)


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
