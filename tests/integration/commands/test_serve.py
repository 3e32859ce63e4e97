from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cog_schema import schema
from stable_diffusion import catalogue
from tools.benchmark.server import free_port


def serve(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "commands.serve", *arguments],
        cwd=schema.ROOT,
        env={**os.environ, **{name: str(value) for name, value in settings.items()}},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_a_token_any_address_but_loopback_is_refused(host: str, tmp_path: Path) -> None:
    told = serve("--host", host, "--port", str(free_port()), DATA=tmp_path)
    assert told.returncode == 1
    assert f"{host} can be reached from elsewhere" in told.stderr
    assert "scripts/tokens create" in told.stderr


def test_without_a_token_a_public_name_is_refused(tmp_path: Path) -> None:
    told = serve("--port", str(free_port()), DATA=tmp_path, PUBLIC_URL="https://sd.example.com")
    assert told.returncode == 1
    assert "sd.example.com can be reached from elsewhere" in told.stderr


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_told(host: str) -> None:
    told = serve("--host", host)
    assert told.returncode == 1
    assert f"can't listen on port 5000 of {host}" in told.stderr


def test_a_model_that_is_named_twice_is_refused() -> None:
    told = serve("--model", "demo", str(catalogue.WEIGHTS / "demo"))
    assert told.returncode == 1
    assert "demo is named twice as a model; name it once" in told.stderr


def test_a_predictor_is_given_for_each_model_or_for_none() -> None:
    told = serve("--model", "demo", "demo", "--predictor", "Inpainting")
    assert told.returncode == 1
    assert (
        "--predictor names 1 for 2 models; give one for each model, in their order" in told.stderr
    )


def test_a_second_front_does_not_take_the_first_ones_folder(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = serve("--port", str(free_port()), DATA=tmp_path)
    assert told.returncode == 1
    assert "another front uses" in told.stderr


def test_a_port_that_is_none_is_refused() -> None:
    for port in ("0", "65536", "-1", "http"):
        told = serve("--port", port)
        assert told.returncode == 2
        assert "is not a port" in told.stderr


def test_a_model_that_cannot_be_read_is_told_and_nothing_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(catalogue.WEIGHTS / "demo", folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing")
    told = serve("--port", str(free_port()), "--model", str(folder), DATA=tmp_path / "data")
    assert told.returncode == 1
    assert f"the model in {folder} can't be read" in told.stdout
    assert told.stdout.count("listening at") == 1
    assert "Traceback" not in told.stdout + told.stderr


def test_a_taken_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = serve("--port", str(port), "--model", "demo")
    assert told.returncode == 1
    assert f"can't listen on port {port} of 127.0.0.1" in told.stderr


def test_a_missing_model_is_told_before_anything_starts() -> None:
    told = serve("--model", "stable-diffusion-v1-4")
    assert told.returncode == 1
    assert "run: scripts/download-weights stable-diffusion-v1-4" in told.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {name: a/b, task: txt2img}", "a/b, task is 'txt2img'; give 'img2img', 'inpainting'"),
        (
            "- {name: a/b, task: img2img, defaults: {num_inference_steps: 9999}}",
            "a/b, defaults, num_inference_steps: 9999 is not allowed; give a whole number from 1",
        ),
        (
            "- {name: a/b, task: img2img, defaults: {steps: 20}}",
            "a/b, defaults, steps is not an input; give one of prompt, negative_prompt, image,",
        ),
    ],
)
def test_own_names_of_models_that_cant_be_used_are_told(
    tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(text)
    told = serve("--model", "demo", "--port", str(free_port()), DATA=tmp_path)
    assert told.returncode == 1
    (line,) = told.stderr.splitlines()
    assert line.startswith(f"{file}: {words}")
