"""A worker that serves several models: by what comes out of each, as they come and go."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import predict
from cog_schema import schema
from hosting.backends.description import Description, models_of
from stable_diffusion import catalogue
from stable_diffusion.catalogue import SetupError
from stable_diffusion.models import Model
from stable_diffusion.request import InputError
from tests.support import random_models
from tests.support.pictures import difference, opened

Draw = Callable[..., Path]


@pytest.fixture(scope="module")
def other(demo: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of the demo model's task."""
    folder = tmp_path_factory.mktemp("weights") / "other"
    random_models.make("img2img", demo, folder)
    return folder


@pytest.fixture
def metrics() -> dict[str, Any]:
    return {}


@pytest.fixture
def load(
    tmp_path: Path, metrics: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., predict.Predictor]]:
    """Sets up a predictor by settings."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made: list[predict.Predictor] = []

    def load(**settings: str) -> predict.Predictor:
        for name, value in {"EXECUTOR": "plain", **settings}.items():
            monkeypatch.setenv(name, value)
        predictor = predict.Predictor()
        monkeypatch.setattr(
            predictor, "record_metric", lambda name, value: metrics.update({name: value})
        )
        predictor.setup()
        made.append(predictor)
        return predictor

    yield load
    for predictor in made:
        predictor.engines.close()


def draw(predictor: predict.Predictor, **inputs: Any) -> Path:
    document = schema.schema(schema.PREDICT.read_text())
    properties = document["components"]["schemas"]["Input"]["properties"]
    given = {"prompt": "a red apple", "num_inference_steps": 3, "seed": 1, **inputs}
    defaults = {name: entry.get("default") for name, entry in properties.items()}

    async def collect() -> list[Path]:
        drawn: Any = predictor.predict(**defaults | given)
        return [path async for path in drawn]

    (path,) = asyncio.run(collect())
    return path


def is_same(one: Path, other: Path) -> bool:
    return difference(opened(one), opened(other)) == (0, 0)


@pytest.fixture
def alone(other: Path, load: Callable[..., predict.Predictor]) -> dict[str, Path]:
    """What each model draws where it is the only one."""
    return {
        name: draw(load(MODEL=model)) for name, model in (("demo", "demo"), ("other", str(other)))
    }


@pytest.mark.parametrize("budget", ["", "0.06"])  # room for both, or for the larger one
def test_each_is_chosen_by_its_name(
    budget: str,
    other: Path,
    alone: dict[str, Path],
    load: Callable[..., predict.Predictor],
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    predictor = load(MODEL=f"demo, {other}", WEIGHTS_GB=budget)
    described = Description.read(capsys.readouterr().out)
    assert described
    assert [one.name for one in described.models] == ["demo", "other"]
    assert described.of("other").native_size == 128
    assert [one.reason for one in described.loras] == [None]
    assert "is for another base model" in str(described.of("other").loras[0].reason)
    assert described.vocabulary
    assert described.of("other").vocabulary is None
    for name in (None, "other", "demo", "other", ""):
        assert is_same(draw(predictor, model=name), alone[name or "demo"])
    assert is_same(draw(predictor, loras=["blueprint"]), draw(load(), loras=["blueprint"]))
    with pytest.raises(InputError, match='model: "othr" is not allowed; give one of other, demo'):
        draw(predictor, model="othr")


def test_those_of_a_folder_come_and_go(
    other: Path,
    alone: dict[str, Path],
    load: Callable[..., predict.Predictor],
    metrics: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    predictor = load(MODEL="demo", MODELS=str(folder))
    draw(predictor)
    assert [one["name"] for one in metrics["models"]] == ["demo"]
    shutil.copytree(other, folder / "mine")
    (folder / "broken").mkdir()
    (folder / "broken" / "model_index.json").write_text("{")
    assert is_same(draw(predictor, model="mine"), alone["other"])
    draw(predictor)
    found = models_of(metrics["models"])
    assert found
    assert [(one.name, one.native_size) for one in found] == [("demo", None), ("mine", 128)]
    assert capsys.readouterr().err.count("'broken'") == 1
    (served,) = [one for one in predictor.engines.started if one.name == "mine"]
    shutil.rmtree(folder / "mine")
    with pytest.raises(InputError, match='model: "mine" is not allowed; give one of demo'):
        draw(predictor, model="mine")
    assert predictor.engines.started == [predictor.engines.usual]
    assert not served.engine._thread.is_alive()


def test_a_file_that_is_another_one_now_is_loaded_anew(
    other: Path, load: Callable[..., predict.Predictor], demo: Model, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copytree(other, folder / "mine")
    predictor = load(MODEL="demo", MODELS=str(folder))
    before = draw(predictor, model="mine")
    shutil.rmtree(folder / "mine")
    shutil.copytree(catalogue.WEIGHTS / "demo", folder / "mine")
    os.utime(folder / "mine" / "model_index.json")
    after = draw(predictor, model="mine")
    assert not is_same(before, after)
    assert is_same(after, draw(predictor))


def test_what_can_not_be_loaded_is_said_by_name(
    other: Path, load: Callable[..., predict.Predictor], tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copytree(other, folder / "mine")
    for file in (folder / "mine" / "unet").glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:1000])
    predictor = load(MODEL="demo", MODELS=str(folder))
    with pytest.raises(InputError) as caught:
        draw(predictor, model="mine")
    assert "model: mine can't be used: " in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    draw(predictor)


def test_one_that_is_named_twice_or_no_budget_is_refused(
    load: Callable[..., predict.Predictor],
) -> None:
    with pytest.raises(SetupError, match="demo is given twice as a model"):
        load(MODEL="demo,demo")
    with pytest.raises(SetupError, match="WEIGHTS_GB is 'much'; give a number above 0"):
        load(MODEL="demo", MODELS=str(catalogue.WEIGHTS), WEIGHTS_GB="much")
