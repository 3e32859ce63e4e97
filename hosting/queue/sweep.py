"""The sweep: removes what is old, as predictions and uploads, and files that nothing refers to."""

from __future__ import annotations

import asyncio
import time

from hosting.settings import Settings
from hosting.storage.files import Files, file_of_upload, folder_of_prediction
from hosting.storage.store import Store

FAILED_INPUTS_SECONDS = 3600
"""Seconds that the input files of predictions that failed or were cancelled are kept: for who asks
again with the same ones."""


async def run(settings: Settings, store: Store, files: Files, pause_seconds: float) -> None:
    """Sweep until cancelled."""
    while True:
        await sweep(settings, store, files)
        await asyncio.sleep(pause_seconds)


async def sweep(settings: Settings, store: Store, files: Files) -> None:
    """Remove what is older than the settings say, and files that nothing refers to."""
    now = time.time()
    await store.removals.forget()
    for upload_id in await store.uploads.expire(now):
        await asyncio.to_thread(files.remove, file_of_upload(upload_id))
    await store.shares.expire(now)
    for prediction_id in await store.predictions.failed_with_inputs(now - FAILED_INPUTS_SECONDS):
        await asyncio.to_thread(files.remove_inputs, prediction_id)
        await store.predictions.forget_inputs(prediction_id)
    if settings.retention_days:
        before = now - settings.retention_days * 86400
        for prediction_id in await store.predictions.expire(before):
            await asyncio.to_thread(files.remove, folder_of_prediction(prediction_id))
        await store.batches.expire(before)
        # Files whose row was never written. Not sooner than that: if the database was lost,
        # no file has a row.
        old = await asyncio.to_thread(lambda: list(files.old(before)))
        orphans = await store.predictions.unknown_ids([entry for _, entry in old])
        for kind, entry in old:
            if entry in orphans:
                await asyncio.to_thread(files.remove, f"{kind}/{entry}")
