"""The store: each transaction as a method to be awaited, whose result outlives the session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from sqlalchemy.orm import Session

from hosting.prediction import Prediction
from hosting.storage import (
    batches,
    deliveries,
    feed,
    heartbeats,
    predictions,
    quota,
    removals,
    search,
    shares,
    tokens,
    uploads,
    waits,
)
from hosting.storage.database import Database, Work
from hosting.storage.pages import Page
from hosting.storage.tables import PredictionRow

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Store:
    """The transactions of a front.

    Each method runs the function of the same name, which says what it does. It raises
    `Unavailable` when the database can't be reached; those made by `_surely` try until it can.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.predictions = Predictions(database)
        self.batches = Batches(database)
        self.shares = Shares(database)
        self.uploads = Uploads(database)
        self.tokens = Tokens(database)
        self.heartbeats = Heartbeats(database)
        self.deliveries = Deliveries(database)
        self.removals = Removals(database)

    @property
    def is_damaged(self) -> bool:
        """Whether the database was found damaged."""
        return self._database.is_damaged


class Predictions:
    """Transactions on predictions."""

    def __init__(self, database: Database) -> None:
        self.add = _writing(database, _frozen(predictions.add))
        self.find = _reading(database, _frozen(predictions.find))
        self.newest = _reading(database, _frozen(predictions.newest))
        self.page = _reading(database, _frozen_page(predictions.page))
        self.search = _reading(database, _frozen_page(search.page))
        self.look = _reading(database, feed.look)
        self.find_all = _reading(database, _all_frozen(feed.find))
        self.unready = _reading(database, predictions.unready)
        self.claim_files = _writing(database, _frozen(predictions.claim_files))
        self.set_ready = _surely(database, _frozen(predictions.set_ready))
        self.claim = _writing(database, _frozen(predictions.claim))
        self.mark_started = _writing(database, predictions.mark_started)
        self.record_progress = _writing(database, predictions.record_progress)
        self.settle = _surely(database, _frozen(predictions.settle))
        self.running = _reading(database, predictions.running)
        self.cancel = _writing(database, _frozen(predictions.cancel))
        self.overdue = _reading(database, predictions.overdue)
        self.load = _reading(database, waits.load)
        self.unfinished = _reading(database, predictions.unfinished)
        self.count_of_model = _reading(database, predictions.count_of_model)
        self.failed_with_inputs = _reading(database, predictions.failed_with_inputs)
        self.forget_inputs = _writing(database, predictions.forget_inputs)
        self.expire = _writing(database, predictions.expire)
        self.unknown_ids = _reading(database, predictions.unknown_ids)


class Batches:
    """Transactions on batches."""

    def __init__(self, database: Database) -> None:
        self.add = _writing(database, batches.add)
        self.find = _reading(database, batches.find)
        self.page = _reading(database, batches.page)
        self.progress = _reading(database, batches.progress)
        self.members = _reading(database, _all_frozen(batches.members))
        self.cancel = _writing(database, _all_frozen(batches.cancel))
        self.canceling = _reading(database, batches.canceling)
        self.remove = _writing(database, batches.remove)
        self.expire = _writing(database, batches.expire)


class Shares:
    """Transactions on the links to shared predictions."""

    def __init__(self, database: Database) -> None:
        self.add = _writing(database, shares.add)
        self.find = _reading(database, shares.find)
        self.of_prediction = _reading(database, shares.of_prediction)
        self.revoke = _writing(database, shares.revoke)
        self.expire = _writing(database, shares.expire)


class Uploads:
    """Transactions on uploads."""

    def __init__(self, database: Database) -> None:
        self.add = _writing(database, uploads.add)
        self.check_quota = _reading(database, quota.check)
        self.find = _reading(database, uploads.find)
        self.page = _reading(database, uploads.page)
        self.forget = _writing(database, uploads.forget)
        self.expire = _writing(database, uploads.expire)


class Tokens:
    """Transactions on tokens; those of the command line are its own."""

    def __init__(self, database: Database) -> None:
        self.find = _reading(database, tokens.find)
        self.is_owner_gone = _reading(database, tokens.is_owner_gone)


class Heartbeats:
    """Transactions on the fronts that are there."""

    def __init__(self, database: Database) -> None:
        self.register = _writing(database, heartbeats.register)
        self.beat = _writing(database, heartbeats.beat)
        self.unregister = _writing(database, heartbeats.unregister)


class Removals:
    """Transactions on the removals of predictions."""

    def __init__(self, database: Database) -> None:
        self.remove = _writing(database, removals.remove)
        self.due = _reading(database, removals.due)
        self.finish = _writing(database, removals.finish)
        self.forget = _writing(database, removals.forget)


class Deliveries:
    """Transactions on the calls of webhooks."""

    def __init__(self, database: Database) -> None:
        self.due = _reading(database, deliveries.due)
        self.claim = _writing(database, deliveries.claim)
        self.finish = _writing(database, deliveries.finish)


def _writing(database: Database, work: Work[Given, Result]) -> Callable[Given, Awaitable[Result]]:
    async def call(*arguments: Given.args, **options: Given.kwargs) -> Result:
        return await database.write(work, *arguments, **options)

    return call


def _reading(database: Database, work: Work[Given, Result]) -> Callable[Given, Awaitable[Result]]:
    async def call(*arguments: Given.args, **options: Given.kwargs) -> Result:
        return await database.read(work, *arguments, **options)

    return call


def _surely(database: Database, work: Work[Given, Result]) -> Callable[Given, Awaitable[Result]]:
    async def call(*arguments: Given.args, **options: Given.kwargs) -> Result:
        return await database.write_surely(work, *arguments, **options)

    return call


def _frozen(work: Work[Given, PredictionRow | None]) -> Work[Given, Prediction | None]:
    def frozen(
        session: Session, /, *arguments: Given.args, **options: Given.kwargs
    ) -> Prediction | None:
        row = work(session, *arguments, **options)
        return row.frozen() if row else None

    return frozen


def _all_frozen(work: Work[Given, list[PredictionRow]]) -> Work[Given, list[Prediction]]:
    def frozen(
        session: Session, /, *arguments: Given.args, **options: Given.kwargs
    ) -> list[Prediction]:
        return [row.frozen() for row in work(session, *arguments, **options)]

    return frozen


def _frozen_page(work: Work[Given, Page[PredictionRow]]) -> Work[Given, Page[Prediction]]:
    def frozen(
        session: Session, /, *arguments: Given.args, **options: Given.kwargs
    ) -> Page[Prediction]:
        page = work(session, *arguments, **options)
        return Page([row.frozen() for row in page.rows], page.newer, page.older)

    return frozen
