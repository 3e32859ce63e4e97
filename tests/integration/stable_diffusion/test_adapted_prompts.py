"""Prompts with LoRAs and textual inversions: what the library makes of the same files."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from stable_diffusion import lora_files, textual_inversion
from stable_diffusion.installed import Folder
from stable_diffusion.lora_files import Lora
from stable_diffusion.models import Model
from stable_diffusion.prompts import Prompts
from stable_diffusion.request import InputError
from stable_diffusion.textual_inversion import FIRST_PLACEHOLDER, Inversions
from tests.support import lora_files as files
from tests.support.lora_files import Layers

LONG = "a red fox in the snow, " * 30


def of_its_own(demo: Model) -> Any:
    """A pipeline that may be changed."""
    pipeline = copy.copy(demo.pipeline)
    for name in ("tokenizer", "text_encoder", "unet"):
        setattr(pipeline, name, copy.deepcopy(getattr(demo.pipeline, name)))
    return pipeline


def expected(pipeline: Any, text: str, use_compel: bool = False) -> torch.Tensor:
    """What the library, or compel with it, makes of a text."""
    if not use_compel:
        embeddings: torch.Tensor = pipeline.encode_prompt(text, "cpu", 1, False)[0]
        return embeddings
    from compel import Compel

    # compel's own DiffusersTextualInversionManager reads "</w>" as words with transformers 5:
    # the tokens of further vectors are written out for it instead.
    vectors = "<bad-style><bad-style>_1<bad-style>_2"
    compel = Compel(pipeline.tokenizer, pipeline.text_encoder, truncate_long_prompts=False)
    weighted: torch.Tensor = compel(text.replace("<bad-style>", vectors))
    return weighted


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=2e-6)


# LoRAs

IN_TEXT: dict[str, tuple[Callable[[Layers], files.Tensors], Callable[[str, str], bool]]] = {
    "kohya": (files.kohya, lambda part, _path: part == "text_encoder"),
    "diffusers, newer": (files.diffusers_newer, lambda part, _path: part == "text_encoder"),
    "diffusers, old": (
        files.diffusers_old,
        lambda part, path: part == "text_encoder" and files.in_attention(part, path),
    ),
    "diffusers": (files.diffusers, lambda part, _path: part == "text_encoder"),
}


@pytest.fixture(scope="module")
def loras(demo: Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("loras")
    return {
        name: files.write(
            folder / f"{name}.safetensors",
            write(files.layers_of(demo.pipeline, wanted, rank=2 + number, seed=number)),
        )
        for number, (name, (write, wanted)) in enumerate(IN_TEXT.items())
    }


@pytest.mark.parametrize("name", IN_TEXT)
def test_a_loras_text_is_encoded_as_by_the_library(
    name: str, demo: Model, loras: dict[str, Path]
) -> None:
    pipeline = of_its_own(demo)
    pipeline.load_lora_weights(loras[name].parent, weight_name=loras[name].name, adapter_name="a")
    lora = lora_files.load(loras[name], demo.pipeline)
    prompts = Prompts(demo.pipeline)
    plain = prompts.encode("a red fox", "blurry").positive
    for weight in (1.0, 0.3, -2.0):
        pipeline.set_adapters(["a"], [weight])
        for use_compel in (False, True):
            encoded = prompts.encode("a red fox", "blurry", use_compel, loras=[(lora, weight)])
            assert encoded.negative is not None
            assert close(encoded.positive, expected(pipeline, "a red fox", use_compel))
            assert close(encoded.negative, expected(pipeline, "blurry", use_compel))
            assert not torch.allclose(encoded.positive, plain, atol=0.01)


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute")
def test_several_loras_are_added_as_by_the_library(demo: Model, loras: dict[str, Path]) -> None:
    pipeline, together = of_its_own(demo), list[tuple[Lora, float]]()
    weights = [0.7, -0.5, 1.2]
    for path, weight in zip(list(loras.values())[:3], weights, strict=True):
        name = str(len(together))
        pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name=name)
        together.append((lora_files.load(path, demo.pipeline), weight))
    pipeline.set_adapters(["0", "1", "2"], weights)
    prompts = Prompts(demo.pipeline)
    for text in ("a red++ fox", "(a fox)0.4 in snow", LONG):
        encoded = prompts.encode(text, None, True, loras=together).positive
        assert close(encoded, expected(pipeline, text, True))


def test_with_layers_left_out_the_others_loras_still_count(
    demo: Model, loras: dict[str, Path]
) -> None:
    pipeline = of_its_own(demo)
    path = loras["kohya"]
    pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name="a")
    lora = lora_files.load(path, demo.pipeline)
    for clip_skip in (1, 2):
        text_encoder = pipeline.text_encoder
        ids = pipeline.tokenizer("a fox", padding="max_length", return_tensors="pt").input_ids
        hidden = text_encoder(ids, output_hidden_states=True).hidden_states[-(clip_skip + 1)]
        wanted = text_encoder.final_layer_norm(hidden)
        prompts = Prompts(demo.pipeline)
        for use_compel in (False, True):
            encoded = prompts.encode("a fox", None, use_compel, clip_skip, [(lora, 1.0)])
            assert torch.allclose(encoded.positive, wanted, atol=1e-5)


def test_prompts_of_different_loras_do_not_touch_each_other(
    demo: Model, loras: dict[str, Path]
) -> None:
    prompts = Prompts(demo.pipeline)
    read = [lora_files.load(path, demo.pipeline) for path in loras.values()]
    combinations: list[list[tuple[Lora, float]]] = [
        [],
        *([(lora, 1.0)] for lora in read),
        [(read[0], 0.5)],
        [(read[0], 0.0)],
        [(read[0], 0.5), (read[1], 1.0)],
    ]
    alone = [
        Prompts(demo.pipeline).encode("a++ fox", "", True, loras=combination)
        for combination in combinations
    ]
    for order in (range(len(combinations)), reversed(range(len(combinations)))):
        for index in order:
            encoded = prompts.encode("a++ fox", "", True, loras=combinations[index])
            assert torch.equal(encoded.positive, alone[index].positive)
    # A weight of nothing is no LoRA; all others differ.
    assert torch.equal(alone[0].positive, alone[-2].positive)
    assert len({float(one.positive.sum()) for one in alone}) == len(alone) - 1


def test_a_short_prompt_is_filled_up_with_what_the_lora_makes_of_nothing(
    demo: Model, loras: dict[str, Path]
) -> None:
    lora = lora_files.load(loras["kohya"], demo.pipeline)
    prompts = Prompts(demo.pipeline)
    empty = prompts.encode("", None, True, loras=[(lora, 1.0)]).positive
    encoded = prompts.encode(LONG, "blurry", True, loras=[(lora, 1.0)])
    assert encoded.negative is not None
    assert torch.allclose(encoded.negative[:, -77:], empty, atol=1e-6)


def test_an_encoding_with_a_lora_is_kept(
    demo: Model, loras: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, calls = Prompts(demo.pipeline), []
    encode = demo.pipeline.encode_prompt

    def counted(text: str, *arguments: Any) -> Any:
        calls.append(text)
        return encode(text, *arguments)

    monkeypatch.setattr(demo.pipeline, "encode_prompt", counted)
    for weight in (1.0, 0.5, 1.0):
        # Read again each time: its hash says that it is the same.
        lora = lora_files.load(loras["kohya"], demo.pipeline)
        prompts.encode("a cat", None, loras=[(lora, weight)])
    prompts.encode("a cat", None)
    assert calls == ["a cat"] * 3


def test_nothing_of_the_model_is_changed(demo: Model, loras: dict[str, Path]) -> None:
    def hooks() -> int:
        return sum(
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for module in demo.pipeline.text_encoder.modules()
        )

    prompts, before = Prompts(demo.pipeline), hooks()
    lora = lora_files.load(loras["kohya"], demo.pipeline)
    with pytest.raises(InputError):
        prompts.encode("(cat)" + "9" * 50, None, True, loras=[(lora, 1.0)])
    assert hooks() == before


def test_a_file_of_pefts_own_counts_as_merged(demo: Model, tmp_path: Path) -> None:
    layers = files.layers_of(demo.pipeline, lambda part, _path: part == "text_encoder")
    path = files.write(tmp_path / "a.safetensors", files.peft(layers))
    pipeline = of_its_own(demo)
    files.merged(pipeline, layers, 0.5)
    lora = lora_files.load(path, demo.pipeline)
    encoded = Prompts(demo.pipeline).encode("a red fox", None, loras=[(lora, 0.5)]).positive
    assert torch.allclose(encoded, expected(pipeline, "a red fox"), atol=2e-5)


def test_in_half_precision_a_lora_is_added_in_full(demo: Model, loras: dict[str, Path]) -> None:
    lora = lora_files.load(loras["kohya"], demo.pipeline)
    full = Prompts(demo.pipeline).encode("a fox", None, loras=[(lora, 1.0)]).positive
    pipeline = of_its_own(demo)
    pipeline.text_encoder.to(torch.bfloat16)
    half = Prompts(pipeline).encode("a fox", None, loras=[(lora, 1.0)]).positive
    assert half.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(half.float(), full, dim=-1).min() > 0.98


# Textual inversions


@pytest.fixture
def inversions(demo: Model, tmp_path: Path) -> Inversions:
    generator = torch.Generator().manual_seed(0)
    width = demo.pipeline.text_encoder.config.hidden_size
    for name, vectors in {"sks": 1, "bad-style": 3, "long": 60}.items():
        drawn = torch.randn(vectors, width, generator=generator) * 0.05
        safetensors.torch.save_file({f"<{name}>": drawn}, tmp_path / f"{name}.safetensors")
    folder = Folder(
        tmp_path, (".safetensors",), lambda path: textual_inversion.check(path, demo.pipeline)
    )
    return Inversions(folder, demo.pipeline)


@pytest.fixture
def taught(demo: Model, inversions: Inversions) -> Any:
    """The library's pipeline with all of them."""
    pipeline = of_its_own(demo)
    for name, one in inversions.folder.files().items():
        pipeline.load_textual_inversion(one.path.parent, weight_name=one.path.name)
        assert f"<{name}>" in pipeline.tokenizer.get_vocab()
    return pipeline


