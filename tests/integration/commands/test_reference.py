"""The reference scripts' commands, and `scripts/inspect`: what they leave, and what they say."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from commands import inspect, reference
from stable_diffusion import images, models
from stable_diffusion.request import SEEDS
from tests.support.pictures import EXAMPLES, difference, opened

Run = Callable[..., int]
QUICK = ("--ckpt", "demo", "--ddim_steps", "2", "--H", "64", "--W", "128")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(main: Callable[[], int], *arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["command", *arguments])
        monkeypatch.setattr(tempfile, "tempdir", None)
        return main()

    return run


def samples(folder: str) -> list[tuple[str, str, int]]:
    """The numbers, prompts and seeds of a folder's samples."""
    paths = sorted(Path(folder, "samples").iterdir())
    made = [images.read_metadata(path) for path in paths]
    return [(p.stem, one["prompt"], one["seed"]) for p, one in zip(paths, made, strict=True)]


def test_samples_are_counted_on_and_shown_in_a_grid(run: Run) -> None:
    asked = ("txt2img", "--prompt", "a fox", *QUICK, "--n_samples", "2", "--n_rows", "3")
    assert run(reference.main, *asked) == 0
    folder = "outputs/txt2img-samples"
    assert samples(folder) == [(f"{n:05}", "a fox", 42 + n) for n in range(4)]
    # Three in the first row, one in the second, two pixels of black around each.
    grid = opened(Path(folder, "grid-0000.png"))
    assert grid.size == (3 * 130 + 2, 2 * 66 + 2)
    first = opened(Path(folder, "samples", "00000.png"))
    assert difference(grid.crop((2, 2, 130, 66)), first) == (0, 0)
    assert grid.crop((132, 68, 392, 134)).getextrema() == ((0, 0),) * 3

    more = ("--n_iter", "1", "--fixed_code", "--plms", "--scale", "3")
    assert run(reference.main, *asked, *more) == 0
    assert [name for name, _, _ in samples(folder)] == [f"{n:05}" for n in range(6)]
    made = images.read_metadata(Path(folder, "samples", "00005.png"))
    assert (made["scheduler"], made["guidance_scale"], made["seed"]) == ("PNDM", 3, 43)
    assert Path(folder, "grid-0001.png").exists()


def test_prompts_come_from_a_file_and_each_batch_may_start_from_one_noise(run: Run) -> None:
    Path("prompts.txt").write_text("a fox\na cat\n")
    asked = ("--from-file", "prompts.txt", "--repeat", "2", "--n_samples", "3", "--n_iter", "1")
    assert run(reference.main, "txt2img", *QUICK, *asked, "--skip_grid", "--outdir", "a") == 0
    prompts = ["a fox", "a fox", "a cat", "a cat"]
    assert samples("a") == [(f"{n:05}", prompts[n], 42 + n) for n in range(4)]
    assert [path.name for path in Path("a").iterdir()] == ["samples"]
    assert run(reference.main, "txt2img", *QUICK, *asked, "--fixed_code", "--outdir", "b") == 0
    assert [seed for _, _, seed in samples("b")] == [42, 43, 44, 42]
    assert run(reference.main, "txt2img", *QUICK, *asked, "--skip_save", "--outdir", "c") == 0
    assert samples("c") == []
    assert Path("c", "grid-0000.png").exists()


def test_ddims_steps_have_as_much_new_noise_as_is_asked_for(run: Run) -> None:
    asked = ("txt2img", "--prompt", "a fox", *QUICK, "--n_iter", "1", "--n_samples", "1")
    etas: dict[str, tuple[str, ...]] = {"none": ()}
    etas |= {eta: ("--ddim_eta", eta) for eta in ("0.0", "0.5", "1.0")}
    drawn = {}
    for name, flags in etas.items():
        assert run(reference.main, *asked, "--outdir", name, "--skip_grid", *flags) == 0
        drawn[name] = opened(Path(name, "samples", "00000.png"))
    assert difference(drawn["none"], drawn["0.0"]) == (0, 0)
    for one, other in (("0.0", "0.5"), ("0.0", "1.0"), ("0.5", "1.0")):
        assert difference(drawn[one], drawn[other])[1] > 1
    assert images.read_metadata(Path("1.0", "samples", "00000.png"))["eta"] == 1


