"""Embeddings: the files that are read, what is refused, and how tokens are found in texts."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch

from stable_diffusion import textual_inversion
from stable_diffusion.installed import Folder, Installed
from stable_diffusion.json_files import FileError
from stable_diffusion.textual_inversion import (
    FIRST_PLACEHOLDER,
    Embedding,
    Finder,
    Found,
    Inversions,
)
from tests.support import hostile_weights
from tests.support.properties import given
from tests.support.properties import strategies as st

PIPELINE: Any = SimpleNamespace(text_encoder=SimpleNamespace(config=SimpleNamespace(hidden_size=8)))
VECTORS = torch.arange(24.0).reshape(3, 8)


def saved(content: Any, old: bool = False) -> Callable[[Path], Any]:
    return lambda path: torch.save(content, path, _use_new_zipfile_serialization=not old)


def kept(tensors: dict[str, torch.Tensor]) -> Callable[[Path], Any]:
    return lambda path: safetensors.torch.save_file(tensors, path)


def of_a1111(vectors: Any, **others: Any) -> dict[str, Any]:
    return {"string_to_token": {"*": 265}, "string_to_param": vectors} | others


PARAMETER = torch.nn.Parameter(VECTORS.clone())
SOUND: dict[str, tuple[str, Callable[[Path], Any], tuple[str, ...]]] = {
    "AUTOMATIC1111": ("a.safetensors", kept({"emb_params": VECTORS}), ("a",)),
    "AUTOMATIC1111's pickle": (
        "a.pt",
        saved(of_a1111({"*": VECTORS}, name="fox-style", step=100, sd_checkpoint=None)),
        ("a", "fox-style"),
    ),
    "one with parameters": ("a.pt", saved(of_a1111({"*": PARAMETER})), ("a",)),
    "the first": (
        "a.pt",
        saved(
            {
                "string_to_token": {"*": torch.tensor(265)},
                "string_to_param": torch.nn.ParameterDict({"*": PARAMETER}),
            }
        ),
        ("a",),
    ),
    "an old file": ("a.pt", saved(of_a1111({"*": VECTORS}, name="a"), old=True), ("a",)),
    "diffusers": ("learned_embeds.bin", saved({"<fox>": VECTORS}), ("learned_embeds", "<fox>")),
    "diffusers' safetensors": ("a.safetensors", kept({"<fox>": VECTORS}), ("a", "<fox>")),
    "in another precision": ("a.bin", saved({"<fox>": VECTORS.half()}), ("a", "<fox>")),
    "turned": ("a.bin", saved({"<fox>": VECTORS.T.contiguous().T}), ("a", "<fox>")),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_each_program_writes_is_read(name: str, tmp_path: Path) -> None:
    file, write, tokens = SOUND[name]
    write(tmp_path / file)
    assert textual_inversion.check(tmp_path / file, PIPELINE) == tokens
    embedding = textual_inversion.load(tmp_path / file, PIPELINE)
    assert embedding.tokens == tokens
    assert embedding.vectors.dtype == torch.float32
    assert torch.equal(embedding.vectors, VECTORS)


def test_one_vector_is_one_vector(tmp_path: Path) -> None:
    saved({"<fox>": VECTORS[1]})(tmp_path / "a.bin")
    assert torch.equal(textual_inversion.load(tmp_path / "a.bin", PIPELINE).vectors, VECTORS[1:2])


@pytest.mark.parametrize(
    "token", ["a", ",", "of", "x" * 101, "a\nbc", " fox ", "---", "\x1b[31m", "fo\ud800x"]
)
def test_a_token_that_would_be_found_everywhere_is_not_the_files(
    token: str, tmp_path: Path
) -> None:
    saved(of_a1111({"*": VECTORS}, name=token))(tmp_path / "a.pt")
    assert textual_inversion.check(tmp_path / "a.pt", PIPELINE) == ("a",)


def wide(width: int) -> Callable[[Path], Any]:
    return kept({"emb_params": torch.ones(2, width)})


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "SD 1": (wide(768), "another base model: Stable Diffusion 1, .* 768 features, .* have 8"),
    "SD 2": (wide(1024), "another base model: Stable Diffusion 2, "),
    "none known": (wide(9), "another base model: something else"),
    "SDXL": (
        kept({"clip_l": torch.ones(2, 8), "clip_g": torch.ones(2, 8)}),
        "another base model: it has clip_g and clip_l, .* Stable Diffusion XL",
    ),
    "nothing": (kept({}), "has no embedding"),
    "two": (kept({"a": VECTORS, "b": VECTORS + 1}), "has 2 tensors"),
    "whole numbers": (kept({"emb_params": VECTORS.int()}), "numbers of type int32"),
    "no vector": (kept({"emb_params": torch.ones(())}), "a tensor of 0 dimensions"),
    "a cube": (kept({"emb_params": torch.ones(1, 1, 8)}), "a tensor of 3 dimensions"),
    "none at all": (kept({"emb_params": torch.ones(0, 8)}), "has 0 vectors"),
    "too many": (kept({"emb_params": torch.ones(76, 8)}), "has 76 vectors; .* 1 to 75"),
    "a large file": (
        hostile_weights.sparse(kept({"emb_params": VECTORS}), 2**25),
        "an embedding has at most 16777216",
    ),
    "a program": (
        hostile_weights.in_zip(hostile_weights.calling("posix system", b"X\4\0\0\0true")),
        "asks to run posix.system",
    ),
    "a program instead of parameters": (
        hostile_weights.in_zip(
            b"\x80\x02}X\x0f\0\0\0string_to_paramcos\nsystem\nX\1\0\0\0x\x85Rs."
        ),
        "asks to run os.system",
    ),
    **{
        name: (write, f"{told}|at most 16777216")
        for name, (write, told) in hostile_weights.FORMATS.items()
    },
    **{name: (write, ".") for name, write in hostile_weights.NO_FILE.items()},
    **{
        f"{name}, in a zip": (hostile_weights.in_zip(table), ".")
        for name, (table, _) in hostile_weights.PICKLES.items()
    },
}
del REFUSED["header without tensors"], REFUSED["more weights than there are"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_embedding_for_this_model_is_refused(name: str, tmp_path: Path) -> None:
    # Its content says what a file is: the suffix doesn't matter.
    write, told = REFUSED[name]
    write(tmp_path / "a.pt")
    with pytest.raises(FileError, match=told):
        textual_inversion.check(tmp_path / "a.pt", PIPELINE)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_refused_when_they_are_read(value: float, tmp_path: Path) -> None:
    vectors = VECTORS.clone()
    vectors[2, 7] = value
    kept({"emb_params": vectors})(tmp_path / "a.safetensors")
    assert textual_inversion.check(tmp_path / "a.safetensors", PIPELINE) == ("a",)
    with pytest.raises(FileError, match="infinite or none"):
        textual_inversion.load(tmp_path / "a.safetensors", PIPELINE)


def test_a_state_that_is_no_modules_is_nothing(tmp_path: Path) -> None:
    # A ParameterDict without arguments, built from a number.
    table = b"\x80\x02ctorch.nn.modules.container\nParameterDict\n)\x81K\1b."
    hostile_weights.in_zip(table)(tmp_path / "a.pt")
    with pytest.raises(FileError, match="has no embedding"):
        textual_inversion.check(tmp_path / "a.pt", PIPELINE)


def test_torch_writes_what_the_reader_of_parameters_knows() -> None:
    content = io.BytesIO()
    torch.save(torch.nn.ParameterDict({"*": PARAMETER}), content)
    with zipfile.ZipFile(content) as archive:
        assert b"_parameters" in archive.read("archive/data.pkl")


# Tokens in texts


def finder(**vectors: int) -> Finder:
    """Finds embeddings by name: of so many vectors each, and "<NAME>" as the files' own tokens."""
    installed = [
        Installed(name, Path(name), name, tokens=(name, f"<{name}>")) for name in sorted(vectors)
    ]
    return Finder(
        installed,
        lambda one: Embedding(one.tokens, one.hash, torch.ones(vectors[one.name], 8)),
    )


