"""The whole program at its smallest: trained, interrupted, evaluated, and used."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPTokenizer

from stable_diffusion import models
from stable_diffusion.catalogue import WEIGHTS, Weights
from stable_diffusion.vocabulary import Vocabulary
from tests.support.pictograms import packed
from tests.support.studio import Studio
from train_demo.pictograms import pictograms, read
from train_demo.settings import PRESETS, SOURCES

ROOT = Path(__file__).parents[3]
needs_npm = pytest.mark.skipif(not shutil.which("npm"), reason="fetches pictures by npm")


def command(folder: Path, *options: str) -> list[str]:
    program = [sys.executable, "-m", "train_demo", "--smoke"]
    return [*program, "--folder", str(folder), *options]


def run(folder: Path, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *options), cwd=ROOT, capture_output=True, text=True, check=False, **more
    )


def test_a_training_survives_being_killed_and_leaves_a_model_that_draws(tmp_path: Path) -> None:
    packed(tmp_path / "pictograms.zip")
    shutil.copytree(WEIGHTS / "demo" / "tokenizer", tmp_path / "tokenizer")
    log = tmp_path / "log.txt"
    with subprocess.Popen(command(tmp_path), cwd=ROOT, stdout=subprocess.PIPE) as first:
        deadline = time.monotonic() + 400
        while not (tmp_path / "denoiser.pt").exists():
            assert first.poll() is None, "it ended before its first checkpoint"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        first.kill()
    before = log.read_text()
    assert "encodes" in before

    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    after = log.read_text().removeprefix(before)
    assert "goes on from step" in after
    assert "encodes" not in after
    assert "minute" in done.stdout

    folder = tmp_path / "demo"
    figures = (folder / "EVALUATION.md").read_text()
    assert "## What is drawn at 256 px" in figures
    vocabulary = Vocabulary.beside(folder)
    assert vocabulary
    assert vocabulary.words == ("bars", "disc", "triangle")
    assert "flat style" in vocabulary.styles
    assert sorted(path.name for path in folder.glob("*.jpg"))[-1] == "trained-512.jpg"
    assert list(tmp_path.glob("grid-256-*.png"))
    studio = Studio(models.load(Weights("smoke", folder, 256)))
    (picture,) = studio.draw(prompt="a disc")
    studio.close()
    assert picture.size == (256, 256)

    # The same weights give the same figures, by the same judge.
    again = run(tmp_path, "--evaluate")
    assert again.returncode == 0
    assert "trains the judge" not in again.stdout
    assert (folder / "EVALUATION.md").read_text() == figures

    # What it made can be trained further, in a folder of its own.
    mixed = run(tmp_path, "--start", str(folder))
    assert mixed.returncode == 1
    assert "holds a training with other settings or from another start" in mixed.stderr
    further = tmp_path / "further"
    further.mkdir()
    shutil.copy(tmp_path / "pictograms.zip", further)
    assert run(further, "--start", str(folder), "--minutes", "0.02").returncode == 0
    assert (further / "demo" / "model_index.json").exists()


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
