"""The training of LoRAs of a small model, and what the library makes of their files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from stable_diffusion import catalogue, models
from stable_diffusion.catalogue import Weights
from stable_diffusion.models import Model
from tests.support import random_models
from train_demo.progress import TrainingError
from train_lora import lora_file
from train_lora.__main__ import main
from train_lora.examples import Example, in_folder
from train_lora.settings import Settings
from train_lora.training import Learned, Noising, learned, train

QUICK = Settings(resolution=64, rank=4, alpha=2, steps=12, rate=5e-2, batch=2, feed_forward=True)


@pytest.fixture(scope="module")
def tiny(demo: Model, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return random_models.make("img2img", demo, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four pictures of one colour each, with captions."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("red", "green", "blue", "yellow"):
        Image.new("RGB", (96, 64), name).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"{name} paper")
    return folder


@pytest.fixture
def model(tiny: Weights) -> Model:
    return models.load(tiny)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights with the project's manifest."""
    (tmp_path / "manifest.json").write_bytes((catalogue.WEIGHTS / "manifest.json").read_bytes())
    monkeypatch.setattr(catalogue, "WEIGHTS", tmp_path)
    return tmp_path


def quiet(_: str) -> None:
    pass


def error_on(what: Learned, model: Model) -> float:
    """The mean error on the examples at fixed noise and timesteps."""
    noising, generator = Noising(model.pipeline.scheduler.config), torch.Generator().manual_seed(5)
    total = 0.0
    with torch.inference_mode():
        for timestep in range(50, 1000, 100):
            noise = torch.randn(what.latents.shape, generator=generator)
            timesteps = torch.full((len(what.latents),), timestep)
            loss = noising.loss(model.pipeline.unet, what.latents, noise, timesteps, what.texts)
            total += float(loss)
    return total


# Learning


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_training_lowers_the_error(prediction: str, model: Model, pictures: Path) -> None:
    model.pipeline.scheduler.register_to_config(
        prediction_type=prediction, rescale_betas_zero_snr=prediction == "v_prediction"
    )
    what = learned(model, in_folder(pictures), 64, quiet)
    before = error_on(what, model)
    train(model, what, QUICK, quiet)
    assert error_on(what, model) < 0.9 * before


def test_what_is_to_be_predicted_is_what_the_model_predicts() -> None:
    """A UNet that predicts 0 is wrong by all that it should predict."""

    class Nothing:
        dtype = torch.float32

        def __call__(self, noisy: torch.Tensor, *_: Any) -> Any:
            return type("Output", (), {"sample": torch.zeros_like(noisy)})

    latents, noise = torch.full((2, 4, 8, 8), 3.0), torch.full((2, 4, 8, 8), -2.0)
    timesteps, texts = torch.tensor([100, 700]), torch.zeros(2, 77, 8)
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    signal = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)[timesteps]
    velocity = signal.sqrt() * -2 - (1 - signal).sqrt() * 3
    for prediction, wanted in (("epsilon", 4.0), ("v_prediction", float((velocity**2).mean()))):
        noising = Noising({**schedule, "prediction_type": prediction})
        found = noising.loss(Nothing(), latents, noise, timesteps, texts)
        assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_a_model_that_predicts_something_else_is_refused() -> None:
    with pytest.raises(TrainingError, match="predicts 'sample'"):
        Noising({"prediction_type": "sample"})


def test_nothing_is_random_but_by_the_seed(tiny: Weights, pictures: Path, tmp_path: Path) -> None:
    files = []
    for seed in (1, 1, 2):
        model = models.load(tiny)
        settings = Settings(resolution=64, rank=2, steps=2, batch=2, seed=seed)
        what = learned(model, in_folder(pictures), 64, quiet)
        tensors = train(model, what, settings, quiet)
        described = lora_file.describe(model, settings, "x", "", 4)
        lora_file.save(tmp_path / "x.safetensors", tensors, 2, described)
        files.append((tmp_path / "x.safetensors").read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]


@pytest.mark.parametrize(("share", "is_seen"), [(0.0, True), (1.0, False)])
def test_dropped_captions_are_not_seen(
    share: float, is_seen: bool, tiny: Weights, pictures: Path
) -> None:
    settings = Settings(resolution=64, rank=2, steps=2, batch=2, captions_dropped=share)
    trained = []
    for factor in (1, 2):
        model = models.load(tiny)
        what = learned(model, in_folder(pictures), 64, quiet)
        other = Learned(what.latents, what.texts * factor, what.no_text)
        trained.append(train(model, other, settings, quiet))
    alike = [torch.equal(trained[0][name], trained[1][name]) for name in trained[0]]
    assert all(alike) is not is_seen


def test_a_loss_that_is_no_number_ends_the_training(model: Model, pictures: Path) -> None:
    what = learned(model, in_folder(pictures), 64, quiet)
    broken = Learned(what.latents * float("nan"), what.texts, what.no_text)
    with pytest.raises(TrainingError, match="step 1 is no number: give a lower rate"):
        train(model, broken, QUICK, quiet)


def test_captions_that_are_too_long_are_told(model: Model, pictures: Path) -> None:
    told: list[str] = []
    examples = [
        Example(pictures / "red.png", "red " * 100),
        Example(pictures / "blue.png", "blue"),
    ]
    what = learned(model, examples, 64, told.append)
    assert told == ["1 captions are cut after 75 tokens, which is all that is encoded"]
    assert what.latents.shape == (2, 4, 8, 8)
    assert what.texts.shape[:2] == (2, 77)


# The file