@pytest.mark.parametrize(
    "text",
    [
        "a red fox",
        "a <sks> fox",
        "<bad-style>",
        "a <bad-style>, in the snow",
        "<sks><bad-style> and <sks> again",
        "red <long> fox in <bad-style> snow <long>",
        "",
    ],
)
def test_embeddings_are_those_of_the_library(
    text: str, demo: Model, inversions: Inversions, taught: Any
) -> None:
    prompts = Prompts(demo.pipeline, inversions)
    encoded = prompts.encode("a fox", text)
    assert encoded.negative is not None
    assert torch.equal(encoded.negative, expected(taught, text))
    assert torch.equal(prompts.encode(text, None).positive, expected(taught, text))
    # The name of the file is its token too.
    bare = text.replace("<", " ").replace(">", " ")
    assert torch.equal(prompts.encode(bare, None).positive, expected(taught, text))


@pytest.mark.parametrize(
    "text",
    [
        "a <sks> fox",
        "a (sks)1.3 fox",
        "a bad-style++ fox",
        "(a bad-style fox)0.6 in snow",
        '("a sks fox", "a dog").blend(0.4, 0.6)',
        '("a sks fox", "bad-style").and()',
        "a fox, " * 40 + "bad-style",
    ],
)
def test_embeddings_with_weights_are_compels(
    text: str, demo: Model, inversions: Inversions, taught: Any
) -> None:
    for_library = text
    for name in ("sks", "bad-style"):
        for_library = for_library.replace(f"<{name}>", name).replace(name, f"<{name}>")
    encoded = Prompts(demo.pipeline, inversions).encode(text, None, True).positive
    assert close(encoded, expected(taught, for_library, True))


