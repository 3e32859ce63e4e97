"""Batches: many predictions that are asked for, looked at, cancelled and removed as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hosting.limits import TokenLimits
from hosting.prediction import Prediction
from hosting.queue.dispatch import Dispatcher
from hosting.queue.inputs import Fault, InvalidInputs
from hosting.queue.intake import Intake, NewPrediction, QueueFull
from hosting.settings import Settings
from hosting.states import Priority
from hosting.storage.batches import Progress
from hosting.storage.files import Files, folder_of_prediction
from hosting.storage.pages import ROWS_AT_ONCE, Page
from hosting.storage.spendings import MEGA
from hosting.storage.store import Store
from hosting.storage.tables import Batch, Token, new_id


class InvalidBatch(ValueError):
    """Some requests of a batch can't be taken; `faults` has all, by the requests' places."""

    def __init__(self, faults: Sequence[tuple[int, Fault]]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults


@dataclass(frozen=True)
class NewRequest:
    """A request of a batch that a client asks for.

    details: what else the batch keeps of it: the client's own `id` for it, and what its answer
        needs.
    """

    prediction: NewPrediction
    details: Mapping[str, Any]


@dataclass(frozen=True)
class NewBatch:
    """A batch that a client asks for; its fields are those of `Batch`."""

    token: Token
    requests: Sequence[NewRequest]
    given_id: str | None = None
    endpoint: str | None = None
    input_file_id: str | None = None
    details: dict[str, str] = field(default_factory=dict)


class Batches:
    """The operations on batches; who may do them, the routes have checked.

    All methods raise `Unavailable` when the database can't be reached.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        files: Files,
        intake: Intake,
        dispatcher: Dispatcher,
    ) -> None:
        self._settings = settings
        self._store = store
        self._files = files
        self._intake = intake
        self._dispatcher = dispatcher
        self._preparing = asyncio.Lock()
        """For one batch at a time: to check a thousand requests takes a second or two."""

    async def accept(self, new: NewBatch) -> Batch:
        """Take all requests of a batch into the queue, or none.

        One whose `given_id` the token has used before is not taken again: that one is returned.

        Raises:
            InvalidBatch: naming every fault of every request.
            InvalidInputs: when they are together more than the token may have in a day.
            QueueFull: when the token would have too many unfinished predictions of batches.
            QuotaExceeded: when it would keep too many bytes of files.
            DailyQuotaSpent: when it would have asked for too much today.
        """
        if new.given_id is not None:
            known = await self.find(new.given_id, new.token.id)
            if known is not None:
                return known
        limits = self._intake.limits_of(new.token)
        batch_id, members = new_id(), list[Prediction]()
        try:
            async with self._preparing:
                await self._prepare(new, batch_id, members)
            _check_day(members, limits)
            batch = Batch(
                id=batch_id,
                token_id=new.token.id,
                given_id=new.given_id,
                requests=[
                    {"prediction": prediction.id, **request.details}
                    for prediction, request in zip(members, new.requests, strict=True)
                ],
                endpoint=new.endpoint,
                input_file_id=new.input_file_id,
                details=new.details,
            )
            limit = self._settings.batch_limit
            accepted = await self._store.batches.add(
                batch, members, limit, self._settings.kept_bytes, limits
            )
        except Exception:
            await self._remove_files(members)
            raise
        if accepted is None or accepted.id != batch_id:
            await self._remove_files(members)
        if accepted is None:
            raise QueueFull(
                f"Your batches may have {limit} unfinished predictions together, and would have "
                "more; try again when some are over"
            )
        for prediction in members:
            self._dispatcher.wake(prediction.id, prediction.token_id)
        return accepted

    async def _prepare(self, new: NewBatch, batch_id: str, members: list[Prediction]) -> None:
        """Check all requests, and write the files that came with them.

        Args:
            members: gets the predictions, one by one, as their files may be there from then on.
        """
        faults = list[tuple[int, Fault]]()
        kept = 0
        for place, request in enumerate(new.requests):
            asked = replace(request.prediction, priority=Priority.BATCH)
            try:
                prediction, files = await self._intake.prepare(asked)
            except InvalidInputs as error:
                faults += [(place, fault) for fault in error.faults]
                continue
            members.append(replace(prediction, batch_id=batch_id))
            if files and not faults:
                kept += prediction.input_bytes
                most = self._settings.kept_bytes
                await self._store.uploads.check_quota(new.token.id, kept, most)
                await self._intake.write(prediction, files)
            await asyncio.sleep(0)  # others are answered in between
        if faults:
            raise InvalidBatch(faults)

    async def _remove_files(self, members: Sequence[Prediction]) -> None:
        for prediction in members:
            if prediction.input_bytes:
                await asyncio.to_thread(self._files.remove, folder_of_prediction(prediction.id))

    async def find(self, batch_id: str, token_id: str) -> Batch | None:
        """Return a token's batch, by its own id or its client's."""
        return await self._store.batches.find(batch_id, token_id)

    async def page(
        self, token_id: str, cursor: str | None = None, most: int | None = None
    ) -> Page[Batch]:
        """Return a page of a token's batches, the newest first.

        Args:
            most: batches of the page.

        Raises:
            InvalidCursor: when no page has given the cursor.
        """
        return await self._store.batches.page(token_id, cursor, most)

    async def progress(self, batches: Sequence[Batch]) -> dict[str, Progress]:
        """Return how far each of some batches is, by its id."""
        return await self._store.batches.progress([batch.id for batch in batches])

    async def members(
        self, batch: Batch
    ) -> AsyncIterator[tuple[int, Mapping[str, Any], Prediction | None]]:
        """Yield each request of a batch with its place and its prediction; None if that is gone.

        Few are in memory at a time: the inputs of each may have a MiB.
        """
        for start in range(0, len(batch.requests), ROWS_AT_ONCE):
            requests = batch.requests[start : start + ROWS_AT_ONCE]
            ids = [str(request["prediction"]) for request in requests]
            found = {one.id: one for one in await self._store.batches.members(ids)}
            for place, (prediction_id, request) in enumerate(
                zip(ids, requests, strict=True), start
            ):
                yield place, request, found.get(prediction_id)

    async def cancel(self, batch_id: str) -> None:
        """End what of a batch is not over: at once in the queue, between two steps else."""
        await self._dispatcher.cancel_batch(batch_id)

    async def remove(self, batch_id: str, token_id: str) -> None:
        """Remove a token's batch with all its predictions and their files."""
        await self._dispatcher.remove_batch(batch_id, token_id)


def _check_day(members: Sequence[Prediction], limits: TokenLimits) -> None:
    """Raise InvalidInputs where predictions are more than their token may have in a whole day."""
    faults = list[Fault]()
    if (most := limits.predictions_a_day) is not None and len(members) > most:
        sentence = f"It has {len(members)} requests, and your token may have {most} a day"
        faults.append(Fault("too_large", "requests", sentence))
    asked = sum(prediction.cost for prediction in members) / MEGA
    if (most_cost := limits.megapixel_steps_a_day) is not None and asked > most_cost:
        sentence = (
            f"They have {asked:.0f} megapixel-steps, and your token may have {most_cost:g} a day"
        )
        faults.append(Fault("too_large", "requests", sentence))
    if faults:
        raise InvalidInputs(*faults)