def test_the_library_reads_from_the_file_what_was_learned(
    tiny: Weights, model: Model, pictures: Path, tmp_path: Path
) -> None:
    import diffusers

    tensors = train(model, learned(model, in_folder(pictures), 64, quiet), QUICK, quiet)
    path = tmp_path / "learned.safetensors"
    lora_file.save(path, tensors, QUICK.alpha, lora_file.describe(model, QUICK, "x", "", 4))
    fresh = models.load(tiny)
    library = diffusers.StableDiffusionPipeline(
        **fresh.pipeline.components, requires_safety_checker=False
    )
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([10, 900])
    text = torch.randn(2, 77, fresh.pipeline.text_encoder.config.hidden_size, generator=generator)
    with torch.inference_mode():
        plain = library.unet(*inputs, text).sample
        library.load_lora_weights(path)
        read = library.unet(*inputs, text).sample
        wanted = model.pipeline.unet(*inputs, text).sample
    assert (wanted - plain).abs().max() > 0.1
    torch.testing.assert_close(read, wanted, atol=5e-3, rtol=5e-3)  # it is in half precision


@pytest.mark.parametrize(
    ("width", "prediction", "version", "architecture"),
    [
        (768, "epsilon", "sd_v1", "stable-diffusion-v1/lora"),
        (1024, "epsilon", "sd_v2", "stable-diffusion-v2-512/lora"),
        (1024, "v_prediction", "sd_v2_v", "stable-diffusion-v2-768-v/lora"),
        (192, "v_prediction", None, None),
    ],
)
def test_the_base_model_is_named_where_it_has_a_name(
    width: int,
    prediction: str,
    version: str | None,
    architecture: str | None,
    model: Model,
) -> None:
    model.pipeline.unet.register_to_config(cross_attention_dim=width)
    model.pipeline.scheduler.register_to_config(prediction_type=prediction)
    described = lora_file.describe(model, QUICK, "paper", "papery", 4)
    assert described.get("ss_base_model_version") == version
    assert described.get("modelspec.architecture") == architecture
    assert described["modelspec.prediction_type"] == ("v" if prediction[0] == "v" else "epsilon")
    assert described["modelspec.trigger_phrase"] == "papery"


# The command


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["scripts/train-lora", *map(str, arguments)])
    return main()


@pytest.mark.parametrize("folder", ["loras", "elsewhere"])
def test_the_command_writes_a_file_and_never_another_over_it(
    folder: str,
    tiny: Weights,
    pictures: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if folder == "elsewhere":
        (weights / folder).mkdir()
        monkeypatch.setenv("LORAS", str(weights / folder))
    flags = ("--name", "paper", "--model", tiny.path, "--trigger", "papery", "--rank", 2)
    flags += ("--steps", 3, "--resolution", 64)  # type: ignore[assignment]
    assert command(monkeypatch, pictures, *flags) == 0
    assert "step 3 of 3: loss " in capsys.readouterr().out
    path = weights / folder / "paper.safetensors"
    with safe_open(path, "pt") as file:
        metadata, names = file.metadata(), set(file.keys())
    assert metadata["modelspec.trigger_phrase"] == "papery"
    assert metadata["ss_network_dim"] == metadata["ss_network_alpha"] == "2"
    assert str(tiny.path.parent) not in json.dumps(metadata)
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0"
    assert {f"{layer}.{end}" for end in ("lora_down.weight", "lora_up.weight", "alpha")} <= names
    written = path.read_bytes()
    assert command(monkeypatch, pictures, *flags) == 1
    assert "paper.safetensors is there: give another --name" in capsys.readouterr().err
    assert path.read_bytes() == written
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--name", "../out"), "can't be its name"),
        (("--name", "a:b"), "can't be its name"),
        (("--model", "unheard-of"), "there is no model 'unheard-of'"),
    ],
)
def test_what_cannot_be_is_told(
    flags: tuple[str, ...],
    told: str,
    pictures: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(monkeypatch, pictures, *flags) == 1
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("scripts/train-lora: ")
    assert not (weights / "loras").exists()


def test_a_model_of_another_task_is_refused(
    demo: Model,
    pictures: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = random_models.make("inpainting", demo, tmp_path / "inpainting")
    assert command(monkeypatch, pictures, "--model", other.path) == 1
    assert "is a model for inpainting" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        ("--rank", "0"),
        ("--rank", "٣"),
        ("--steps", "1e3"),
        ("--rate", "nan"),
        ("--rate", "-1"),
        ("--alpha", "inf"),
        ("--resolution", "100"),
        ("--seed", "9" * 30),
        ("--captions-dropped", "2"),
        ("--trigger", " "),
        ("--trigger", "a\nb"),
    ],
)
def test_flags_out_of_range_are_told(
    flags: tuple[str, ...],
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, pictures, *flags)
    assert ended.value.code == 2
    assert f"argument {flags[0]}: " in capsys.readouterr().err


# The one in the box


def test_the_projects_lora_is_one_of_the_demo_model(demo: Model) -> None:
    import diffusers

    path = Path(__file__).parents[3] / "weights" / "loras" / "blueprint.safetensors"
    with safe_open(path, "pt") as file:
        assert file.metadata()["modelspec.trigger_phrase"] == "blueprint"
        assert file.metadata()["ss_sd_model_name"] == "demo"
    assert path.stat().st_size < 600_000
    unet = diffusers.UNet2DConditionModel.from_config(demo.pipeline.unet.config)
    library = diffusers.StableDiffusionPipeline(
        **{**demo.pipeline.components, "unet": unet}, requires_safety_checker=False
    )
    library.load_lora_weights(path)  # the shapes fit
    assert library.get_list_adapters() == {"unet": ["default_0"]}