def test_embeddings_and_loras_and_layers_left_out_go_together(
    demo: Model, inversions: Inversions, taught: Any, loras: dict[str, Path]
) -> None:
    path = loras["kohya"]
    taught.load_lora_weights(path.parent, weight_name=path.name, adapter_name="a")
    combination = [(lora_files.load(path, demo.pipeline), 1.0)]
    prompts = Prompts(demo.pipeline, inversions)
    encoded = prompts.encode("a <sks> fox", "<bad-style>", loras=combination)
    assert encoded.negative is not None
    assert close(encoded.positive, expected(taught, "a <sks> fox"))
    assert close(encoded.negative, expected(taught, "<bad-style>"))
    taught.text_encoder.encoder.layers = taught.text_encoder.encoder.layers[:-1]
    for use_compel in (False, True):
        skipped = prompts.encode("a <sks> fox", None, use_compel, 1, combination)
        assert close(skipped.positive, expected(taught, "a <sks> fox", use_compel))


def test_vectors_take_places_and_what_has_none_is_told(demo: Model, inversions: Inversions) -> None:
    prompts = Prompts(demo.pipeline, inversions)
    assert prompts.encode("long " + "apple " * 15, None).cut == {}
    assert prompts.encode("LONG " + "apple " * 16 + "pie", None).cut == {"prompt": "apple pie"}
    # A token of which a part has a place is told whole.
    assert prompts.encode("<long>, <long>, sks", "").cut == {"prompt": "<long>, sks"}
    assert prompts.encode("longer " + "apple " * 60, None).cut == {}


