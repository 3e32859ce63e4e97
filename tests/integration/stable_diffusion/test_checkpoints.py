from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from stable_diffusion import catalogue, checkpoints, models, weight_files
from stable_diffusion.checkpoints import Original
from stable_diffusion.json_files import FileError
from stable_diffusion.models import Model
from tests.support import original_layout
from tests.support.original_layout import Tensors
from tests.support.pictures import picture_of, same
from tests.support.studio import Studio

MODELS = ("unet", "vae", "text_encoder")


class Small:
    """A model of a few thousand weights, with everything that the full ones have."""

    def __init__(self, architecture: str, channels: int, tokenizer: Any) -> None:
        upscaler = architecture == "x4-upscaler"
        torch.manual_seed(0)
        self.unet = UNet2DConditionModel(
            sample_size=64,
            in_channels=channels,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=4,
            use_linear_projection=architecture != "v1",
            num_class_embeds=1000 if upscaler else None,
            only_cross_attention=(True, False) if upscaler else False,
        ).eval()
        self.vae = AutoencoderKL(
            block_out_channels=(16, 32),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            scaling_factor=0.08333 if upscaler else 0.18215,
        )
        text = CLIPTextConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            vocab_size=len(tokenizer),
            projection_dim=16,
        )
        self.text_encoder, self.tokenizer = CLIPTextModel(text).eval(), tokenizer
        self.scheduler = DDIMScheduler(clip_sample=False, steps_offset=1)


@pytest.fixture
def originals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, str], Tensors]:
    """Makes the configuration of a model that of an architecture, and gives its weights."""
    folder = tmp_path / "original"
    monkeypatch.setattr(checkpoints, "ORIGINAL", folder)

    def configure(model: Any, architecture: str) -> Tensors:
        for name in ("unet", "vae"):
            getattr(model, name).save_config(folder / architecture / name)
        model.text_encoder.config.save_pretrained(folder / architecture / "text_encoder")
        model.scheduler.save_pretrained(folder / architecture / "scheduler")
        DDPMScheduler().save_pretrained(folder / architecture / "low_res_scheduler")
        model.tokenizer.save_pretrained(folder / "tokenizer")
        return original_layout.checkpoint(model, architecture)

    return configure


@pytest.fixture
def drawing(demo: Model, originals: Callable[[Any, str], Tensors]) -> Tensors:
    """The weights of a small model for drawing, of version 2."""
    return originals(Small("v2", 4, demo.pipeline.tokenizer), "v2")


def write(path: Path, tensors: Tensors) -> Path:
    """A file of weights; a .ckpt with what PyTorch Lightning left in those of CompVis."""
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
        return path
    name = "pytorch_lightning.callbacks.model_checkpoint"
    callback = type("ModelCheckpoint", (), {"__module__": name})
    module = ModuleType(name)
    vars(module)["ModelCheckpoint"] = callback
    best = {"monitor": "val/loss", "best_model_score": numpy.float64(0.1), "best": numpy.int64(3)}
    best["scores"] = numpy.arange(3)
    state = {"epoch": 6, "global_step": 470000, "pytorch-lightning_version": "1.4.2"}
    with pytest.MonkeyPatch.context() as patch:
        for part in ("pytorch_lightning", "pytorch_lightning.callbacks", name):
            patch.setitem(sys.modules, part, module)
        torch.save(state | {"callbacks": {callback: best}, "state_dict": tensors}, path)
    return path


def assert_equal(loaded: Any, model: Any) -> None:
    """Every weight, bit for bit, by the names that the library has for them."""
    for name in MODELS:
        weights = getattr(loaded, name).state_dict()
        expected = getattr(model, name).state_dict()
        assert weights.keys() == expected.keys()
        for key, tensor in expected.items():
            assert torch.equal(weights[key], tensor), f"{name}.{key}"


