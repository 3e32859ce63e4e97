"""The code that the page shows asks for what the form asks for."""

from __future__ import annotations

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
    visitor.field("Use compel").check()
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
    answer = run(tmp_path, "bash", "-euo", "pipefail", "-c", code(visitor, "curl"))
    assert '"status":"succeeded"' in answer.replace(" ", "")
    assert cog.runs[-1].input == INPUTS


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


def test_javascript_has_the_same(visitor: Visitor, one: Front, tmp_path: Path) -> None:
    with_files(visitor, tmp_path)
    shown = code(visitor, "JavaScript")
    assert f'new Replicate({{ baseUrl: "{one.url}/v1", auth: "none" }})' in shown
    assert 'replicate.run("stability-ai/stable-diffusion-2-1", {' in shown
    assert 'image: await readFile("flower.png"),' in shown
    assert "use_compel: true," in shown
    assert 'negative_prompt: "a\\nb",' in shown


def test_the_command_line_has_the_same(visitor: Visitor, tmp_path: Path) -> None:
    with_files(visitor, tmp_path)
    first, _, second = code(visitor, "cog predict").replace("\\\n", "").partition("\n\n#")
    words = shlex.split(first)
    assert words[:3] == ["cog", "predict", "stable-diffusion"]
    given = dict(word.split("=", 1) for word in words[4::2])
    assert words[3::2] == ["-i"] * len(given)
    texts: dict[str, Any] = {**INPUTS, "use_compel": "true", "guidance_scale": "3.5", "seed": "7"}
    assert given == {**texts, "image": "@flower.png", "mask": "@flower-mask.png"}
    assert shlex.split(second.partition("\n")[2]) == ["scripts/predict", *words[3:]]


def test_where_tokens_are_asked_for_the_code_has_none_in_it(
    one: Front, visit: Visit, cog: CogServer, tmp_path: Path
) -> None:
    token = one.token("ada")["authorization"].partition(" ")[2]
    visitor = visit(one.url)
    visitor.page.get_by_label("Token").fill(token)
    visitor.press("Continue")
    visitor.field("Prompt").fill("a bus")
    for language in ("curl", "Python", "JavaScript", "cog predict"):
        assert token not in code(visitor, language)
    (tmp_path / "code.py").write_text(code(visitor, "Python"))
    environment = {**os.environ, "REPLICATE_API_TOKEN": token}
    subprocess.run([sys.executable, "code.py"], cwd=tmp_path, env=environment, check=True)
    command = ["bash", "-euo", "pipefail", "-c", code(visitor, "curl")]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert cog.prompts == ["a bus", "a bus"]
    visitor.expect_refusals()


def test_it_changes_with_the_form(visitor: Visitor) -> None:
    assert "PNDM" not in code(visitor, "curl")
    visitor.page.get_by_role("tab", name="Form").click()
    visitor.field("Scheduler").select_option("PNDM")
    assert '"scheduler":"PNDM"' in code(visitor, "curl")
    visitor.page.reload()
    visitor.page.get_by_role("tab", name="Code").click()
    expect(visitor.page.get_by_label("Language")).to_have_value("curl")
