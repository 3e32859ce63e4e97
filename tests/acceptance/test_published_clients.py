"""The published clients of all ages, unmodified, do what their documentation shows."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.front import Front, front
from tests.support.pictures import EXAMPLES
from tests.support.published_clients import Example, environment, examples, run
from tests.support.routes import ROUTES
from tools.fake_cog import CogServer, pixels

DOCUMENTS = {
    "replicate-0.8": ["python-0.md", "python-0.8.md"],
    "replicate-0.15": ["python-0.md", "python-0.8.md"],
    "replicate-0.25": ["python-0.md", "python-0.25.md"],
    "replicate-0.34": ["python-0.md", "python-0.25.md", "python-0.34.md"],
    "replicate-1.0": ["python-1.md", "python-0.25.md", "python-0.34.md"],
    "replicate-2.0": ["python-2.md"],
    "langchain": ["langchain.md"],
    "deepinfra": ["deepinfra.md"],
    "openai": ["openai.md"],
    "litellm": ["litellm.md"],
    "huggingface-hub": ["huggingface-hub.md"],
    "npm": ["npm.md", "npm-openai.md", "npm-ai.md"],
}
"""By client, the files in tests/clients/ whose examples it runs."""
PATH = re.compile(
    r"""["'`](?:/v1)?(/(?:account|collections|deployments|files|hardware|models|predictions|search"""
    r"""|trainings|webhooks)(?:/[^"'`?]*[^"'`?/])?)["'`]"""
)
"""A path of Replicate's API in the source of a client."""
LINK = re.compile(r"http://127\.0\.0\.1:\d+/files/[^\s'\"]+")


@pytest.fixture(scope="module")
def cog(everywhere: None) -> Iterator[CogServer]:
    with CogServer().served() as cog:
        cog.tell("what takes long", "hold")
        cog.tell("slow", "slow")
        cog.tell("bad", "fail")
        yield cog


@pytest.fixture(scope="module")
def one(cog: CogServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("front")
    with front(folder, cog, allowed_networks=("127.0.0.0/8",)) as one:
        yield one


@pytest.fixture(scope="module")
def token(one: Front) -> str:
    return one.token("ann")["authorization"].removeprefix("Bearer ")


def variables(client: str, url: str, token: str) -> dict[str, str]:
    """The environment that docs/api.md says a client needs."""
    match client:
        case "replicate-0.8" | "replicate-0.15":
            base = {"REPLICATE_API_BASE_URL": url}
        case "replicate-2.0":
            base = {"REPLICATE_BASE_URL": f"{url}/v1"}
        case "npm":
            base = {"BASE_URL": f"{url}/v1", "DEEPINFRA_API_KEY": token}
            base |= {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": token}
        case "deepinfra":
            return {"BASE_URL": url, "DEEPINFRA_API_KEY": token}
        case "openai" | "litellm":
            return {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": token}
        case "huggingface-hub":
            return {"BASE_URL": url, "HF_TOKEN": token}
        case _:
            base = {"REPLICATE_BASE_URL": url}
    return {**base, "REPLICATE_API_TOKEN": token}


@pytest.mark.parametrize(
    ("client", "example"),
    [
        pytest.param(client, example, id=f"{client}-{example.title}")
        for client, documents in DOCUMENTS.items()
        for document in documents
        for example in examples(document)
    ],
)
def test_what_its_documentation_shows_works(
    client: str, example: Example, one: Front, token: str, cog: CogServer, tmp_path: Path
) -> None:
    (tmp_path / "cat.png").write_bytes((EXAMPLES / "cat.png").read_bytes())
    begun = len(cog.runs)
    printed = run(client, example, tmp_path, **variables(client, one.url, token))
    checker = doctest.OutputChecker()
    assert checker.check_output(example.printed, printed, doctest.ELLIPSIS), printed
    drawn = {
        pixels(run.prompt, run.input["seed"], index)
        for run in cog.runs[begun:]
        for index in range(run.input.get("num_images", 1))
    }
    files = [path.read_bytes() for path in tmp_path.glob("out*")]
    files += [one.client.get(link).content for link in LINK.findall(printed)]
    assert set(files) <= drawn
    assert files or ".png" not in example.code.replace("cat.png", "")


@pytest.mark.parametrize(
    "client", ["replicate-0.8", "replicate-0.34", "replicate-2.0", "openai", "litellm", "npm"]
)
def test_where_there_are_no_tokens_any_text_is_one(
    client: str, cog: CogServer, tmp_path: Path
) -> None:
    with front(tmp_path / "data", cog) as one:
        first = examples(DOCUMENTS[client][0])[0]
        run(client, first, tmp_path, **variables(client, one.url, "none"))
    assert cog.runs[-1].input["prompt"] in first.code


def test_openais_client_finds_it_where_deepinfra_has_it(
    one: Front, token: str, tmp_path: Path
) -> None:
    (tmp_path / "cat.png").write_bytes((EXAMPLES / "cat.png").read_bytes())
    base = {"OPENAI_BASE_URL": f"{one.url}/v1/openai", "OPENAI_API_KEY": token}
    (shown,) = [example for example in examples("openai.md") if example.title == "Models"]
    assert run("openai", shown, tmp_path, **base) == shown.printed


@pytest.mark.parametrize("client", [*(name for name in DOCUMENTS if "replicate" in name), "npm"])
def test_every_path_in_its_source_is_served(client: str) -> None:
    installed = environment(client)
    package = (
        installed / "node_modules" / "replicate" if client == "npm" else installed / "replicate"
    )
    sources = [*package.rglob("*.py"), *package.glob("lib/*.js")]
    found = {
        # Some put an owner and a name into a path as one.
        re.sub(r"\$?\{[^}]*\}", "{}", re.sub(r"\{(key|model)\}", "{}/{}", path))
        for source in sources
        for path in PATH.findall(source.read_text())
    }
    served = {re.sub(r"\{[^}]*\}", "{}", path.removeprefix("/v1")) for path in ROUTES}
    assert len(found) > 5
    assert found <= served
