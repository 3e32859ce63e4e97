"""The code that the page shows asks for what the form asks for."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from cog_schema.schema import ROOT
from tests.support import published_clients
from tests.support.browser import Visit, Visitor
from tests.support.front import Front, front
from tests.support.pictures import EXAMPLES
from tools.fake_cog import CogServer, data_url, pixels

PROMPT = 'it\'s "quoted" $HOME `x` \\n %s {0} „ü“ 🦊'
INPUTS = {
    "prompt": PROMPT,
    "negative_prompt": "a\nb",
    "use_compel": True,
    "guidance_scale": 3.5,
    "seed": 7,
}


@pytest.fixture
def cog() -> Iterator[CogServer]:
    with CogServer().served() as cog:
        yield cog


@pytest.fixture
def one(cog: CogServer, tmp_path: Path) -> Iterator[Front]:
    with front(tmp_path / "data", cog) as one:
        yield one


@pytest.fixture
def visitor(one: Front, visit: Visit) -> Visitor:
    """Someone whose form has all kinds of inputs in it."""
    visitor = visit(one.url)
    visitor.more()
    visitor.field("Prompt").fill(PROMPT)
    visitor.field("Negative prompt").fill("a\nb")
    visitor.field("Weighted words").check()
    visitor.field("Guidance scale").fill("3.5")
    visitor.field("Seed").fill("7")
    return visitor


def code(visitor: Visitor, language: str) -> str:
    """What the page shows, which is also what its button copies."""
    visitor.page.get_by_role("tab", name="Code").click()
    visitor.page.get_by_label("Language").select_option(language)
    shown = visitor.page.locator("#code code").inner_text()
    visitor.press("Copy")
    assert visitor.page.evaluate("navigator.clipboard.readText()") == shown
    return shown


def with_files(visitor: Visitor, folder: Path) -> None:
    for name, file in (("image", "flower.png"), ("mask", "flower-mask.png")):
        visitor.choose(name, EXAMPLES / file)
        shutil.copy(EXAMPLES / file, folder)


FILES = {
    "image": data_url((EXAMPLES / "flower.png").read_bytes()),
    "mask": data_url((EXAMPLES / "flower-mask.png").read_bytes()),
}


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl_sends_it(visitor: Visitor, cog: CogServer, tmp_path: Path) -> None:
    run(tmp_path, "bash", "-euo", "pipefail", "-c", code(visitor, "curl"))
    assert cog.runs[-1].input == INPUTS
    assert (tmp_path / "picture-0.png").read_bytes() == pixels(PROMPT, 7)


def test_curl_waits_and_leaves_each_picture(
    one: Front, visit: Visit, cog: CogServer, tmp_path: Path
) -> None:
    cog.tell("a bus", "hold")
    visitor = visit(one.url)
    visitor.field("Prompt").fill("a bus")
    visitor.field("Number of images").fill("3")
    visitor.field("Seed").fill("7")
    # Without waiting for its end, it comes to ask for it again.
    command = code(visitor, "curl").replace("Prefer: wait", "Prefer: respond-async")
    asking = subprocess.Popen(["bash", "-euo", "pipefail", "-c", command], cwd=tmp_path)
    with asking:
        visitor.card("processing")
        cog.let_go("a bus")
    assert asking.returncode == 0
    found = [path.read_bytes() for path in sorted(tmp_path.glob("picture-*.png"))]
    assert found == [pixels("a bus", 7, index) for index in range(3)]


def test_curl_shows_what_is_refused(visitor: Visitor, cog: CogServer, tmp_path: Path) -> None:
    shown = code(visitor, "curl").replace('"seed":7', '"seed":-7')
    assert "seed" in run(tmp_path, "bash", "-c", shown)
    assert cog.runs == []


def test_curl_sends_files(visitor: Visitor, cog: CogServer, tmp_path: Path) -> None:
    with_files(visitor, tmp_path)
    run(tmp_path, "bash", "-euo", "pipefail", "-c", code(visitor, "curl"))
    assert cog.runs[-1].input == INPUTS | FILES


def test_python_sends_it_and_keeps_the_picture(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    with_files(visitor, tmp_path)
    (tmp_path / "code.py").write_text(code(visitor, "Python"))
    run(tmp_path, sys.executable, "code.py")
    sent = cog.runs[-1].input
    assert sent == INPUTS | FILES
    assert (tmp_path / "picture-0.png").read_bytes() == pixels(PROMPT, 7)


def test_javascript_sends_it_and_keeps_the_picture(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    installed = published_clients.environment("npm")
    with_files(visitor, tmp_path)
    (tmp_path / "node_modules").symlink_to(installed / "node_modules")
    shown = code(visitor, "JavaScript")
    assert shown.startswith("// Save this as picture.mjs")
    (tmp_path / "picture.mjs").write_text(shown)
    run(tmp_path, "node", "picture.mjs")
    assert cog.runs[-1].input == INPUTS | FILES
    assert (tmp_path / "picture-0.png").read_bytes() == pixels(PROMPT, 7)


def run_openai(folder: Path, shown: str, **variables: str) -> None:
    installed = published_clients.environment("openai")
    (folder / "code.py").write_text(shown)
    environment = {**os.environ, "PYTHONPATH": str(installed), **variables}
    command = [sys.executable, "-S", "code.py"]
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=60)


def test_openais_client_sends_it_and_keeps_the_pictures(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    visitor.field("Number of images").fill("2")
    run_openai(tmp_path, code(visitor, "Python, OpenAI's client"))
    assert cog.runs[-1].input == INPUTS | {"num_images": 2}
    assert (tmp_path / "picture-1.png").read_bytes() == pixels(PROMPT, 7, 1)


def test_openais_client_means_by_a_mask_what_the_form_means(
    visitor: Visitor, cog: CogServer, tmp_path: Path
) -> None:
    with_files(visitor, tmp_path)
    run_openai(tmp_path, code(visitor, "Python, OpenAI's client"))
    sent = cog.runs[-1].input
    assert sent == {**INPUTS, **FILES, "strength": 0.8, "mask_source": "brightness"}


@pytest.mark.parametrize(
    ("task", "image", "file", "predictor"),
    [
        ("img2img", "stable-diffusion", "", "Predictor"),
        ("inpainting", "stable-diffusion-inpainting", "-f cog-inpainting.yaml ", "Inpainting"),
        ("depth", "stable-diffusion-depth", "-f cog-depth.yaml ", "DepthToImage"),
        ("upscale", "stable-diffusion-upscaler", "-f cog-upscaler.yaml ", "Upscaler"),
    ],
)
def test_the_command_line_is_that_of_the_chosen_model(
    visit: Visit, tmp_path: Path, task: str, image: str, file: str, predictor: str
) -> None:
    with CogServer(task).served() as cog, front(tmp_path, cog) as one:
        visitor = visit(one.url)
        visitor.field("Prompt").fill(PROMPT)
        visitor.choose("image", EXAMPLES / "flower.png")
        shown = code(visitor, "cog predict").replace("\\\n", "").splitlines()
        assert shown[0] == f"# Once, in the project's folder: cog build {file}-t {image}"
        inputs = ["-i", f"prompt={PROMPT}", "-i", "image=@flower.png"]
        assert shlex.split(shown[1]) == ["cog", "predict", image, *inputs]
        command = ["scripts/predict", "--model", cog.description["model"], "--predictor", predictor]
        assert shlex.split(shown[4]) == [*command, *inputs]
        assert (ROOT / "cog.yaml").exists() if not file else (ROOT / file.split()[1]).exists()


def test_the_command_line_has_the_same(visitor: Visitor, tmp_path: Path) -> None:
    with_files(visitor, tmp_path)
    shown = code(visitor, "cog predict").replace("\\\n", "")
    words = shlex.split(shown.partition("\n\n#")[0].partition("\n")[2])
    given = dict(word.split("=", 1) for word in words[4::2])
    assert words[3::2] == ["-i"] * len(given)
    texts: dict[str, Any] = {**INPUTS, "use_compel": "true", "guidance_scale": "3.5", "seed": "7"}
    assert given == {**texts, "image": "@flower.png", "mask": "@flower-mask.png"}


def test_the_settings_are_there_as_json(visitor: Visitor, tmp_path: Path) -> None:
    with_files(visitor, tmp_path)
    names = {"image": "flower.png", "mask": "flower-mask.png"}
    assert json.loads(code(visitor, "JSON")) == INPUTS | names


def test_where_tokens_are_asked_for_the_code_has_none_in_it(
    one: Front, visit: Visit, cog: CogServer, tmp_path: Path
) -> None:
    token = one.token("ada")["authorization"].partition(" ")[2]
    visitor = visit(one.url)
    visitor.page.get_by_label("Token").fill(token)
    visitor.press("Continue")
    visitor.field("Prompt").fill("a bus")
    variables = {
        "curl": "REPLICATE_API_TOKEN",
        "Python": "REPLICATE_API_TOKEN",
        "JavaScript": "REPLICATE_API_TOKEN",
        "Python, OpenAI's client": "OPENAI_API_KEY",
    }
    for language, variable in variables.items():
        shown = code(visitor, language)
        assert token not in shown
        assert f"export {variable}=your-token" in shown
    run_openai(tmp_path, code(visitor, "Python, OpenAI's client"), OPENAI_API_KEY=token)
    (tmp_path / "code.py").write_text(code(visitor, "Python"))
    environment = {**os.environ, "REPLICATE_API_TOKEN": token}
    subprocess.run([sys.executable, "code.py"], cwd=tmp_path, env=environment, check=True)
    command = ["bash", "-euo", "pipefail", "-c", code(visitor, "curl")]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert cog.prompts == ["a bus"] * 3
    visitor.expect_refusals()


def test_it_changes_with_the_form(visitor: Visitor) -> None:
    assert "PNDM" not in code(visitor, "curl")
    visitor.page.get_by_role("tab", name="Form").click()
    visitor.field("Sampler").select_option("PNDM")
    assert '"scheduler":"PNDM"' in code(visitor, "curl")
    visitor.page.reload()
    visitor.page.get_by_role("tab", name="Code").click()
    expect(visitor.page.get_by_label("Language")).to_have_value("curl")


def test_where_the_code_reads_files_from_is_said(visitor: Visitor, tmp_path: Path) -> None:
    hint = visitor.page.locator("#code .hint").first
    visitor.choose("image", EXAMPLES / "flower.png")
    code(visitor, "JSON")
    expect(hint).to_have_text(
        "Save flower.png first (Download at the picture); the code reads it from its folder."
    )
    with_files(visitor, tmp_path)
    expect(hint).to_have_text(
        "Save flower.png and flower-mask.png first (Download at the picture);"
        " the code reads them from its folder."
    )