def test_an_image_is_fitted_to_multiples_of_64_and_not_cropped(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    halves = Image.new("RGB", (200, 130), "red")
    halves.paste("blue", (100, 0, 200, 130))
    halves.save("in.png")
    asked = ("--init-img", "in.png", "--strength", "0", "--ckpt", "demo", "--n_samples", "1")
    assert run(reference.main, "img2img", *asked) == 0
    result = opened(Path("outputs/img2img-samples/samples/00000.png"))
    expected = halves.resize((192, 128), Image.Resampling.LANCZOS)
    assert difference(result, expected) == (0, 0)
    assert "loaded input image of size (200, 130) from in.png" in capsys.readouterr().out


def test_pairs_are_repainted_where_the_mask_is_white(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    image = Image.open(EXAMPLES / "flower.png").convert("RGB").resize((150, 100))
    mask = Image.new("L", image.size)
    mask.paste(255, (75, 0, 150, 100))
    Path("in").mkdir()
    image.save("in/flower.png")
    mask.save("in/flower_mask.png")
    image.save("in/other.png")
    asked = ("--indir", "in", "--outdir", "out", "--steps", "2", "--ckpt", "demo")
    assert run(reference.main, "inpaint", *asked) == 0
    assert [path.name for path in Path("out").iterdir()] == ["flower.png"]
    assert capsys.readouterr().err == ""
    result = opened(Path("out/flower.png"))
    left, right = (0, 0, 75, 100), (75, 0, 150, 100)
    assert difference(result.crop(left), image.crop(left)) == (0, 0)
    assert difference(result.crop(right), image.crop(right))[1] > 2


def test_a_pair_that_cannot_be_repainted_is_named_and_the_others_are(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("in").mkdir()
    for name, size in {"broken": (64, 64), "alone": (64, 64), "wide": (2000, 200)}.items():
        Image.new("RGB", size, "red").save(f"in/{name}.png")
        Image.new("L", size, 255).save(f"in/{name}_mask.png")
    Path("in/alone.png").unlink()
    Path("in/broken_mask.png").write_text("no picture")
    asked = ("--indir", "in", "--outdir", "out", "--steps", "1", "--ckpt", "demo")
    assert run(reference.main, "inpaint", *asked) == 2
    alone, broken, wide = capsys.readouterr().err.splitlines()
    assert alone == "in/alone.png: No such file or directory"
    assert broken.startswith("in/broken_mask.png: the file is not a picture")
    assert wide == "in/wide.png: its 2000 × 200 px are scaled to 1536 × 154 px"
    (result,) = Path("out").iterdir()
    assert opened(result).size == (1536, 154)


def test_what_is_left_out_is_stable_diffusion_2s_where_the_model_is(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models.Model, "is_second", True)
    sides = ("--H", "256", "--W", "256", "--ddim_steps", "1", "--ckpt", "demo")
    assert run(reference.main, "txt2img", *sides, "--n_samples", "1") == 0
    assert len(samples("outputs/txt2img-samples")) == 3
    sample = "outputs/txt2img-samples/samples/00000.png"
    assert images.read_metadata(Path(sample))["guidance_scale"] == 9.0
    capsys.readouterr()
    assert run(inspect.main, sample, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["file"], said["watermark"], said["made_from"]["seed"]) == (sample, "SDV2", 42)
    assert "CFG scale: 9, Seed: 42, Size: 256x256" in said["parameters"]


def test_what_a_picture_of_others_carries_is_said(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (300, 300)).save("plain.jpg", comment="x")
    Path("none.png").write_text("no picture")
    assert run(inspect.main, "none.png", "plain.jpg") == 2
    said = capsys.readouterr()
    assert said.out == "plain.jpg: watermark none that is known\n"
    assert "none.png: image: " in said.err


def test_what_a_picture_carries_controls_no_terminal(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "\x1b[2J\x1b]0;title\x07\x9b31m\x7f\u202e\r"
    texts = PngInfo()
    texts.add_itxt("parameters", f"a fox{hostile}, größer 🦊\n\tSteps: 2")
    texts.add_itxt("Description", json.dumps({f"name{hostile}": f"value{hostile}"}))
    name = "a\x1b[2J.png"
    Image.new("RGB", (64, 64)).save(name, pnginfo=texts)
    Path("b\x1b[2J.png").write_text("no picture")
    assert run(inspect.main, name, "b\x1b[2J.png") == 2
    said = capsys.readouterr()
    shown = {one for one in said.out + said.err if not one.isprintable()}
    assert shown == {"\n", "\t"}
    assert r"a\x1b[2J.png: watermark none" in said.out
    assert r"a fox\x1b[2J\x1b]0;title\x07\x9b31m\x7f\u202e" in said.out
    assert ", größer 🦊\n    \tSteps: 2\n" in said.out
    assert r"name\x1b[2J" in said.out
    assert "value" in said.out
    assert said.err.startswith(r"b\x1b[2J.png: image: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("txt2img", "--laion400m"), "--laion400m: that older model is not here"),
        (("txt2img", "--C", "8"), "--C, --f: every model here has 4 channels"),
        (("txt2img", "--from-file", "none.txt"), "none.txt"),
        (("img2img",), "--init-img: is required"),
        (("img2img", "--init-img", "none.png"), "--init-img: there is no file 'none.png'"),
        (("img2img", "--init-img", "thin.png"), "is too small, or too narrow"),
        (("inpaint",), "--indir, --outdir: give both"),
    ],
)
def test_what_cannot_be_done_is_refused_by_the_flags_name(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    Image.new("RGB", (600, 20)).save("thin.png")
    ckpt = () if arguments[0] == "inpaint" else ("--ckpt", "demo")
    assert run(reference.main, *arguments, *ckpt) in (1, 2)
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("script", "flags", "says"),
    [
        ("txt2img", ("--scale", "30"), "--scale: 30.0 is not allowed; give a number from 1 to 20"),
        ("txt2img", ("--scale", "nan"), "--scale: NaN is not allowed"),
        ("txt2img", ("--W", "500"), "--W: 500 is not allowed; give one of 64,"),
        ("txt2img", ("--H", "-64"), "--H: -64 is not allowed"),
        ("txt2img", ("--seed", "-1"), "--seed: -1 is not allowed"),
        ("txt2img", ("--ddim_steps", "0"), "--ddim_steps: 0 is not allowed"),
        ("txt2img", ("--n_samples", "0"), "--n_samples: 0 is not allowed"),
        ("txt2img", ("--plms", "--ddim_eta", "1"), "--ddim_eta: 1.0 is not allowed"),
        ("txt2img", ("--from-file", "latin.txt"), "--from-file: latin.txt is no text in UTF-8"),
        ("img2img", ("--init-img", "in.png", "--strength", "2"), "--strength: 2.0 is not allowed"),
        ("inpaint", ("--indir", ".", "--steps", "0"), "--steps: 0 is not allowed"),
        ("inpaint", ("--indir", ".", "--seed", "-1"), "--seed: -1 is not allowed"),
    ],
)
def test_bad_values_are_refused_before_the_model_is_looked_for(
    run: Run,
    capsys: pytest.CaptureFixture[str],
    script: str,
    flags: tuple[str, ...],
    says: str,
) -> None:
    Image.new("RGB", (64, 64)).save("in.png")
    Path("latin.txt").write_bytes("ein Fuchs, schön".encode("latin-1"))
    asked = (script, *flags, "--ckpt", "there is no such model", "--outdir", "out")
    assert run(reference.main, *asked) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(says)
    assert not Path("out").exists()


def test_after_the_last_seed_comes_the_first(run: Run) -> None:
    asked = ("--prompt", "a fox", "--n_samples", "2", "--n_iter", "1", "--seed", str(SEEDS - 1))
    assert run(reference.main, "txt2img", *QUICK, *asked, "--skip_grid", "--outdir", "a") == 0
    assert [seed for _, _, seed in samples("a")] == [SEEDS - 1, 0]


def test_what_makes_no_sense_here_is_taken_and_said(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--config", "v1.yaml", "--ipex", "--torchscript", "--precision", "full")
    assert run(reference.main, "txt2img", *QUICK, "--n_iter", "1", "--n_samples", "1", *flags) == 0
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "no effect" in line] == [
        "--config: has no effect here",
        "--torchscript: has no effect here",
        "--ipex: has no effect here",
    ]