def shown(found: Found) -> str:
    """The text with digits for the placeholders."""
    return "".join(
        str(ord(one) - FIRST_PLACEHOLDER) if ord(one) >= FIRST_PLACEHOLDER else one
        for one in found.text
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a fox", "a 01"),
        ("a FOX, Fox.", "a 01, 01."),
        ("foxes outfox fox_2 éfox", "foxes outfox fox_2 éfox"),
        ("a <fox>", "a 01"),
        ("a<fox>b", "a01b"),
        ("fox+ (fox)1.2 fox-like", "01+ (01)1.2 01-like"),
        ("foxtrot fox", "0 12"),
        ("fox foxtrot fox", "01 2 01"),
        ("(big.fox)", "(big.01)"),
        ("", ""),
    ],
)
def test_tokens_are_found_as_whole_words(text: str, expected: str) -> None:
    assert shown(finder(fox=2, foxtrot=1).find(text)) == expected


def test_the_longest_token_is_found() -> None:
    installed = [
        Installed(name, Path(name), name, tokens=(name,))
        for name in ("bad", "bad-hands", "bad-hands-5", "a.b")
    ]
    find = Finder(installed, lambda one: Embedding(one.tokens, one.hash, torch.ones(1, 8))).find
    assert find("bad-hands-5, bad").hashes == ("bad-hands-5", "bad")
    assert find("a.b axb").hashes == ("a.b",)
    assert shown(find("a.b axb")) == "0 axb"


