"""The real server, as `scripts/serve` runs it, asked over HTTP."""

from __future__ import annotations

import base64
import json
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from PIL import Image

from cog_schema import schema
from hosting.backends.cog_process import SOCKET
from stable_diffusion import images
from tests.support.pictures import EXAMPLES, difference, picture_of, same
from tests.support.server import Server, file_of, picture_in, start, url_of
from tools.attacks.pictures import hostile

FLOWER = EXAMPLES / "flower.png"
NATIVE = (128, 128)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start(tmp_path_factory.mktemp("server"), "--model", "demo")
    yield server
    server.stop()


@pytest.fixture
def unharmed(server: Server) -> Iterator[Server]:
    """The server, which afterwards must be ready and have no more files than before."""
    before = server.files()
    yield server
    assert server.health == "READY"
    assert server.files() == before
    assert not any("Traceback" in line for line in server.printed)


# What is asked


def test_health_has_what_the_worker_says_of_its_model(server: Server) -> None:
    with server.ask("/health") as response:
        (endpoint,) = json.load(response)["endpoints"]
    description = endpoint["description"]
    assert (description["model"], description["task"]) == ("demo", "img2img")
    assert (description["native_size"], description["checker"]) == (128, False)
    assert {"diffusers", "torch"} <= description["versions"].keys()


def test_a_prompt_makes_a_picture_of_the_native_size(server: Server) -> None:
    status, answer = server.predict(prompt="a red apple", num_inference_steps=4, seed=5)
    assert (status, answer["status"]) == (200, "succeeded")
    (url,) = answer["output"]
    assert url.startswith("data:image/png;base64,")
    assert picture_in(url).size == NATIVE
    (metric,) = answer["metrics"]["images"]
    assert {name: metric[name] for name in ("index", "seed", "nsfw")} == {
        "index": 0,
        "seed": 5,
        "nsfw": None,
    }
    assert answer["metrics"]["progress"] == {"step": 4, "steps": 4, "seconds_left": 0}
    assert 100 * 2**20 < answer["metrics"]["device_memory"] < 8 * 2**30
    assert " 4/4 " in answer["logs"]


def test_an_image_is_followed_as_far_as_strength_says(server: Server) -> None:
    fitted = images.fit(images.read_image(FLOWER), NATIVE)
    image = url_of(FLOWER.read_bytes())
    options = {"prompt": "a rose", "image": image, "num_inference_steps": 8, "seed": 1}
    (untouched,) = server.draw(strength=0, **options)
    assert difference(untouched, fitted) == (0, 0)
    (little,), (much,) = (server.draw(strength=strength, **options) for strength in (0.2, 0.8))
    assert difference(little, fitted)[1] < difference(much, fitted)[1]


def test_a_mask_says_what_is_repainted(server: Server) -> None:
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (32, 0, 64, 64))
    (picture,) = server.draw(
        prompt="a rose", image=url_of(FLOWER.read_bytes()), mask=file_of(mask), strength=1
    )
    left = (0, 0, 60, 128)
    fitted = images.fit(images.read_image(FLOWER), NATIVE)
    assert difference(picture.crop(left), fitted.crop(left)) == (0, 0)
    assert difference(picture, fitted)[1] > 2


def test_several_images_come_in_the_order_of_their_seeds(server: Server) -> None:
    options = {"prompt": "a red apple", "num_inference_steps": 3}
    several = server.draw(num_images=4, seed=20, **options)
    assert len(several) == 4
    assert same(several[2], server.draw(seed=22, **options)[0])


def test_every_documented_input_is_taken(server: Server) -> None:
    (picture,) = server.draw(
        prompt="(red apple)1.2",
        negative_prompt="blue--",
        image=url_of(FLOWER.read_bytes()),
        num_images=1,
        num_inference_steps=3,
        guidance_scale=3,
        strength=1,
        width=256,
        height=128,
        seed=2**53 - 1,
        use_compel=True,
        scheduler="K_EULER_ANCESTRAL",
        output_format="jpg",
        output_quality=50,
    )
    assert (picture.format, picture.size) == ("JPEG", (256, 128))


def test_the_schema_is_served(server: Server) -> None:
    with server.ask("/openapi.json") as response:
        served = json.load(response)
    assert served == schema.schema(schema.PREDICT.read_text())
    assert "/shutdown" not in served["paths"]


def test_progress_is_seen_while_it_runs(server: Server) -> None:
    asked = {"input": {"prompt": "a red apple", "num_inference_steps": 5}}
    with server.ask("/predictions", asked, Accept="text/event-stream") as response:
        text = response.read().decode()
    events = [
        (part.split("\n")[0].removeprefix("event: "), json.loads(part.partition("data: ")[2]))
        for part in text.strip().split("\n\n")
        if part.startswith("event: ")
    ]
    kinds = [kind for kind, _ in events]
    assert (kinds[0], kinds[-1]) == ("start", "completed")
    progress = [d["value"] for k, d in events if k == "metric" and d["name"] == "progress"]
    # Of two steps that come together the stream tells the later.
    steps = [one["step"] for one in progress]
    assert steps == sorted(set(steps))
    assert len(steps) > 1
    assert all(one["steps"] == 5 and one["seconds_left"] >= 0 for one in progress[:-1])
    assert progress[-1] == {"step": 5, "steps": 5, "seconds_left": 0}
    assert " 2/5 " in "".join(d["data"] for k, d in events if k == "log")
    assert sum(kind == "output" for kind in kinds) == 1


