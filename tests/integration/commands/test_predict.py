"""The command line, as its user calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cog_schema import schema
from stable_diffusion import images
from stable_diffusion.models import Model
from tests.support import random_models
from tests.support.pictures import EXAMPLES, difference, opened, picture_of

FLOWER = EXAMPLES / "flower.png"
QUICK = ("-i", "num_inference_steps=2", "-i", "seed=7")


def predict(
    folder: Path, *arguments: str, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "commands.predict", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(schema.ROOT), "MODEL": "demo", **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
    )


def inputs(**values: object) -> list[str]:
    return [part for name, value in values.items() for part in ("-i", f"{name}={value}")]


def test_a_picture_is_written_where_asked_and_its_seed_told(tmp_path: Path) -> None:
    told = predict(tmp_path, *inputs(prompt="a rose", image=f"@{FLOWER}"), *QUICK, "-o", "rose.png")
    assert (told.returncode, told.stdout, told.stderr) == (0, "rose.png  seed 7\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["rose.png"]
    assert opened(tmp_path / "rose.png").size == (128, 128)
    assert images.read_metadata(tmp_path / "rose.png")["prompt"] == "a rose"


def test_a_sampler_may_have_the_name_that_others_have_for_it(tmp_path: Path) -> None:
    told = predict(tmp_path, *inputs(prompt="a rose", scheduler="Heun Karras"), *QUICK)
    assert told.returncode == 0, told.stderr
    metadata = images.read_metadata(tmp_path / "output.png")
    assert (metadata["scheduler"], metadata["spacing"]) == ("K_HEUN", "karras")
    told = predict(tmp_path, *inputs(prompt="a rose", scheduler="Heun Karras", spacing="default"))
    assert told.stderr == "spacing: contradicts the scheduler 'Heun Karras'\n"
    told = predict(
        tmp_path, *inputs(prompt="a", scheduler="sample_heun SGM Uniform", spacing="karras")
    )
    assert told.stderr == "spacing: contradicts the scheduler 'sample_heun SGM Uniform'\n"
    told = predict(tmp_path, *inputs(prompt="a rose", scheduler="DDIM Karras", eta=2))
    assert [line.partition(":")[0] for line in told.stderr.splitlines()] == ["eta", "spacing"]


def test_what_is_a_list_comes_one_by_one_or_with_commas(tmp_path: Path) -> None:
    lists = ("-i", "loras=nobody:0.7", "-i", "loras=no one, none:9", "-i", "loras=")
    for beside in ((), ("--json", '{"loras": ["replaced"]}')):
        told = predict(tmp_path, *inputs(prompt="a rose"), *beside, *lists)
        assert told.returncode == 2
        refused = [line.split('"')[:2] for line in told.stderr.splitlines()]
        assert refused == [["loras: ", name] for name in ("nobody", "no one", "none:9")]


def test_several_pictures_are_numbered(tmp_path: Path) -> None:
    told = predict(tmp_path, *inputs(prompt="a rose", num_images=2), *QUICK, "-o", "out.webp")
    assert told.stdout == "out.0.webp  seed 7\nout.1.webp  seed 8\n"
    assert {path.name for path in tmp_path.iterdir()} == {"out.0.webp", "out.1.webp"}
    assert opened(tmp_path / "out.1.webp").format == "WEBP"


def test_inputs_come_as_json_too_and_from_a_file(tmp_path: Path) -> None:
    asked = {"prompt": "a rose", "num_inference_steps": 1, "seed": 0, "image": f"@{FLOWER}"}
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    for flag, stdin in (
        (json.dumps(asked), None),
        ("@asked.json", None),
        ("@-", json.dumps(asked)),
    ):
        told = predict(tmp_path, "--json", flag, stdin=stdin)
        assert told.stdout == "output.png  seed 0\n"


def test_an_image_may_be_a_data_url(tmp_path: Path) -> None:
    import base64

    url = "data:image/png;base64," + base64.b64encode(FLOWER.read_bytes()).decode()
    (tmp_path / "asked.json").write_text(json.dumps({"prompt": "", "strength": 0, "image": url}))
    assert predict(tmp_path, "--json", "@asked.json").returncode == 0
    expected = images.fit(images.read_image(FLOWER), (128, 128))
    assert difference(opened(tmp_path / "output.png"), expected) == (0, 0)


def test_all_faults_are_told_at_once_a_line_each_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    wrong = inputs(
        num_images=5,
        num_inference_steps="many",
        guidance_scale="nan",
        strength=-1,
        width=100,
        seed=2**70,
        use_compel="perhaps",
        image="@text.png",
        mask="@nowhere.png",
        colour="red",
    )
    told = predict(tmp_path, *wrong, "-i", "nonsense", "-o", "nowhere/out.png")
    assert (told.returncode, told.stdout) == (2, "")
    assert [line.partition(":")[0] for line in told.stderr.splitlines()] == [
        "--input",
        "mask",
        "colour",
        "--output",
        "image",
        "prompt",
        "num_images",
        "num_inference_steps",
        "guidance_scale",
        "strength",
        "width",
        "seed",
        "use_compel",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["text.png"]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("photo.png", "give @ and a file's name"),
        ("/etc/hostname", "give @ and a file's name"),
        ("file:///etc/hostname", "give @ and a file's name"),
        ("@missing.png", "there is no file 'missing.png'"),
        ("http://127.0.0.1:9/photo.png", "could not be fetched"),
    ],
)
def test_an_image_that_is_not_there_is_told(tmp_path: Path, image: str, words: str) -> None:
    told = predict(tmp_path, *inputs(prompt="a rose", image=image))
    assert told.returncode == 2
    assert told.stderr.startswith("image: ")
    assert words in told.stderr
    assert len(told.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["[1]", "{", "@missing.json", '"x"', pytest.param("[" * 100_000, id="nested")]
)
def test_json_that_is_no_object_is_told(tmp_path: Path, text: str) -> None:
    told = predict(tmp_path, "--json", text)
    assert told.returncode == 2
    assert told.stderr.startswith("--json: give a JSON object")
    assert "Traceback" not in told.stderr


def test_in_json_types_are_not_guessed(tmp_path: Path) -> None:
    told = predict(tmp_path, "--json", '{"prompt": "", "num_images": "2", "strength": null}')
    assert told.stderr.splitlines() == [
        'num_images: "2" is not allowed; give a whole number from 1 to 4',
        "strength: null is not allowed; give a number from 0 to 1",
    ]


def test_a_mask_is_not_blamed_for_an_image_that_is_not_there(tmp_path: Path) -> None:
    told = predict(tmp_path, *inputs(prompt="", image="@nowhere.png", mask=f"@{FLOWER}"))
    assert told.stderr == "image: there is no file 'nowhere.png'\n"


def test_a_folder_is_no_place_for_a_picture(tmp_path: Path) -> None:
    told = predict(tmp_path, *inputs(prompt=""), "-o", ".")
    assert (told.returncode, told.stderr) == (
        2,
        "--output: '.' is a folder; give the name of a file\n",
    )


def test_the_files_name_tells_its_format_and_must_not_contradict_it(tmp_path: Path) -> None:
    assert predict(tmp_path, *inputs(prompt=""), *QUICK, "-o", "a.JPEG").returncode == 0
    assert opened(tmp_path / "a.JPEG").format == "JPEG"
    for name, words in (("a.txt", "is not a picture"), ("a.png", "contradicts output_format")):
        told = predict(tmp_path, *inputs(prompt="", output_format="jpg"), "-o", name)
        assert (told.returncode, len(told.stderr.splitlines())) == (2, 1)
        assert words in told.stderr


def test_the_example_of_the_help_can_be_run() -> None:
    from commands.predict import EXAMPLE

    assert (schema.ROOT / EXAMPLE.partition("@")[2].split()[0]).is_file()


def test_a_model_may_be_an_input_as_for_a_server_of_several(tmp_path: Path) -> None:
    told = predict(tmp_path, *inputs(prompt="a rose", model="demo"), *QUICK)
    assert told.returncode == 0, told.stderr
    told = predict(tmp_path, *inputs(prompt="a rose", model="roses"), *QUICK)
    assert told.returncode == 1
    assert "there is no model 'roses'" in told.stderr


def test_a_missing_model_is_told_with_the_command_that_gets_it(tmp_path: Path) -> None:
    told = predict(tmp_path, *inputs(prompt="a rose"), "--model", "stable-diffusion-v1-4")
    assert told.returncode == 1
    assert "run: scripts/download-weights stable-diffusion-v1-4" in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_a_wrong_setting_is_told(tmp_path: Path) -> None:
    told = predict(tmp_path, *inputs(prompt="a rose"), DTYPE="half")
    assert told.returncode == 1
    assert told.stderr == (
        "the precision 'half' is not known; give one of float32, float16, bfloat16\n"
    )


def test_without_the_big_models_weights_a_line_says_that_the_demo_draws(tmp_path: Path) -> None:
    told = predict(tmp_path, *inputs(prompt="a rose"), *QUICK, MODEL="")
    assert told.returncode == 0
    assert "so the small demo model is used" in told.stderr


def test_what_a_small_model_does_not_know_is_told_before_its_picture(tmp_path: Path) -> None:
    asked = inputs(prompt="a bicycle repair shop", width=512, height=128)
    told = predict(tmp_path, *asked, *QUICK, "-o", "shop.png")
    assert (told.returncode, told.stdout) == (0, "shop.png  seed 7\n")
    unknown, too_large = told.stderr.splitlines()
    assert 'things, and "a bicycle repair shop" names none of them; nearest: bicycle.' in unknown
    assert "at 512 × 128 px, things repeat" in too_large


def test_a_cut_prompt_is_told(tmp_path: Path) -> None:
    told = predict(tmp_path, *inputs(prompt="rose " * 100), *QUICK)
    assert told.returncode == 0
    assert "prompt: longer than the model reads" in told.stderr


def test_stopping_it_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    arguments = inputs(prompt="a rose", num_inference_steps=512)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "commands.predict", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(schema.ROOT), "MODEL": "", "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it runs in the background deaf to Ctrl-C; these tests may be that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    assert "demo model is used" in process.stderr.readline()  # its setup has begun
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == "cancelled; no file was written\n"
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


def test_help_lists_every_input_without_loading_the_engine(tmp_path: Path) -> None:
    properties = schema.schema(schema.PREDICT.read_text())["components"]["schemas"]["Input"]
    program = (
        "import sys; sys.argv = ['predict', '--help']\n"
        "from commands.predict import main\n"
        "try: main()\n"
        "finally: print(sorted({'torch', 'diffusers', 'PIL', 'numpy'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(schema.ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    for name, entry in properties["properties"].items():
        assert f"  {name} " in told.stdout
        assert entry["description"] in told.stdout
    assert told.stdout.endswith("[]\n")


def test_a_model_brings_its_own_inputs(
    tmp_path: Path, demo: Model, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("model") / "demo"  # by a name of the manifest
    random_models.make("upscale", demo, folder)
    image = tmp_path / "small.png"
    picture_of(size=(24, 16)).save(image)
    asked = inputs(prompt="a rose", image=f"@{image}")
    wrong = predict(tmp_path, *asked, "-i", "width=128", "--model", str(folder))
    assert (wrong.returncode, wrong.stderr) == (2, "width: there is no such input\n")
    for arguments, environment in ((["--model", str(folder)], {}), ([], {"MODEL": str(folder)})):
        told = predict(tmp_path, *asked, *QUICK, "-o", "large.png", *arguments, **environment)
        assert (told.returncode, told.stdout, told.stderr) == (0, "large.png  seed 7\n", "")
        assert opened(tmp_path / "large.png").size == (96, 64)


def test_help_is_given_for_a_model_that_is_not_downloaded_or_not_there(tmp_path: Path) -> None:
    told = predict(tmp_path, "--help", "--model", "stable-diffusion-x4-upscaler")
    assert (told.returncode, "noise_level" in told.stdout) == (0, True)
    told = predict(tmp_path, "--help", "--model", "nonsense")
    assert (told.returncode, "strength" in told.stdout) == (0, True)
    told = predict(tmp_path, *inputs(prompt="x"), "--model", "nonsense")
    assert (told.returncode, told.stderr[:28]) == (1, "there is no model 'nonsense'")