@pytest.mark.parametrize("suffix", checkpoints.SUFFIXES)
@pytest.mark.parametrize("architecture", ["v1", "v2"])
def test_the_demo_model_comes_back_from_an_original_checkpoint_bit_for_bit(
    architecture: str,
    suffix: str,
    tmp_path: Path,
    demo: Model,
    originals: Callable[[Any, str], Tensors],
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = write(tmp_path / f"demo{suffix}", originals(demo.pipeline, architecture))
    assert checkpoints.examine(path) == Original(architecture, 4)
    capfd.readouterr()
    loaded = checkpoints.load(path, torch.float32)
    assert capfd.readouterr() == ("", "")
    assert_equal(loaded, demo.pipeline)
    assert type(loaded).__name__ == "StableDiffusionImg2ImgPipeline"
    assert loaded.safety_checker is None
    assert loaded.scheduler.config.prediction_type == "v_prediction"
    assert loaded.tokenizer.pad_token_id == (0 if architecture == "v2" else 9339)
    if architecture == "v2":
        assert loaded.unet.config.sample_size == 96


def test_an_original_checkpoint_is_a_model_that_draws(
    tmp_path: Path, demo: Model, studio: Studio, originals: Callable[[Any, str], Tensors]
) -> None:
    path = write(tmp_path / "sd-v1-demo.ckpt", originals(demo.pipeline, "v1"))
    weights = catalogue.find(str(path))
    assert (weights.name, weights.task, weights.files()) == ("sd-v1-demo", "img2img", [path])
    model = models.load(weights)
    assert model.weights.native_size == 128
    original = Studio(model)
    asked = {"prompt": "a panda", "image": picture_of(), "use_compel": True}
    assert same(original.draw(**asked)[0], studio.draw(**asked)[0])
    original.close()


def test_a_file_that_is_no_checkpoint_is_refused_as_a_model(tmp_path: Path) -> None:
    path = tmp_path / "text.safetensors"
    path.write_text("hello")
    with pytest.raises(catalogue.WeightsError, match="text.safetensors can't be read"):
        catalogue.find(str(path))
    with pytest.raises(catalogue.WeightsError, match="there is no file .*nowhere.ckpt"):
        catalogue.find(str(tmp_path / "nowhere.ckpt"))


@pytest.mark.parametrize(
    ("architecture", "channels", "pipeline"),
    [
        ("v1", 9, "StableDiffusionInpaintPipeline"),
        ("v2", 9, "StableDiffusionInpaintPipeline"),
        ("x4-upscaler", 7, "StableDiffusionUpscalePipeline"),
    ],
)
def test_inpainting_and_upscaling_checkpoints_become_their_pipelines(
    architecture: str,
    channels: int,
    pipeline: str,
    tmp_path: Path,
    demo: Model,
    originals: Callable[[Any, str], Tensors],
) -> None:
    model = Small(architecture, channels, demo.pipeline.tokenizer)
    tensors = originals(model, architecture)
    model.unet.register_to_config(in_channels=4)
    model.unet.save_config(checkpoints.ORIGINAL / architecture / "unet")
    path = write(tmp_path / "model.ckpt", tensors)
    assert checkpoints.examine(path) == Original(architecture, channels)
    loaded = checkpoints.load(path, torch.float32)
    assert type(loaded).__name__ == pipeline
    assert loaded.unet.config.in_channels == channels
    assert_equal(loaded, model)


@pytest.mark.parametrize(
    ("architecture", "prediction_type", "native_size"),
    [("v1", "epsilon", 64), ("v2", "epsilon", 64), ("v2", "v_prediction", 96)],
)
def test_what_a_unet_was_trained_to_predict_is_found(
    architecture: str,
    prediction_type: str,
    native_size: int,
    tmp_path: Path,
    demo: Model,
    originals: Callable[[Any, str], Tensors],
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # there is little to share, and waiting for another takes longer
    with torch.inference_mode(False), torch.enable_grad():
        model = Small(architecture, 4, demo.pipeline.tokenizer)
        train(model.unet, prediction_type)
    torch.set_num_threads(threads)
    path = write(tmp_path / "trained.safetensors", originals(model, architecture))
    loaded = checkpoints.load(path, torch.float32)
    assert loaded.scheduler.config.prediction_type == prediction_type
    assert loaded.unet.config.sample_size == native_size


def train(unet: Any, prediction_type: str) -> None:
    """A few steps on plain colours, with the noise of Stable Diffusion late in its schedule."""
    schedule = DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
    )
    optimizer = torch.optim.Adam(unet.parameters(), 3e-3)
    for _ in range(40):
        pictures = torch.randn(4, 4, 1, 1).expand(4, 4, 8, 8)
        noise, timesteps = torch.randn(4, 4, 8, 8), torch.randint(800, 1000, (4,))
        noised = schedule.add_noise(pictures, noise, timesteps)
        target = noise
        if prediction_type == "v_prediction":
            target = schedule.get_velocity(pictures, noise, timesteps)
        prediction = unet(noised, timesteps, torch.zeros(4, 77, 32)).sample
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(prediction, target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def test_half_precision_is_taken_where_it_is_asked_for(tmp_path: Path, drawing: Tensors) -> None:
    loaded = checkpoints.load(write(tmp_path / "a.safetensors", drawing), torch.bfloat16)
    types = {p.dtype for name in MODELS for p in getattr(loaded, name).parameters()}
    assert types == {torch.bfloat16}


def test_the_moving_average_is_drawn_with_where_a_checkpoint_has_both(
    tmp_path: Path, drawing: Tensors
) -> None:
    name = "model.diffusion_model.out.2.weight"
    flat = {k: "model_ema.diffusion_model" + k[22:].replace(".", "") for k in drawing}
    both = drawing | {flat[k]: t + 1 for k, t in drawing.items() if k.startswith("model.")}
    loaded = checkpoints.load(write(tmp_path / "both.ckpt", both), torch.float32)
    assert torch.equal(loaded.unet.conv_out.weight, drawing[name] + 1)


def test_a_file_of_old_torch_is_read(tmp_path: Path, drawing: Tensors) -> None:
    path = tmp_path / "old.ckpt"
    torch.save({"state_dict": drawing}, path, _use_new_zipfile_serialization=False)
    loaded = checkpoints.load(path, torch.float32)
    assert torch.equal(loaded.unet.conv_out.bias, drawing["model.diffusion_model.out.2.bias"])


@pytest.mark.parametrize(
    "missing",
    [
        "model.diffusion_model.out.2.bias",
        "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_q.weight",
        "first_stage_model.decoder.conv_out.weight",
        "first_stage_model.encoder.mid.attn_1.q.weight",
        "cond_stage_model.model.ln_final.weight",
        "cond_stage_model.model.token_embedding.weight",
        "cond_stage_model.model.transformer.resblocks.1.attn.in_proj_bias",
    ],
)
def test_a_checkpoint_that_lacks_a_weight_is_refused(
    missing: str, tmp_path: Path, drawing: Tensors
) -> None:
    del drawing[missing]
    with pytest.raises(FileError, match=r"lacks weights|valid CLIP model|expected shape"):
        checkpoints.load(write(tmp_path / "a.safetensors", drawing), torch.float32)


def test_weights_that_the_architecture_has_no_place_for_are_refused(
    tmp_path: Path, drawing: Tensors
) -> None:
    drawing["model.diffusion_model.motion.weight"] = torch.zeros(1)
    with pytest.raises(FileError, match="more weights than that of Stable Diffusion"):
        checkpoints.load(write(tmp_path / "a.safetensors", drawing), torch.float32)


def test_weights_of_another_shape_are_refused(tmp_path: Path, drawing: Tensors) -> None:
    drawing["model.diffusion_model.out.2.bias"] = torch.zeros(5)
    with pytest.raises(FileError, match=r"expected shape torch.Size\(\[4\]\)"):
        checkpoints.load(write(tmp_path / "a.safetensors", drawing), torch.float32)


def test_a_unet_without_numbers_is_refused(tmp_path: Path, drawing: Tensors) -> None:
    drawing["model.diffusion_model.out.2.bias"] = torch.full((4,), torch.nan)
    with pytest.raises(FileError, match="output is not a number"):
        checkpoints.load(write(tmp_path / "a.safetensors", drawing), torch.float32)


@pytest.mark.parametrize("suffix", checkpoints.SUFFIXES)
@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["lora_unet_down_blocks_0.lora_up.weight"], "is a LoRA"),
        (["conditioner.embedders.0.transformer.a"], "is Stable Diffusion XL"),
        (["depth_model.model.a"], "run scripts/download-weights stable-diffusion-2-depth"),
        (["model.diffusion_model.label_emb.0.0.weight"], "is Stable Diffusion unCLIP"),
        (["down_blocks.0.resnets.0.norm1.weight"], "give the folder that has its model_index"),
        (["model.diffusion_model.input_blocks.0.0.weight"], "not a whole checkpoint of Stable"),
        (["something"], "not a whole checkpoint of Stable Diffusion 1 or 2"),
    ],
)
def test_other_files_of_tensors_are_refused(
    names: list[str], told: str, suffix: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"other{suffix}", {name: torch.zeros(4, 4, 3, 3) for name in names})
    with pytest.raises(FileError, match=told):
        checkpoints.examine(path)
    with pytest.raises(FileError, match=told):
        checkpoints.load(path, torch.float32)