def test_predictions_run_at_once_and_a_short_one_does_not_wait_for_a_long_one(
    server: Server,
) -> None:
    order: list[str] = []

    def draw(name: str, steps: int) -> None:
        server.draw(prompt="a red apple", num_inference_steps=steps)
        order.append(name)

    long = threading.Thread(target=draw, args=("long", 60))
    long.start()
    server.wait_for("of 60, ")
    draw("short", 2)
    long.join()
    assert order == ["short", "long"]


def test_a_prediction_can_be_cancelled_between_steps(unharmed: Server) -> None:
    answers: list[Any] = []
    asked = {"id": "to-be-cancelled", "input": {"prompt": "x", "num_inference_steps": 511}}
    thread = threading.Thread(target=lambda: answers.append(unharmed.predict(asked)))
    thread.start()
    unharmed.wait_for("step 2 of 511")
    with unharmed.ask("/predictions/to-be-cancelled/cancel", {}) as response:
        assert response.status == 200
    thread.join(60)
    assert answers[0][1]["status"] == "canceled"
    assert not any("step 200 of 511" in line for line in unharmed.printed)


# What is broken or hostile


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({}, {"prompt"}),
        ({"prompt": None}, {"prompt"}),
        ({"prompt": 5}, {"prompt"}),
        ({"prompt": "", "num_images": "25"}, {"num_images"}),
        ({"prompt": "", "num_images": "two"}, {"num_images"}),
        ({"prompt": "", "num_images": True}, {"num_images"}),
        ({"prompt": "", "num_images": 2.5}, {"num_images"}),
        ({"prompt": "", "num_images": 5, "num_inference_steps": 513}, {"num_images", "num_inf"}),
        ({"prompt": "", "guidance_scale": 0.9, "strength": 1.1}, {"guidance_scale", "strength"}),
        ({"prompt": "", "seed": -1}, {"seed"}),
        ({"prompt": "", "seed": 2**53}, {"seed"}),
        ({"prompt": "", "seed": 2**70}, {"seed"}),
        ({"prompt": "", "width": 100, "height": 129}, {"width", "height"}),
        ({"prompt": "", "scheduler": "DPM"}, {"scheduler"}),
        ({"prompt": "", "image": 5}, {"image"}),
        ({"prompt": "", "image": "/etc/hostname"}, {"image"}),
        ({"prompt": "", "image": "file:///etc/hostname"}, {"image"}),
        ({"prompt": "", "image": ""}, {"image"}),
        ({"prompt": "", "image": "http://127.0.0.1:port/"}, {"image"}),
        ({"prompt": "", "image": "data:image/png;base64,?"}, {"image"}),
        ({"prompt": "", "image": "data:text/plain,hello", "mask": "/"}, {"image", "mask"}),
    ],
)
def test_what_the_schema_forbids_is_answered_422_and_named(
    unharmed: Server, inputs: dict[str, Any], named: set[str]
) -> None:
    status, answer = unharmed.predict({"input": inputs})
    assert status == 422
    found = {fault["loc"][-1] for fault in answer["detail"]}
    assert all(any(name.startswith(start) for name in found) for start in named)
    assert len(found) == len(named)


TRUNCATED = base64.b64decode(file_of(picture_of()).partition(",")[2])[:3000]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"image": "http://127.0.0.1:9/photo.png"}, "image: "),
        ({"image": url_of(b"BM hello")}, "image: the file is not a picture"),
        ({"image": url_of(TRUNCATED)}, "image: the picture can't be read, since its file ends"),
        ({"mask": url_of(FLOWER.read_bytes())}, "mask: there is no image to repaint"),
        ({"prompt": '("a", "b").blend(1)', "use_compel": True}, "prompt: compel can't read \".bl"),
        ({"prompt": "(" * 500, "use_compel": True}, "parentheses are nested too deeply"),
        ({"prompt": "x" * 100_001}, "prompt: "),
    ],
)
def test_what_only_we_can_tell_fails_in_plain_words(
    unharmed: Server, inputs: dict[str, Any], words: str
) -> None:
    status, answer = unharmed.predict(**{"prompt": "x", **inputs})
    assert (status, answer["status"]) == (200, "failed")
    with unharmed.ask(f"/v1/predictions/{answer['id']}") as response:
        assert json.load(response)["failure"] == "inputs"
    assert words in answer["error"]
    assert len(answer["error"].splitlines()) == 1
    assert "Traceback" not in answer["error"] + answer["logs"]
    assert "output" not in answer


