"""Files of LoRAs: the formats that are read, and what is refused, in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stable_diffusion import lora_files, weight_files
from stable_diffusion.json_files import FileError
from tests.support import hostile_weights
from tests.support import lora_files as files
from tests.support.lora_files import Layers, Tensors

QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
KEY = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
TEXT = "encoder.layers.0.self_attn.q_proj"
FLAT = "lora_unet_" + QUERY.replace(".", "_")


@pytest.fixture(scope="module")
def pipeline() -> Any:
    """The shapes of a small Stable Diffusion 1, whose text has 768 features."""
    return small(768)


def small(width: int, linear: bool = False) -> Any:
    import diffusers
    import transformers

    torch.manual_seed(0)

    class Pipeline:
        unet = diffusers.UNet2DConditionModel(
            block_out_channels=(32, 64),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=2,
            attention_head_dim=8,
            norm_num_groups=8,
            cross_attention_dim=width,
            use_linear_projection=linear,
        )
        text_encoder = transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                vocab_size=100,
                hidden_size=width,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
            )
        )

    return Pipeline()


def refusal(path: Path, pipeline: Any) -> str:
    with pytest.raises(FileError) as caught:
        lora_files.check(path, pipeline)
    return str(caught.value)


def same(lora: lora_files.Lora, layers: Layers, scale: float) -> None:
    """Checks that a LoRA is these layers, and all of them."""
    read = {
        **{("unet", path): layer for path, layer in lora.unet.items()},
        **{("text_encoder", path): layer for path, layer in lora.text_encoder.items()},
    }
    assert read.keys() == layers.keys()
    for name, (down, up) in layers.items():
        assert read[name].up.ndim == 2
        assert torch.equal(read[name].down.flatten(1), down.flatten(1))
        assert torch.equal(read[name].up, up.flatten(1))
        assert read[name].scale == pytest.approx(scale)


FORMATS: dict[str, tuple[Callable[[Layers], Tensors], Callable[[str, str], bool], float]] = {
    "kohya": (files.kohya, files.every, 0.5),
    "kohya without alpha": (lambda layers: files.kohya(layers, None), files.every, 1),
    "kohya's te1": (
        lambda layers: files.kohya(layers, name=lambda name: name.replace("_te_", "_te1_")),
        files.in_attention,
        0.5,
    ),
    "diffusers": (files.diffusers, files.every, 1),
    "diffusers, newer": (files.diffusers_newer, files.every, 1),
    "diffusers, old": (files.diffusers_old, files.in_attention, 1),
    "PEFT": (files.peft, files.every, 1),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("linear", [False, True])
def test_what_each_program_writes_is_read(name: str, linear: bool, tmp_path: Path) -> None:
    write, wanted, scale = FORMATS[name]
    pipeline = small(768 if not linear else 1024, linear)
    layers = files.layers_of(pipeline, wanted)
    path = files.write(tmp_path / "a.safetensors", write(layers))
    assert lora_files.check(path, pipeline) is None
    same(lora_files.load(path, pipeline), layers, scale)


def test_a_points_convolution_and_a_linear_layer_are_the_same(tmp_path: Path) -> None:
    name = "down_blocks.0.attentions.0.proj_in"
    down, up = torch.randn(4, 32), torch.randn(32, 4)
    point = (..., None, None)
    for linear in (False, True):
        for pair in ((down, up), (down[point], up[point])):
            pipeline = small(768, linear)
            path = files.write(tmp_path / "a.safetensors", files.diffusers({("unet", name): pair}))
            layer = lora_files.load(path, pipeline).unet[name]
            assert layer.down.shape == ((4, 32) if linear else (4, 32, 1, 1))
            assert layer.up.shape == (32, 4)


ORIGINAL = {
    "conv_in": "input_blocks_0_0",
    "conv_out": "out_2",
    "time_embedding.linear_1": "time_embed_0",
    "down_blocks.0.resnets.1.conv1": "input_blocks_2_0_in_layers_2",
    "down_blocks.0.attentions.1.proj_in": "input_blocks_2_1_proj_in",
    "down_blocks.0.downsamplers.0.conv": "input_blocks_3_0_op",
    "down_blocks.1.resnets.0.conv_shortcut": "input_blocks_4_0_skip_connection",
    "mid_block.resnets.1.time_emb_proj": "middle_block_2_emb_layers_1",
    "mid_block.attentions.0.proj_out": "middle_block_1_proj_out",
    "up_blocks.0.resnets.2.conv2": "output_blocks_2_0_out_layers_3",
    "up_blocks.0.upsamplers.0.conv": "output_blocks_2_1_conv",
    "up_blocks.1.attentions.0.proj_in": "output_blocks_3_1_proj_in",
    "up_blocks.1.resnets.2.conv1": "output_blocks_5_0_in_layers_2",
}


def test_the_names_of_original_checkpoints_are_read(pipeline: Any, tmp_path: Path) -> None:
    layers = files.layers_of(pipeline, lambda part, path: part == "unet" and path in ORIGINAL)
    names = {
        "lora_unet_" + path.replace(".", "_"): "lora_unet_" + name
        for path, name in ORIGINAL.items()
    }
    tensors = files.kohya(layers, name=names.__getitem__)
    path = files.write(tmp_path / "a.safetensors", tensors)
    same(lora_files.load(path, pipeline), layers, 0.5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_precision_is_the_files_own(pipeline: Any, tmp_path: Path, dtype: torch.dtype) -> None:
    layers = {("unet", QUERY): (torch.ones(2, 32, dtype=dtype), torch.ones(32, 2, dtype=dtype))}
    lora = lora_files.load(files.write(tmp_path / "a.safetensors", files.kohya(layers)), pipeline)
    assert lora.unet[QUERY].down.dtype == (torch.float32 if dtype == torch.float64 else dtype)
    assert not lora.text_encoder


# Alpha, as PEFT has it


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({"unet.lora_alpha": 8, "unet.r": 4}, 2),
        ({"lora_alpha": 8}, 2),
        ({"unet.lora_alpha": 8, "unet.use_rslora": True}, 4),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_q": 1}}, 0.25),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"^" + QUERY: 1}}, 0.25),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_k": 1}}, 2),
        ({"text_encoder.lora_alpha": 8}, 1),
        ({}, 1),
    ],
)
def test_alpha_of_peft_is_in_the_metadata(
    pipeline: Any, tmp_path: Path, settings: dict[str, Any], scale: float
) -> None:
    layers = files.layers_of(pipeline, lambda _part, path: path == QUERY)
    within = files.write(
        tmp_path / "a.safetensors", files.diffusers(layers), lora_adapter_metadata=settings
    )
    same(lora_files.load(within, pipeline), layers, scale)
    # What lies beside a file is not its own.
    beside = files.write(tmp_path / "b.safetensors", files.peft(layers))
    (tmp_path / "b.json").write_text(json.dumps(settings))
    same(lora_files.load(beside, pipeline), layers, 1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ('{"unet.lora_alpha": NaN}', "broken metadata"),
        ("[" * 100_000, "broken metadata"),
        ({"unet.lora_alpha": "8"}, "not a number"),
        ({"lora_alpha": 10**400}, "not a number"),
        ({"unet.lora_alpha": None}, "not a number"),
        ({"unet.alpha_pattern": [1]}, "not an object"),
        ({"unet.alpha_pattern": {"(a+)+$": 1}}, r"'\(a\+\)\+\$'.*not a layer's name"),
        ({"unet.alpha_pattern": {"to_q": True}}, "not a number"),
        ({"use_dora": True}, "DoRA"),
    ],
)
def test_broken_settings_of_peft_are_refused(
    pipeline: Any, tmp_path: Path, settings: Any, told: str
) -> None:
    layers = files.layers_of(pipeline, lambda _part, path: path == QUERY)
    path = files.write(
        tmp_path / "a.safetensors", files.diffusers(layers), lora_adapter_metadata=settings
    )
    with pytest.raises(FileError, match=told):
        lora_files.check(path, pipeline)


# What is refused


def one(down: tuple[int, ...] = (4, 32), up: tuple[int, ...] = (32, 4)) -> Tensors:
    return {f"{FLAT}.lora_down.weight": torch.ones(down), f"{FLAT}.lora_up.weight": torch.ones(up)}


def named(*names: str) -> Tensors:
    return one() | {name: torch.ones(1) for name in names}


REFUSED: dict[str, tuple[Tensors, str]] = {
    "nothing": ({}, "no tensors at all"),
    "another file": ({"weight": torch.ones(1)}, "'weight', which is no part of a LoRA"),
    "a DoRA": (named(f"{FLAT}.dora_scale"), "is a DoRA"),
    "PEFT's DoRA": (named(f"unet.{QUERY}.lora_magnitude_vector"), "is a DoRA"),
    "a LoHa": ({f"{FLAT}.hada_w1_a": torch.ones(1)}, "is a LoHa"),
    "a LoKr": ({f"{FLAT}.lokr_w1": torch.ones(1)}, "is a LoKr"),
    "CP": (named(f"{FLAT}.lora_mid.weight"), "CP decomposition"),
    "(IA)³": ({f"{FLAT}.on_input": torch.ones(1)}, r"is \(IA\)³"),
    "a GLoRA": ({f"{FLAT}.a1.weight": torch.ones(1)}, "is a GLoRA"),
    "an OFT": ({f"{FLAT}.oft_blocks": torch.ones(1)}, "is an OFT"),
    "full": ({f"{FLAT}.diff": torch.ones(1)}, "full differences"),
    "a bias of full": (named(f"{FLAT}.diff_b"), "full differences"),
    "norms": (named("lora_unet_conv_norm_out.w_norm"), "norms"),
    "a bias": (named(f"{FLAT}.lora_up.bias"), "with biases"),
    "PEFT's bias": (named(f"unet.{QUERY}.lora_B.bias"), "with biases"),
    "token embeddings": (named("text_encoder.embeddings.lora_embedding_A"), "token embeddings"),
    "embeddings": (named("bundle_emb.x.string_to_param.*"), "with embeddings in it"),
    "SDXL, by its text encoder": (named("lora_te2_text_model_x.alpha"), "Stable Diffusion XL"),
    "SDXL of diffusers": (named("text_encoder_2.x.lora_A.weight"), "Stable Diffusion XL"),
    "SDXL, by its width": (
        files.diffusers({("unet", KEY): (torch.ones(4, 2048), torch.ones(32, 4))}),
        "Stable Diffusion XL, .* reads 2048 features .*, where that of this model "
        r"\(Stable Diffusion 1\) reads 768",
    ),
    "SD 2": (
        files.diffusers({("unet", KEY): (torch.ones(4, 1024), torch.ones(32, 4))}),
        "is for another base model: Stable Diffusion 2, ",
    ),
    "SD 2, old names": (
        files.diffusers_old({("unet", KEY): (torch.ones(4, 1024), torch.ones(32, 4))}),
        "is for another base model: Stable Diffusion 2, ",
    ),
    "Flux": (named("transformer.single_transformer_blocks.0.x.lora_A.weight"), "for Flux"),
    "kohya's Flux": (named("lora_unet_double_blocks_0_img_attn_qkv.alpha"), "for Flux"),
    "SD 3": (named("transformer.transformer_blocks.0.lora_A.weight"), "another transformer"),
    "a layer that is not there": (
        files.kohya({("unet", "down_blocks.7.x"): (torch.ones(4, 32), torch.ones(32, 4))}),
        "down_blocks_7_x', and this model .* has no such layer",
    ),
    "only a down": (files.without(one(), [".lora_up.weight"]), "lacks the up part"),
    "only an up": (files.without(one(), [".lora_down.weight"]), "lacks the down part"),
    "only an alpha": ({f"{FLAT}.alpha": torch.ones(())}, "lacks the down part"),
    "an alpha of two": (one() | {f"{FLAT}.alpha": torch.ones(2)}, "not one number"),
    "whole numbers": (
        {name: tensor.int() for name, tensor in one().items()},
        "type int32",
    ),
    "twice": (
        one() | files.diffusers({("unet", QUERY): (torch.ones(4, 32), torch.ones(32, 4))}),
        "twice, under different names",
    ),
    "twice in one name": (
        one() | {f"{FLAT}.lora_A.weight": torch.ones(4, 32)},
        "twice",
    ),
    "ranks that differ": (one((4, 32), (32, 8)), "up part of 32×8 where this model takes 32×4"),
    "rank of nothing": (one((0, 32), (32, 0)), "the rank 0"),
    "no dimensions": (one((), ()), "the rank 0"),
    "a rank beyond all": (one((513, 32), (32, 513)), "the rank 513"),
    "a rank beyond the layer's sides": (one((33, 32), (32, 33)), "the rank 33"),
    "another width": (one((4, 64)), "down part of 4×64 where this model takes 4×32"),
    "turned round": (one((32, 4), (4, 32)), "lies about its shapes"),
    "a convolution on a linear layer": (one((4, 32, 3, 3)), "4×32×3×3"),
    "five dimensions": (one((4, 32, 1, 1, 1)), "4×32×1×1×1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_lora_for_this_model_is_refused_in_words(
    name: str, pipeline: Any, tmp_path: Path
) -> None:
    tensors, told = REFUSED[name]
    path = files.write(tmp_path / "a.safetensors", tensors)
    for read in (lora_files.check, lora_files.load):
        with pytest.raises(FileError, match=told):
            read(path, pipeline)


BROKEN = {
    name: write for name, (write, _) in hostile_weights.FORMATS.items()
} | hostile_weights.NO_FILE


@pytest.mark.parametrize("name", BROKEN)
def test_a_hostile_file_is_refused(name: str, pipeline: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    BROKEN[name](path)
    assert refusal(path, pipeline)


def test_tensors_that_share_their_numbers_are_no_more_than_the_file(
    pipeline: Any, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    one_entry = {"dtype": "F32", "shape": [32, 32], "data_offsets": [0, 4096]}
    header = {f"{FLAT}_{number}.lora_down.weight": one_entry for number in range(9)}
    hostile_weights.safetensors(header, bytes(4096))(path)
    assert "claims more numbers than it has" in refusal(path, pipeline)


def test_a_file_of_too_many_tensors_or_bytes_is_refused(
    pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.write(tmp_path / "a.safetensors", one())
    monkeypatch.setattr(lora_files, "MOST_TENSORS", 1)
    assert "has 2 tensors" in refusal(path, pipeline)
    monkeypatch.setattr(lora_files, "MOST_TENSORS", 2)
    monkeypatch.setattr(lora_files, "MOST_BYTES", 1000)
    assert "a LoRA has at most 1000" in refusal(path, pipeline)


def test_names_in_messages_are_cut(pipeline: Any, tmp_path: Path) -> None:
    path = files.write(tmp_path / "a.safetensors", named("x\n" * 10_000))
    assert len(refusal(path, pipeline)) < 400
    assert "\n" not in refusal(path, pipeline)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused_when_they_are_read(
    pipeline: Any, tmp_path: Path, value: float
) -> None:
    for place in range(3):
        tensors = one() | {f"{FLAT}.alpha": torch.tensor(1.0)}
        list(tensors.values())[place].view(-1)[0] = value
        path = files.write(tmp_path / "a.safetensors", tensors)
        assert lora_files.check(path, pipeline) is None
        with pytest.raises(FileError, match="infinite or none"):
            lora_files.load(path, pipeline)


def test_an_absurd_alpha_is_refused(pipeline: Any, tmp_path: Path) -> None:
    tensors = one() | {f"{FLAT}.alpha": torch.tensor(1e30)}
    with pytest.raises(FileError, match="which no LoRA needs"):
        lora_files.load(files.write(tmp_path / "a.safetensors", tensors), pipeline)


def test_a_file_that_is_another_one_now_is_refused(pipeline: Any, tmp_path: Path) -> None:
    path = files.write(tmp_path / "a.safetensors", one())
    digest = lora_files.load(path, pipeline).hash
    assert lora_files.load(path, pipeline, digest[:12]).hash == digest
    files.write(path, one() | {f"{FLAT}.alpha": torch.tensor(1.0)})
    with pytest.raises(FileError, match=f"and not with {digest[:12]}"):
        lora_files.load(path, pipeline, digest)


def test_the_last_layer_of_openclip_is_passed_over(tmp_path: Path) -> None:
    import transformers

    pipeline = small(1024)
    pipeline.text_encoder = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=10,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=23,
            num_attention_heads=1,
        )
    )
    pair = torch.ones(2, 8), torch.ones(8, 2)
    for number, fits in ((22, True), (23, False)):
        layer = ("text_encoder", f"encoder.layers.{number}.self_attn.q_proj")
        known = {("unet", QUERY): (torch.ones(4, 32), torch.ones(32, 4))}
        path = files.write(tmp_path / "a.safetensors", files.kohya(known | {layer: pair}))
        assert bool(lora_files.load(path, pipeline).text_encoder) is fits
    path = files.write(
        tmp_path / "a.safetensors",
        files.kohya({("text_encoder", "encoder.layers.24.mlp.fc1"): pair}),
    )
    assert "has no such layer" in refusal(path, pipeline)


# The trigger word


def tags(counts: dict[str, int], pictures: int = 8) -> dict[str, Any]:
    return {
        "ss_tag_frequency": {"10_fox": counts},
        "ss_dataset_dirs": {"10_fox": {"n_repeats": 10, "img_count": pictures}},
    }


@pytest.mark.parametrize(
    ("metadata", "trigger"),
    [
        ({}, None),
        ({"trigger": " sks fox "}, "sks fox"),
        ({"modelspec.trigger_phrase": "a", "trigger": "b"}, "a"),
        ({"modelspec.trigger_phrase": "", "trigger": "b"}, "b"),
        ({"trigger": "x" * 100}, "x" * 100),
        ({"trigger": "x" * 101}, None),
        ({"trigger": "a\nb"}, None),
        ({"trigger": "a\x1b[31m"}, None),
        (tags({"sks": 8, "fox": 7}), "sks"),
        (tags({"sks": 7, "fox": 7}), None),
        (tags({}), None),
        (tags({"sks": 8}, 0), None),
        ({"ss_tag_frequency": {"10_fox": {"sks": 8}}}, None),
        ({"ss_tag_frequency": "[" * 100_000, "ss_dataset_dirs": "{"}, None),
        ({"ss_tag_frequency": {"a": [1]}, "ss_dataset_dirs": {"a": 1}}, None),
    ],
)
def test_the_trigger_word_is_what_the_file_says(
    pipeline: Any, tmp_path: Path, metadata: dict[str, Any], trigger: str | None
) -> None:
    path = files.write(tmp_path / "a.safetensors", one(), **metadata)
    assert lora_files.check(path, pipeline) == trigger


def test_metadata_of_no_known_form_is_no_text(tmp_path: Path) -> None:
    for metadata in (5, [1], {"trigger": 5}, None):
        path = tmp_path / "a.safetensors"
        hostile_weights.safetensors({"__metadata__": metadata})(path)
        assert weight_files.read_texts(path) == {}