def test_a_checkpoint_with_other_input_channels_is_refused(
    tmp_path: Path, drawing: Tensors
) -> None:
    drawing["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(32, 8, 3, 3)
    with pytest.raises(FileError, match=r"takes 8 channels: give .* text to image \(4\)"):
        checkpoints.examine(write(tmp_path / "a.safetensors", drawing))


@pytest.mark.parametrize("suffix", checkpoints.SUFFIXES)
@pytest.mark.parametrize("written", [".safetensors", ".ckpt", "old"])
def test_a_file_is_what_its_content_says_and_bytes_behind_it_do_no_harm(
    written: str, suffix: str, tmp_path: Path, drawing: Tensors
) -> None:
    path = tmp_path / f"model{suffix}"
    if written == "old":
        torch.save({"state_dict": drawing}, path, _use_new_zipfile_serialization=False)
    else:
        write(tmp_path / f"other{written}", drawing).rename(path)
    if written != ".ckpt":
        with path.open("ab") as file:
            file.write(b"\0" * 999)
    assert checkpoints.examine(path) == Original("v2", 4)
    loaded = checkpoints.load(path, torch.float32)
    assert torch.equal(loaded.unet.conv_out.bias, drawing["model.diffusion_model.out.2.bias"])


LAYOUTS = {
    "diffusers": ("to_q", "to_k", "to_v", "to_out.0", "group_norm"),
    "early diffusers": ("query", "key", "value", "proj_attn", "group_norm"),
}
"""The names of the VAE's attention beside CompVis's."""


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_vae_s_attention_is_read_by_all_its_names(
    layout: str,
    flat: bool,
    tmp_path: Path,
    demo: Model,
    originals: Callable[[Any, str], Tensors],
) -> None:
    model = Small("v1", 9, demo.pipeline.tokenizer)
    tensors = originals(model, "v1")
    for name in [name for name in tensors if ".mid.attn_1." in name]:
        start, _, part = name.rpartition("attn_1.")
        ours, _, kind = part.partition(".")
        theirs = dict(zip(("q", "k", "v", "proj_out", "norm"), LAYOUTS[layout], strict=True))[ours]
        tensor = tensors.pop(name)
        tensors[f"{start}attn_1.{theirs}.{kind}"] = tensor.squeeze() if flat else tensor
    loaded = checkpoints.load(write(tmp_path / "a.safetensors", tensors), torch.float32)
    assert_equal(loaded, model)


def test_a_text_encoder_is_read_by_its_newest_names(
    tmp_path: Path, demo: Model, originals: Callable[[Any, str], Tensors]
) -> None:
    model = Small("v1", 9, demo.pipeline.tokenizer)
    tensors = {name.replace(".text_model", ""): t for name, t in originals(model, "v1").items()}
    assert_equal(checkpoints.load(write(tmp_path / "a.ckpt", tensors), torch.float32), model)


def test_views_of_one_storage_are_read(tmp_path: Path, drawing: Tensors) -> None:
    name = "model.diffusion_model.out.2.bias"
    drawing[name] = torch.arange(24.0).view(4, 6)[:, 3]
    for zipped in (True, False):
        torch.save(drawing, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
        table = weight_files.read_table(tmp_path / "a.ckpt")
        assert torch.equal(weight_files.load(tmp_path / "a.ckpt", table)[name], drawing[name])


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", weight_files.NUMBER_BYTES)
def test_every_type_of_number_is_read(dtype: str, zipped: bool, tmp_path: Path) -> None:
    tensor = torch.tensor([0, 1, 1, 0]).to(getattr(torch, dtype))
    if dtype.startswith("float8") and not zipped:
        pytest.skip("torch has no old format for these")
    for path in (tmp_path / "a.ckpt", tmp_path / "a.safetensors"):
        if path.suffix == ".ckpt":
            torch.save({"a": tensor}, path, _use_new_zipfile_serialization=zipped)
        else:
            save_file({"a": tensor}, path)
        loaded = weight_files.load(path, weight_files.read_table(path))["a"]
        assert loaded.dtype == tensor.dtype
        assert torch.equal(loaded.float(), tensor.float())


@pytest.mark.parametrize("suffix", checkpoints.SUFFIXES)
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(
    share: float, suffix: str, tmp_path: Path, drawing: Tensors
) -> None:
    path = write(tmp_path / f"cut{suffix}", drawing)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    for read in (checkpoints.examine, lambda path: checkpoints.load(path, torch.float32)):
        with pytest.raises(FileError, match=r"can't be read .*: download it again"):
            read(path)


@pytest.mark.parametrize("name", ["text.ckpt", "text.safetensors"])
def test_what_is_no_file_of_tensors_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(FileError, match="is a pointer of Git LFS .*: run `git lfs pull`"):
        checkpoints.examine(tmp_path / name)


def test_a_compressed_file_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain.ckpt", tmp_path / "packed.ckpt"
    torch.save({"state_dict": {"x": torch.zeros(10**6)}}, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(FileError, match="packed.ckpt is compressed, but checkpoints are not"):
        checkpoints.examine(packed)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"give a file with \.ckpt or \.safetensors"):
        checkpoints.examine(tmp_path / "model.pt")


class Hostile:
    """What runs a command when it is unpickled as pickles usually are."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_asks_to_run_something_is_refused_and_nothing_is_run(
    zipped: bool, tmp_path: Path, drawing: Tensors
) -> None:
    trace, path = tmp_path / "ran", tmp_path / "hostile.ckpt"
    content = {"callbacks": Hostile(f"touch {trace}"), "state_dict": drawing}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    for read in (checkpoints.examine, lambda path: checkpoints.load(path, torch.float32)):
        with pytest.raises(FileError, match=r"asks to run posix\.system.* it was not run"):
            read(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists(), "the file is not hostile: the test shows nothing"


def test_a_safetensors_file_is_examined_without_torch(tmp_path: Path, drawing: Tensors) -> None:
    path = write(tmp_path / "a.safetensors", drawing)
    program = f"""
import sys
from pathlib import Path
from stable_diffusion.checkpoints import examine
print(examine(Path({str(path)!r})).architecture, "torch" in sys.modules)
"""
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.split() == ["v2", "False"]


@pytest.mark.parametrize(
    ("architecture", "parameters", "width"),
    [
        ("v1", [859_520_964, 83_653_863, 123_060_480], 768),
        ("v2", [865_910_724, 83_653_863, 340_387_840], 1024),
        ("x4-upscaler", [473_398_020, 55_325_927, 340_387_840], 1024),
    ],
)
def test_the_shipped_configurations_are_the_full_models(
    architecture: str, parameters: list[int], width: int
) -> None:
    folder = checkpoints.ORIGINAL / architecture
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(
            UNet2DConditionModel.load_config(folder, subfolder="unet")
        )
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(folder, subfolder="vae"))
        config = CLIPTextConfig.from_pretrained(folder, subfolder="text_encoder")
        text_encoder = CLIPTextModel(config)
    models = (unet, vae, text_encoder)
    assert [sum(p.numel() for p in model.parameters()) for model in models] == parameters
    assert unet.config.cross_attention_dim == config.hidden_size == width
    assert unet.config.in_channels == (7 if architecture == "x4-upscaler" else 4)
    assert config.num_hidden_layers == (12 if architecture == "v1" else 23)


def test_the_shipped_tokenizer_is_clips() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(checkpoints.ORIGINAL / "tokenizer")
    ids = tokenizer("a photo of an astronaut riding a horse on mars!").input_ids
    assert ids == [49406, 320, 1125, 539, 550, 18376, 6765, 320, 4558, 525, 7496, 256, 49407]
    tokenizer.pad_token_id = 0
    padded = tokenizer("a!", padding="max_length").input_ids
    assert padded == [49406, 320, 256, 49407] + [0] * 73