def test_a_files_name_comes_before_what_another_calls_itself() -> None:
    installed = [
        Installed("a", Path("a"), "1", tokens=("a", "fox")),
        Installed("fox", Path("fox"), "2", tokens=("fox",)),
        Installed("z", Path("z"), "3", tokens=("z", "A")),
    ]
    find = Finder(installed, lambda one: Embedding(one.tokens, one.hash, torch.ones(1, 8))).find
    assert find("fox a z").hashes == ("2", "1", "3")


def test_characters_of_a_text_do_not_stand_for_vectors() -> None:
    text = f"{chr(FIRST_PLACEHOLDER)} fox {chr(FIRST_PLACEHOLDER + 1)}"
    assert shown(finder(fox=2).find(text)) == "\ufffd 01 \ufffd"
    assert finder(fox=2).find(chr(FIRST_PLACEHOLDER)).text == chr(FIRST_PLACEHOLDER)


@given(st.lists(st.sampled_from(["a ", "fox", "foxtrot", " ", ", ", "<fox>"]), max_size=12))
def test_the_rest_of_a_text_is_what_was_given(words: list[str]) -> None:
    text = "".join(words)
    found = finder(fox=3, foxtrot=2).find(text)
    rests = [found.rest(place) for place in range(len(found.text) + 1)]
    assert rests[0] == text
    assert rests[-1] == ""
    assert all(text.endswith(rest) for rest in rests)
    assert sorted(map(len, rests), reverse=True) == list(map(len, rests))
    # In sentences, the first name that a text has for an embedding stands for it.
    assert found.restored(found.text).replace("<fox>", "fox") == text.replace("<fox>", "fox")


def test_embeddings_come_and_go(tmp_path: Path) -> None:
    folder = Folder(
        tmp_path, (".safetensors",), lambda path: textual_inversion.check(path, PIPELINE)
    )
    inversions = Inversions(folder, PIPELINE)
    assert inversions.finder().find("a fox").embeddings == ()
    path = tmp_path / "fox.safetensors"
    for number in range(2):
        kept({"emb_params": VECTORS + number})(path)
        (embedding,) = inversions.finder().find("a fox").embeddings
        assert torch.equal(embedding.vectors, VECTORS + number)
    kept({"emb_params": torch.ones(2, 768)})(path)
    assert inversions.finder().find("a fox").embeddings == ()
    path.unlink()
    assert inversions.finder().find("a fox").embeddings == ()


def test_a_file_that_changes_after_it_was_seen_is_refused(tmp_path: Path) -> None:
    folder = Folder(
        tmp_path, (".safetensors",), lambda path: textual_inversion.check(path, PIPELINE)
    )
    kept({"emb_params": VECTORS})(tmp_path / "fox.safetensors")
    find = Inversions(folder, PIPELINE).finder().find
    kept({"emb_params": VECTORS + 1})(tmp_path / "fox.safetensors")
    with pytest.raises(FileError, match="another file than it was"):
        find("a fox")


def test_no_more_tokens_are_looked_for_than_have_a_place() -> None:
    found = finder(fox=50).find("fox " * 25_000, most=77)
    assert len(found.spans) == 2
    assert found.text.endswith(" fox fox ")