def test_embeddings_come_change_and_go_while_texts_are_kept(
    demo: Model, inversions: Inversions
) -> None:
    prompts = Prompts(demo.pipeline, inversions)
    words = prompts.encode("a new fox", None).positive
    path = inversions.folder.path / "new.safetensors"
    seen = [words]
    width = demo.pipeline.text_encoder.config.hidden_size
    for number in range(2):
        safetensors.torch.save_file({"emb_params": torch.ones(2, width) * 0.1 * number}, path)
        seen.append(prompts.encode("a new fox", None).positive)
    path.unlink()
    assert torch.equal(prompts.encode("a new fox", None).positive, words)
    assert len({float(one.sum()) for one in seen}) == 3


def test_the_models_own_tokenizer_learns_nothing(demo: Model, inversions: Inversions) -> None:
    prompts = Prompts(demo.pipeline, inversions)
    text = f"a {chr(FIRST_PLACEHOLDER)} fox"
    before = Prompts(demo.pipeline).encode(text, None).positive
    count = len(demo.pipeline.tokenizer)
    for use_compel in (False, True):
        prompts.encode("a <bad-style> fox", "long", use_compel)
    assert len(demo.pipeline.tokenizer) == count
    assert torch.equal(prompts.encode(text, None).positive, before)
    assert torch.equal(Prompts(demo.pipeline).encode(text, None).positive, before)


def test_faults_name_the_token_and_not_what_stands_for_it(
    demo: Model, inversions: Inversions
) -> None:
    prompts = Prompts(demo.pipeline, inversions)
    with pytest.raises(InputError) as caught:
        prompts.encode('("a bad-style fox", "b").blend(x, y) <sks> tail', None, True)
    assert all(ord(letter) < FIRST_PLACEHOLDER for letter in str(caught.value))


def test_an_embedding_that_changed_meanwhile_is_a_fault(
    demo: Model, inversions: Inversions, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = Prompts(demo.pipeline, inversions)
    known = inversions.folder.files()
    monkeypatch.setattr(inversions.folder, "files", lambda: known)
    known["sks"].path.write_bytes(b"")
    with pytest.raises(InputError, match=r"^negative_prompt: an embedding can't be used: sks"):
        prompts.encode("a fox", "sks")