@pytest.mark.parametrize(
    "name",
    [
        "PNG: (60000, 60000) pixels",
        "PNG: a million empty chunks",
        "JPEG: 300 scans",
        "WebP: a canvas of 16384 × 16384 pixels",
        "GIF: a screen of 65,535 × 65,535 pixels",
        "TIFF: 2³² strips",
        "BMP: runs that cover 64 megapixels",
    ],
)
def test_a_hostile_picture_fails_in_plain_words(unharmed: Server, name: str) -> None:
    status, answer = unharmed.predict(prompt="x", image=url_of(hostile(name)))
    assert (status, answer["status"]) == (200, "failed")
    assert answer["error"].startswith("image: the ")
    assert len(answer["error"].splitlines()) == 1
    assert "Traceback" not in answer["error"] + answer["logs"]


def test_json_that_is_none_is_refused(unharmed: Server) -> None:
    for body in (b"{", b"[1]", b'{"input": {"prompt": "x", "strength": NaN}}'):
        assert unharmed.predict(body)[0] in (400, 422)


@pytest.mark.parametrize(
    "prompt",
    ["", "👩‍🚀 🍎", "a\x00b\x1b[31m\u202e", "word " * 10_000, "(red)1.3 C++ :-)", "<|endoftext|>"],
)
def test_any_text_is_a_prompt(server: Server, prompt: str) -> None:
    (picture,) = server.draw(prompt=prompt, num_inference_steps=1)
    assert picture.size == NATIVE


@pytest.mark.parametrize(
    "prompt",
    ["((((((((a", "( " * 12, "(" * 20 + "a" + ")" * 20, "red++ (apple)1.2", "word, " * 200],
)
def test_any_of_compels_syntax_is_a_prompt(server: Server, prompt: str) -> None:
    (picture,) = server.draw(prompt=prompt, use_compel=True, num_inference_steps=1)
    assert picture.size == NATIVE


@pytest.mark.parametrize(
    "image",
    [
        file_of(Image.new("RGB", (1, 1), "red")),
        file_of(Image.new("RGB", (1, 5000), "red")),
        file_of(Image.new("RGB", (64, 64), "red"), "GIF"),
        file_of(Image.new("RGB", (64, 64), "red").convert("CMYK"), "JPEG"),
        file_of(Image.new("RGB", (64, 64), "red").quantize(4), transparency=1),
        file_of(Image.fromarray(__import__("numpy").full((64, 64), 40_000, "uint16"))),
    ],
    ids=["1 pixel", "1 × 5000", "GIF", "CMYK", "palette", "16 bits"],
)
def test_any_picture_is_an_image(server: Server, image: str) -> None:
    (picture,) = server.draw(prompt="x", image=image, num_inference_steps=2, width=128, height=128)
    assert picture.size == NATIVE


def test_unknown_inputs_are_dropped_and_whole_floats_taken(server: Server) -> None:
    (picture,) = server.draw(prompt="x", colour="red", num_inference_steps=1.0, width=128.0)
    assert picture.size == NATIVE


# How it is run


def test_a_dead_worker_is_replaced_and_a_stopped_server_leaves_nothing(tmp_path: Path) -> None:
    server = start(tmp_path, "--model", "demo")
    try:
        server.draw(prompt="x", num_inference_steps=1)
        # The line of processes is scripts/serve, Cog's server, the worker with the model.
        psutil.Process(server.process.pid).children()[0].children()[0].kill()
        assert server.draw(prompt="x", num_inference_steps=1)[0].size == NATIVE
        server.wait_for("is ready", times=2)
        server.draw(prompt="x", num_inference_steps=1)
    finally:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    with pytest.raises(urllib.error.URLError):
        server.predict(prompt="x")


def test_only_this_account_reaches_the_models_server(tmp_path: Path) -> None:
    server = start(tmp_path, "--model", "demo")
    try:
        cog = psutil.Process(server.process.pid).children()[0]
        path, words = f"/proc/{cog.pid}/cwd/{SOCKET}", cog.cmdline()
        place = (words[words.index("--host") + 1], int(cog.environ()["PORT"]))
        transport = httpx2.HTTPTransport(uds=path)
        with httpx2.Client(base_url="http://cog", transport=transport) as client:
            assert client.get("/health-check").json()["status"] == "READY"
        with pytest.raises(OSError):
            socket.create_connection(place, 5)
        real = Path(path).resolve()
        for private in (real, real.parent):
            assert private.stat().st_mode & 0o077 == 0
    finally:
        server.stop()


def test_a_frozen_worker_ends_with_a_killed_front(tmp_path: Path) -> None:
    server = start(tmp_path, "--model", "demo")
    behind = psutil.Process(server.process.pid).children(recursive=True)
    behind[1].suspend()
    server.process.kill()
    server.process.wait()
    assert psutil.wait_procs(behind, timeout=30)[1] == []
