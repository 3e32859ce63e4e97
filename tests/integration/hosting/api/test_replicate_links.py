"""Pictures are links by Replicate's API, but for clients that could make no files of those."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.front import Front, front
from tools.fake_cog import CogServer

MODEL = "stability-ai/stable-diffusion"
MAKES_FILES = [
    "replicate-python/1.0.0",
    "replicate-python/1.1.0b3",
    "replicate-javascript/1.4.0",
    "Replicate/Python 2.0.0-beta.4",
    "AsyncReplicate/Python 2.0.0-beta.4",
    "_ModuleClient/Python 2.0.0-beta.4",
]
TAKES_LINKS = [
    "replicate-python/0.8.4",
    "replicate-python/0.34.2",
    "replicate-javascript/0.34.1",
    "Replicate/JS 0.1.0",
    "replicate-python/unknown",
    "python-httpx/0.28.1",
    "",
]


@pytest.fixture(scope="module")
def cog() -> Iterator[CogServer]:
    with CogServer().served() as cog:
        yield cog


@pytest.fixture(scope="module")
def one(cog: CogServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(tmp_path_factory.mktemp("front"), cog) as one:
        yield one


def create(one: Front, agent: str, prefer: str = "") -> tuple[str, str]:
    """The id of a new prediction, and its output, looked for once more if it was not waited for."""
    headers = {"user-agent": agent, "prefer": prefer}
    path = f"/v1/models/{MODEL}/predictions"
    made = one.client.post(path, json={"input": {"prompt": "fox"}}, headers=headers).json()
    while not made["output"]:
        made = one.client.get(made["urls"]["get"], headers={"user-agent": agent}).json()
    return made["id"], made["output"][0]


def again(one: Front, prediction_id: str, agent: str) -> str:
    """The output of a prediction as it is later."""
    path = f"/v1/predictions/{prediction_id}"
    answer = one.client.get(path, headers={"user-agent": agent}).json()
    output: str = answer["output"][0]
    return output


def is_link(one: Front, output: str) -> bool:
    return output.startswith(f"{one.url}/files/") and one.client.get(output).status_code == 200


@pytest.mark.parametrize("agent", MAKES_FILES)
def test_who_makes_files_and_waits_gets_data(one: Front, agent: str) -> None:
    prediction_id, output = create(one, agent, "wait")
    assert output.startswith("data:image/png;base64,")
    assert again(one, prediction_id, agent) == output
    for other in TAKES_LINKS:
        assert is_link(one, again(one, prediction_id, other))


@pytest.mark.parametrize("agent", MAKES_FILES)
def test_who_does_not_wait_gets_links(one: Front, agent: str) -> None:
    for prefer in ("", "respond-async", "wait=abc"):
        prediction_id, output = create(one, agent, prefer)
        assert is_link(one, output)
        assert is_link(one, again(one, prediction_id, agent))


@pytest.mark.parametrize("agent", TAKES_LINKS)
def test_others_get_links_though_they_wait(one: Front, agent: str) -> None:
    prediction_id, output = create(one, agent, "wait")
    assert is_link(one, output)
    assert is_link(one, again(one, prediction_id, MAKES_FILES[0]))


def test_a_run_whose_wait_was_too_short_gets_data_later(one: Front, cog: CogServer) -> None:
    agent = {"user-agent": MAKES_FILES[0]}
    cog.tell("late owl", "hold")
    path = f"/v1/models/{MODEL}/predictions"
    body = {"input": {"prompt": "late owl"}}
    made = one.client.post(path, json=body, headers={**agent, "prefer": "wait=1"}).json()
    assert (made["status"], made["output"]) == ("starting", None)
    cog.let_go("late owl")
    events = one.client.get(made["urls"]["stream"], headers=agent).text
    assert "event: output\ndata: data:image/png;base64," in events
    assert again(one, made["id"], MAKES_FILES[0]).startswith("data:")


def test_a_list_has_links(one: Front) -> None:
    agent = {"user-agent": MAKES_FILES[0]}
    prediction_id, _ = create(one, MAKES_FILES[0], "wait")
    listed = one.client.get("/v1/predictions", headers=agent).json()["results"]
    (output,) = next(item["output"] for item in listed if item["id"] == prediction_id)
    assert is_link(one, output)


def test_over_https_there_are_links_only(
    cog: CogServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("https")
    with front(folder, cog, public_url="https://draw.example") as one:
        _, output = create(one, MAKES_FILES[0], "wait")
        assert output.startswith("https://draw.example/files/")


@pytest.mark.parametrize("prefer", ["WAIT=2", "Wait", "respond-async, wait=2", "wait; foo=1"])
def test_preferences_have_no_case_and_may_be_several(one: Front, prefer: str) -> None:
    path, body = f"/v1/models/{MODEL}/predictions", {"input": {"prompt": "fox"}}
    made = one.client.post(path, json=body, headers={"prefer": prefer}).json()
    assert made["status"] == "succeeded"
