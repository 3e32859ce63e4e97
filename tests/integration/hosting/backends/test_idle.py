"""A Cog server of our own gives its card back when nobody asks for it, and comes when one does."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from cog_schema.schema import ROOT
from hosting.backends.endpoints import Endpoint
from hosting.backends.servers import Launch, Server
from hosting.queue.waits import Waits
from hosting.states import State, Status
from tests.support.front import Queue, queue, until
from tools.fake_cog import CogServer

PREDICT = """
import time

from cog import BasePredictor, Path
from PIL import Image

class Predictor(BasePredictor):
    def setup(self):
        print('model', {description!r}, flush=True)
        time.sleep(1)  # Cog may lose what has not come to it when the setup ends

    def predict(self, prompt: str, seed: int = 0) -> list[Path]:
        Image.new("RGB", (8, 8)).save("out.png")
        return [Path("out.png")]
"""


def small_endpoint(folder: Path, idle_seconds: float) -> Endpoint:
    """An endpoint whose server is started here, and draws black."""
    (folder / "hosting").symlink_to(ROOT / "hosting")  # which the server runs a module of
    predict = folder / "predict.py"
    predict.write_text(PREDICT.format(description=json.dumps(CogServer().description)))
    launch = Launch("small", predict, "Predictor", CogServer().schema, "img2img", 1, {})
    server = Server(launch, folder / "server", has_own_network=False)
    return Endpoint(server, 1, idle_seconds)


def running(folder: Path, idle_seconds: float, test: object) -> None:
    async def main() -> None:
        endpoint = small_endpoint(folder, idle_seconds)
        async with queue(folder / "data", endpoint) as made:
            await test(made, endpoint)  # type: ignore[operator]

    (folder / "data").mkdir()
    asyncio.run(main())


def test_it_ends_when_it_is_idle_and_starts_for_the_next_prediction(tmp_path: Path) -> None:
    async def test(made: Queue, endpoint: Endpoint) -> None:
        server = endpoint.server
        assert server
        first, *_ = await made.over(await made.ask("fox"))
        assert first.status is Status.SUCCEEDED
        await until(lambda: endpoint.status is State.IDLE and not server.is_alive)
        assert endpoint.description
        assert endpoint.schema
        asked = await made.ask("hen")
        waits = Waits(made.store.predictions, [endpoint], made.dispatcher.running, 0)
        place = await waits.place(await made.found(asked))
        assert place == {"position": 1, "estimated_wait": None, "reason": "starting"}
        second, *_ = await made.over(asked)
        assert (second.status, second.crashes) == (Status.SUCCEEDED, 0)

    running(tmp_path, 0.5, test)


def test_it_stays_while_predictions_come(
    tmp_path: Path,
) -> None:
    async def test(made: Queue, endpoint: Endpoint) -> None:
        assert endpoint.server
        await made.over(await made.ask("fox"))
        process = endpoint.server._process
        for _ in range(6):
            await asyncio.sleep(0.5)
            await made.over(await made.ask("hen"))
        assert endpoint.server._process is process

    running(tmp_path, 2.0, test)
