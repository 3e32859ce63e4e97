"""The asynchronous half of Replicate's own client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import replicate
from replicate.client import Client
from replicate.helpers import FileOutput
from replicate.prediction import Prediction

from tests.support.front_process import (
    ARCHIVED,
    IMAGE_TO_IMAGE,
    TEXT_TO_IMAGE,
    Front,
    endless,
    picture,
    png_of,
    small,
)
from tests.support.pictures import difference, picture_of, same

Result = TypeVar("Result")


def run(front: Front, work: Callable[[Client], Awaitable[Result]], name: str = "ada") -> Result:
    """What some work with an asynchronous client comes to."""

    async def main() -> Result:
        client = Client(front.tokens[name], base_url=front.url)
        client.poll_interval = 0.05
        try:
            return await work(client)
        finally:
            await client._async_client.aclose()

    return asyncio.run(main())


def test_several_pictures_are_drawn_at_once(front: Front, client: Client) -> None:
    async def work(client: Client) -> list[bytes]:
        asked = [client.async_run(TEXT_TO_IMAGE, small(seed=seed)) for seed in (3, 4, 5)]
        answers: Any = await asyncio.gather(*asked)
        return [await output.aread() for (output,) in answers]

    outputs = client.run(TEXT_TO_IMAGE, small(seed=3, num_outputs=3))
    for one, other in zip(run(front, work), outputs, strict=True):
        assert same(picture(one), picture(other))


def test_a_prediction_is_created_and_waited_for(front: Front, client: Client) -> None:
    async def work(client: Client) -> Prediction:
        prediction = await client.predictions.async_create(model=TEXT_TO_IMAGE, input=small())
        assert prediction.status == "starting"
        await prediction.async_wait()
        assert await client.predictions.async_get(prediction.id) == prediction
        return prediction

    prediction = run(front, work)
    assert prediction.status == "succeeded"
    assert prediction.output is not None
    (drawn,), (again,) = prediction.output, client.run(TEXT_TO_IMAGE, small())
    assert same(picture(FileOutput(drawn, client)), picture(again))
    assert client.predictions.list()[1].id == prediction.id


def test_a_stream_has_logs_and_pictures(front: Front, client: Client) -> None:
    async def work(client: Client) -> tuple[list[str], str, bytes]:
        events = [event async for event in await client.async_stream(TEXT_TO_IMAGE, small())]
        kinds = [event.event.value for event in events]
        logs = "".join(event.data for event in events[:-2])
        return kinds, logs, await FileOutput(events[-2].data, client).aread()

    kinds, logs, data = run(front, work)
    assert set(kinds[:-2]) == {"logs"}
    assert kinds[-2:] == ["output", "done"]
    assert logs == client.predictions.list()[0].logs
    (drawn,) = client.run(TEXT_TO_IMAGE, small())
    assert same(picture(data), picture(drawn))


def test_a_prediction_streams_again(front: Front, client: Client) -> None:
    async def work(client: Client) -> tuple[str | None, list[str]]:
        prediction = await client.models.predictions.async_create(TEXT_TO_IMAGE, small())
        data = [event.data async for event in prediction.async_stream()]
        await prediction.async_reload()
        return prediction.logs, [str(one) for one in data]

    logs, data = run(front, work)
    assert "".join(data[:-2]) == logs
    assert data[-1] == "{}"


def test_one_that_runs_is_canceled(front: Front) -> None:
    async def work(client: Client) -> Prediction:
        prediction = await client.models.predictions.async_create(TEXT_TO_IMAGE, endless())
        async for _ in prediction.async_stream():
            break
        await prediction.async_cancel()
        await prediction.async_wait()
        return prediction

    prediction = run(front, work)
    assert (prediction.status, prediction.output) == ("canceled", None)
    assert not prediction.progress or prediction.progress.current < 512


def test_files_are_sent_listed_used_and_removed(front: Front, tmp_path: Path) -> None:
    path = tmp_path / "original.png"
    path.write_bytes(png_of(picture_of()))

    async def work(client: Client) -> bytes:
        file = await client.files.async_create(path)
        assert await client.files.async_get(file.id) == file
        assert file in await client.files.async_list()
        inputs = small(image=file.urls["get"], strength=0)
        outputs: Any = await client.async_run(IMAGE_TO_IMAGE, inputs)
        assert await client.files.async_delete(file.id)
        assert file not in await client.files.async_list()
        data: bytes = await outputs[0].aread()
        return data

    assert difference(picture(run(front, work)), picture_of()) == (0, 0)


def test_a_path_is_an_image(front: Front, tmp_path: Path) -> None:
    path = tmp_path / "original.png"
    path.write_bytes(png_of(picture_of()))

    async def work(client: Client) -> bytes:
        inputs = small(image=path, strength=0)
        outputs: Any = await client.async_run(IMAGE_TO_IMAGE, inputs)
        return b"".join([chunk async for chunk in outputs[0]])

    assert difference(picture(run(front, work)), picture_of()) == (0, 0)


def test_lists_and_accounts(front: Front) -> None:
    async def work(client: Client) -> tuple[list[int], str, list[str]]:
        sizes = [len(p) async for p in replicate.async_paginate(client.predictions.async_list)]
        account = await client.accounts.async_current()
        models = await client.models.async_list()
        return sizes, account.username, [one.id for one in models.results]

    sizes, name, models = run(front, work, "eve")
    assert (sum(sizes), name) == (ARCHIVED, "eve")
    assert TEXT_TO_IMAGE in models
