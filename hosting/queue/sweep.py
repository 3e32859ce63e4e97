"""What is too old is removed: predictions, uploads, and files that nothing refers to."""

from __future__ import annotations

import asyncio
import time

from hosting.settings import Settings
from hosting.storage import predictions, uploads
from hosting.storage.database import Database
from hosting.storage.files import Files, file_of_upload, folder_of_prediction

EVERY = 600.0
"""Seconds between two removals."""


async def run(settings: Settings, database: Database, files: Files) -> None:
    """Sweeps until cancelled."""
    while True:
        await sweep(settings, database, files)
        await asyncio.sleep(EVERY)


async def sweep(settings: Settings, database: Database, files: Files) -> None:
    """Removes what is older than the settings say, and files that nothing refers to."""
    now = time.time()
    for upload_id in await database(uploads.expire, now):
        await asyncio.to_thread(files.remove, file_of_upload(upload_id))
    if settings.retention_days:
        before = now - settings.retention_days * 86400
        for prediction_id in await database(predictions.expire, before):
            await asyncio.to_thread(files.remove, folder_of_prediction(prediction_id))
        # What was written for a row that then was not. Not sooner: if the database was lost,
        # nobody refers to any of the files.
        old = await asyncio.to_thread(lambda: list(files.old(before)))
        names = [entry for _, entry in old]
        strangers = await database.read(predictions.strangers, names)
        for kind, entry in old:
            if entry in strangers:
                await asyncio.to_thread(files.remove, f"{kind}/{entry}")
