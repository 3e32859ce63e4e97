from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from train_demo.progress import TrainingError
from train_lora.examples import Example, in_folder


def put(folder: Path, name: str, caption: str | bytes | None, colour: str = "red") -> None:
    Image.new("RGB", (8, 8), colour).save(folder / name)
    if isinstance(caption, str):
        caption = caption.encode()
    if caption is not None:
        (folder / name).with_suffix(".txt").write_bytes(caption)


def test_each_picture_has_the_caption_beside_it_in_the_order_of_names(tmp_path: Path) -> None:
    put(tmp_path, "b.png", "a dog\n")
    put(tmp_path, "a.JPG", "  a \n cat ")
    (tmp_path / "notes.md").write_text("not a picture")
    (tmp_path / "c.txt").write_text("of nothing")
    assert in_folder(tmp_path) == [
        Example(tmp_path / "a.JPG", "a cat"),
        Example(tmp_path / "b.png", "a dog"),
    ]


def test_the_trigger_stands_in_every_caption_once(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "a cat")
    put(tmp_path, "b.png", "a dog, Blueprint")
    captions = [example.caption for example in in_folder(tmp_path, "blueprint")]
    assert captions == ["blueprint, a cat", "a dog, Blueprint"]


def test_a_picture_is_read_as_the_input_image_is(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    picture = Example(tmp_path / "clear.png", "nothing").read()
    assert (picture.mode, picture.getcolors()) == ("RGB", [(64, (255, 255, 255))])


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no folder .*nowhere"):
        in_folder(tmp_path / "nowhere")


def test_a_folder_without_pictures_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a cat")
    with pytest.raises(TrainingError, match=r"no pictures in .*: put NAME.png there"):
        in_folder(tmp_path)


def test_pictures_without_captions_are_named(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "a cat")
    for name in "bcdef":
        put(tmp_path, f"{name}.png", None)
    with pytest.raises(TrainingError, match=r"5 of the 6 .* \(b.png, c.png, d.png …\).* b.txt"):
        in_folder(tmp_path)


@pytest.mark.parametrize(
    ("caption", "told"),
    [(" \n", "is empty"), (b"\xff\xfe", "UTF-8"), ("cat " * 5000, "too long for a caption")],
)
def test_a_caption_that_is_none_is_told(caption: str | bytes, told: str, tmp_path: Path) -> None:
    put(tmp_path, "a.png", caption)
    with pytest.raises(TrainingError, match=rf"a\.txt .*{told}"):
        in_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<svg/>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff" * 9])
def test_a_picture_that_cannot_be_read_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(TrainingError, match=r"a\.png"):
        Example(tmp_path / "a.png", "a cat").read()


def test_a_pipe_in_place_of_a_picture_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(TrainingError, match="not a regular file"):
        Example(tmp_path / "a.png", "a cat").read()
