from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stable_diffusion import catalogue, models
from stable_diffusion.catalogue import SetupError, WeightsError
from stable_diffusion.models import Model
from stable_diffusion.prompts import Prompts
from tests.support.pictures import difference, same
from tests.support.studio import Studio


def test_on_a_cpu_the_model_computes_in_float32(demo: Model) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert (demo.dtype, demo.device.type) == (torch.float32, "cpu")


def test_a_model_in_the_hubs_layout_draws_the_same(tmp_path: Path, demo: Model) -> None:
    """Half-precision files by the hub's names, and a tokenizer of two text files."""
    folder = tmp_path / "hub"
    shutil.copytree(catalogue.WEIGHTS / "demo", folder)
    for file in folder.rglob("*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    tokenizer = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())["model"]
    (folder / "tokenizer" / "tokenizer.json").unlink()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(tokenizer["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["merges"]]
    (folder / "tokenizer" / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    index = json.loads((folder / "model_index.json").read_text())
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (folder / "model_index.json").write_text(json.dumps(index))

    from_hub = Studio(models.load(catalogue.find(str(folder))))
    ours = Studio(demo)
    assert same(from_hub.draw()[0], ours.draw()[0])
    assert difference(from_hub.draw()[0], from_hub.draw(prompt="a blue heart")[0])[1] > 5
    from_hub.close()
    ours.close()


@pytest.mark.parametrize("length", [None, 10**9, 1e30, 0, "x"])
def test_texts_have_the_text_encoders_length_whatever_the_tokenizer_says(
    length: object, tmp_path: Path, demo: Model
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(catalogue.WEIGHTS / "demo", folder)
    path = folder / "tokenizer" / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["model_max_length"]
    path.write_text(
        json.dumps(settings if length is None else settings | {"model_max_length": length})
    )
    prompts = Prompts(models.load(catalogue.find(str(folder))).pipeline)
    for text in ("a red apple", "a red apple " * 40):
        for use_compel in (False, True):
            expected = Prompts(demo.pipeline).encode(text, "blurry", use_compel)
            encoded = prompts.encode(text, "blurry", use_compel)
            assert torch.equal(encoded.positive, expected.positive)
            assert encoded.cut == expected.cut


@pytest.mark.parametrize(
    ("part", "weight"),
    [
        ("text_encoder", "encoder.layers.0.mlp.fc1.weight"),
        ("unet", "conv_in.weight"),
        ("vae", "decoder.conv_in.weight"),
    ],
)
def test_a_folder_that_lacks_weights_is_refused(part: str, weight: str, tmp_path: Path) -> None:
    folder = tmp_path / "lacking"
    shutil.copytree(catalogue.WEIGHTS / "demo", folder)
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    (name,) = [name for name in tensors if name.endswith(weight)]
    del tensors[name]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(WeightsError, match=rf"lacking/{part} lacks 1 of its weights \(.*{weight}"):
        models.load(catalogue.find(str(folder)))


@pytest.mark.parametrize("names", [("query", "key", "value", "proj_attn"), ()])
def test_a_folder_of_2022_draws_the_same(
    names: tuple[str, ...], tmp_path: Path, demo: Model
) -> None:
    folder = tmp_path / "old"
    shutil.copytree(catalogue.WEIGHTS / "demo", folder)
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    parts = dict(zip(("to_q", "to_k", "to_v", "to_out.0"), names, strict=False))
    for name in [name for name in tensors if "attentions.0.to_" in name]:
        start, _, part = name.rpartition("attentions.0.")
        part, _, kind = part.rpartition(".")
        tensors[f"{start}attentions.0.{parts.get(part, part)}.{kind}"] = tensors.pop(name)
    save_file(tensors, file, {"format": "pt"})
    loaded = models.load(catalogue.find(str(folder))).pipeline.vae.state_dict()
    for name, tensor in demo.pipeline.vae.state_dict().items():
        assert torch.equal(loaded[name], tensor)


def test_an_unknown_precision_is_refused_with_those_there_are(demo: Model) -> None:
    with pytest.raises(SetupError, match="'int4' is not known; give one of float32, float16"):
        models.load(demo.weights, "int4")


def test_what_was_left_out_of_the_start_is_there_when_asked_for() -> None:
    program = """
import gc, sys
from stable_diffusion import catalogue, models
models.load(catalogue.find("demo"))
assert gc.isenabled()
print([name for name in ("torch._dynamo", "scipy.stats") if name in sys.modules])
models.load(catalogue.find("demo"))
import scipy, torch
from diffusers import LMSDiscreteScheduler
scheduler = LMSDiscreteScheduler()
scheduler.set_timesteps(4)
assert scheduler.get_lms_coefficient(order=2, t=1, current_order=0) < 0
assert torch.distributed.is_available()
assert torch.nn.Embedding(100, 100).weight.std() > 0.5
print(scipy.stats.norm.cdf(0), torch.compile(len, backend="eager")("abc"))
"""
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert ended.stdout.splitlines() == ["[]", "0.5 3"]
