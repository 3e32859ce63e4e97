"""LoRAs and embeddings by each API: what is asked for, what the model gets, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.front import Front, front, wait_until
from tools.fake_cog import EMBEDDINGS, LORAS, CogServer, pixels

NAME = "stability-ai/stable-diffusion-2-1"
DEEPINFRA = "/v1/inference/stabilityai/stable-diffusion-2-1"
STABILITY = "/v1/generation/stable-diffusion-2-1"
INK, BLUEPRINT = f"ink@{'1c' * 6}", f"blueprint@{'b1' * 6}"
IMAGE = ("a.png", pixels("image", 1), "image/png")

Ask = Callable[[Front, Any], httpx2.Response]


def replicate(one: Front, loras: Any) -> httpx2.Response:
    body = {"input": {"prompt": "fox", "loras": loras}}
    return one.client.post(f"/v1/models/{NAME}/predictions", json=body, headers={"prefer": "wait"})


def cog_api(one: Front, loras: Any) -> httpx2.Response:
    return one.client.post("/predictions", json={"input": {"prompt": "fox", "loras": loras}})


def deepinfra(one: Front, loras: Any) -> httpx2.Response:
    return one.client.post(DEEPINFRA, json={"prompt": "fox", "lora": loras})


def openai(one: Front, loras: Any) -> httpx2.Response:
    return one.client.post("/v1/images/generations", json={"prompt": "fox", "loras": loras})


def huggingface(one: Front, loras: Any) -> httpx2.Response:
    body = {"inputs": "fox", "parameters": {"loras": loras}}
    return one.client.post(f"/models/{NAME}", json=body)


def stability(one: Front, loras: Any) -> httpx2.Response:
    body = {"text_prompts": [{"text": "fox"}], "loras": loras}
    return one.client.post(f"{STABILITY}/text-to-image", json=body)


APIS = (replicate, cog_api, deepinfra, openai, huggingface, stability)


@pytest.fixture(scope="module")
def cog() -> Iterator[CogServer]:
    with CogServer().served() as cog:
        yield cog


@pytest.fixture(scope="module")
def one(cog: CogServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with front(tmp_path_factory.mktemp("front"), cog) as one:
        yield one


def sent(cog: CogServer) -> Any:
    """The LoRAs of the last prediction as the model had them."""
    return cog.runs[-1].input.get("loras")


@pytest.mark.parametrize("ask", APIS)
@pytest.mark.parametrize(
    ("loras", "expected"),
    [
        (["ink:0.7", "blueprint"], [f"{INK}:0.7", BLUEPRINT]),
        ("ink:0.7, blueprint", [f"{INK}:0.7", BLUEPRINT]),
        ([f"ink@{'0' * 64}", "unheard of"], [f"ink@{'0' * 64}", "unheard of"]),
        ([], []),
    ],
)
def test_each_api_takes_a_list_and_pins_what_is_known(
    one: Front, cog: CogServer, ask: Ask, loras: Any, expected: list[str]
) -> None:
    answer = ask(one, loras)
    assert answer.is_success, answer.text
    assert sent(cog) == expected


@pytest.mark.parametrize("ask", APIS)
@pytest.mark.parametrize(
    ("loras", "says"),
    [
        ([["ink"]], "a list is not allowed; give a list of texts"),
        ({"ink": 1}, "an object is not allowed; give a list of texts"),
        (["ink:9"], "give a weight from -2 to 2"),
        (["ink", "ink"], "is given twice"),
        (list(map(str, range(100))), "100 LoRAs were given; give at most 8"),
        (",ink" * 501, "give at most 2000 characters"),
    ],
)
def test_each_api_refuses_what_is_none_in_its_form(
    one: Front, cog: CogServer, ask: Ask, loras: Any, says: str
) -> None:
    before = len(cog.runs)
    answer = ask(one, loras)
    assert answer.status_code in (400, 422)
    text = json.dumps(answer.json(), ensure_ascii=False)
    assert says in text
    assert "lora" in text
    assert len(cog.runs) == before


def test_a_client_sees_what_it_asked_for_and_the_link_what_was_pinned(one: Front) -> None:
    document = replicate(one, "ink:0.7").json()
    assert document["input"]["loras"] == "ink:0.7"
    assert one.client.get(document["urls"]["web"]).json()["settings"]["loras"] == [f"{INK}:0.7"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"loras": ["ink:0.7", "blueprint"]}, [f"{INK}:0.7", BLUEPRINT]),
        ({"loras[]": ["ink:0.7", "blueprint"]}, [f"{INK}:0.7", BLUEPRINT]),
        ({"loras": "ink:0.7,blueprint"}, [f"{INK}:0.7", BLUEPRINT]),
        ({"loras": "ink"}, [INK]),
        ({"loras": ""}, None),
    ],
)
@pytest.mark.parametrize(
    ("path", "fields", "file"),
    [
        (DEEPINFRA, {"prompt": "fox"}, "image"),
        ("/v1/images/edits", {"prompt": "fox"}, "image"),
        (f"{STABILITY}/image-to-image", {"text_prompts[0][text]": "fox"}, "init_image"),
    ],
)
def test_in_a_form_a_list_is_a_field_that_comes_repeatedly(
    one: Front,
    cog: CogServer,
    path: str,
    fields: dict[str, str],
    file: str,
    data: dict[str, Any],
    expected: Any,
) -> None:
    answer = one.client.post(path, data={**fields, **data}, files={file: IMAGE})
    assert answer.is_success, answer.text
    assert sent(cog) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"lora": "ink", "lora_scale": 0.7}, [f"{INK}:0.7"]),
        ({"lora": "ink", "lora_scale": "0.7"}, [f"{INK}:0.7"]),
        ({"lora": "ink:1,blueprint", "lora_scale": -1}, [f"{INK}:1", f"{BLUEPRINT}:-1"]),
        ({"loras": ["ink"], "lora_scale": 2}, [f"{INK}:2"]),
        ({"lora": "ink", "lora_scale": ""}, [INK]),
        ({"lora_scale": 0.7}, None),
        ({"lora": "ink", "lora_scale": 0.7000000000000001}, [f"{INK}:0.7"]),
        ({"lora": "", "loras": ["ink"], "lora_scale": 2}, [f"{INK}:2"]),
    ],
)
def test_deepinfras_scale_is_the_weight(
    one: Front, cog: CogServer, fields: dict[str, Any], expected: Any
) -> None:
    answer = one.client.post(DEEPINFRA, json={"prompt": "fox", **fields})
    assert answer.status_code == 200, answer.text
    assert sent(cog) == expected


def test_a_scale_out_of_range_is_blamed_on_the_scale(one: Front) -> None:
    for scale in (5, "-2.1", 1e300):
        body = {"prompt": "fox", "lora": "ink", "lora_scale": scale}
        answer = one.client.post(DEEPINFRA, json=body)
        assert answer.status_code == 422
        (fault,) = answer.json()["detail"]
        assert fault["loc"][-1] == "lora_scale"
        assert "give a number from -2 to 2" in fault["msg"]


def test_stability_takes_the_name_of_the_original(one: Front, cog: CogServer) -> None:
    body = {"text_prompts": [{"text": "fox"}], "lora": "ink:0.7"}
    assert one.client.post(f"{STABILITY}/text-to-image", json=body).is_success
    assert sent(cog) == [f"{INK}:0.7"]


# AUTOMATIC1111's


def drawn(one: Front, headers: Any = None, **fields: Any) -> dict[str, Any]:
    answer = one.client.post("/sdapi/v1/txt2img", json=fields, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(json.loads(answer.json()["info"]))


def test_tags_in_both_prompts_are_loras(one: Front, cog: CogServer) -> None:
    prompt, negative = "a <lora:ink:0.5>fox", "<lora:blueprint:-1>ugly"
    info = drawn(one, prompt=prompt, negative_prompt=negative)
    assert sent(cog) == [f"{INK}:0.5", f"{BLUEPRINT}:-1"]
    assert cog.runs[-1].input["prompt"] == "a fox"
    assert cog.runs[-1].input["negative_prompt"] == "ugly"
    assert info["warnings"] == []
    (text,) = info["infotexts"]
    assert text.startswith(f"{prompt}\nNegative prompt: {negative}\nSteps: ")


def test_what_can_not_be_used_is_left_out_and_said(one: Front, cog: CogServer) -> None:
    info = drawn(one, prompt="a fox <lora:nobody:1><lora:wide:1>")
    assert sent(cog) is None
    assert info["warnings"] == [
        "prompt: <lora:nobody:1> was left out; there is no LoRA of this name",
        "prompt: <lora:wide:1> was left out; it can't be used: it was made for Stable Diffusion XL",
    ]


def test_what_is_installed_is_listed_for_its_clients(one: Front) -> None:
    loras = one.client.get("/sdapi/v1/loras").json()
    assert [one["name"] for one in loras] == ["blueprint", "ink"]
    embeddings = one.client.get("/sdapi/v1/embeddings").json()
    assert {kind: list(found) for kind, found in embeddings.items()} == {
        "loaded": ["pencil"],
        "skipped": ["far"],
    }
    assert one.client.post("/sdapi/v1/refresh-loras").status_code == 200


# What is told


def told(one: Front, headers: Any = None) -> list[dict[str, Any]]:
    """What is said of LoRAs, to the page and of the model."""
    (offered,) = one.client.get("/form/models", headers=headers).json()
    model = one.client.get(f"/v1/models/{NAME}", headers=headers).json()
    assert model["loras"] == offered["description"]["loras"]
    assert model["embeddings"] == offered["description"]["embeddings"]
    return list(model["loras"])


def test_what_is_installed_is_told_as_a_model_is_described(one: Front) -> None:
    assert told(one) == LORAS
    assert one.client.get(f"/v1/models/{NAME}").json()["embeddings"] == EMBEDDINGS


def test_what_comes_and_goes_is_told_from_the_next_prediction_on(tmp_path: Path) -> None:
    new = {"name": "new", "hash": "0a" * 32, "trigger": None, "reason": None}
    with CogServer().served() as cog, front(tmp_path, cog) as one:
        cog.adapters = {"loras": [new], "embeddings": []}
        document = cog_api(one, ["new"]).json()
        assert sent(cog) == ["new"]
        assert "adapters" not in document["metrics"]
        assert told(one) == [new]
        cog_api(one, ["new", "ink"])
        assert sent(cog) == [f"new@{'0a' * 6}", "ink"]


def test_all_endpoints_of_a_model_learn_what_one_tells(tmp_path: Path) -> None:
    new = {"name": "new", "hash": "0a" * 32, "trigger": None, "reason": None}
    told_of = {"loras": [new], "embeddings": []}
    first, second = CogServer(slots=1), CogServer(slots=1)
    first.tell("first", "hold")
    with first.served(), second.served(), front(tmp_path, first, second) as one:
        path = f"/v1/models/{NAME}/predictions"
        one.client.post(path, json={"input": {"prompt": "first"}})
        wait_until(lambda: first.runs or second.runs)
        other = second if first.runs else first
        other.adapters = told_of
        assert cog_api(one, ["new"]).json()["status"] == "succeeded"
        assert other.runs
        for endpoint in one.services.endpoints:
            assert [lora.name for lora in endpoint.served[0].adapters.loras] == ["new"]
        first.let_go("first")


def test_a_prediction_that_waits_keeps_its_file(tmp_path: Path) -> None:
    other = [{"name": "ink", "hash": "ff" * 32, "trigger": None, "reason": None}]
    cog = CogServer(slots=1)
    cog.tell("first", "hold")
    with cog.served(), front(tmp_path, cog) as one:
        path = f"/v1/models/{NAME}/predictions"
        one.client.post(path, json={"input": {"prompt": "first"}})
        document = one.client.post(path, json={"input": {"prompt": "fox", "loras": "ink"}}).json()
        cog.adapters = {"loras": other, "embeddings": []}
        cog.let_go("first")
        link = document["urls"]["get"]
        wait_until(lambda: one.client.get(link).json()["status"] == "succeeded")
        cog_api(one, ["ink"])
    runs = [run.input.get("loras") for run in cog.runs if run.prompt == "fox"]
    assert runs == [[INK], [f"ink@{'ff' * 6}"]]


# Limits by token


def test_a_token_uses_and_sees_its_own_only(tmp_path: Path, cog: CogServer) -> None:
    limits = json.dumps({"ada": ["ink", "gone"], "bob": []})
    with front(tmp_path, cog, token_loras=limits) as one:
        ada, bob, eve = map(one.token, ("ada", "bob", "eve"))
        assert [lora["name"] for lora in told(one, ada)] == ["ink"]
        assert told(one, bob) == []
        assert told(one, eve) == LORAS
        loras = one.client.get("/sdapi/v1/loras", headers=ada).json()
        assert [lora["name"] for lora in loras] == ["ink"]
        info = drawn(one, ada, prompt="fox <lora:ink:1><lora:blueprint:1>")
        assert sent(cog) == [f"{INK}:1"]
        assert info["warnings"] == [
            "prompt: <lora:blueprint:1> was left out; there is no LoRA of this name"
        ]
        for name in ("blueprint", "gone", "unheard of"):
            body = {"input": {"prompt": "fox", "loras": [name]}}
            answer = one.client.post(f"/v1/models/{NAME}/predictions", json=body, headers=ada)
            assert answer.status_code == 422
            (fault,) = answer.json()["invalid_fields"]
            assert fault == {
                "type": "enum",
                "field": "input.loras",
                "description": f'There is no LoRA "{name}" that you may use; give one of ink',
            }
        body = {"input": {"prompt": "fox", "loras": ["ink", "blueprint"]}}
        assert one.client.post("/predictions", json=body, headers=eve).status_code == 200


@pytest.mark.parametrize("default", ['"ink:0.5,blueprint"', '["ink:0.5", "blueprint"]'])
def test_a_default_is_left_out_for_who_may_not_use_it(
    tmp_path: Path, cog: CogServer, default: str
) -> None:
    (tmp_path / "models.yaml").write_text(
        f"- {{name: me/drawn, task: img2img, defaults: {{loras: {default}}}}}\n"
    )
    limits = json.dumps({"ada": ["ink", "gone"], "bob": []})
    all_of_it = ["ink:0.5", "blueprint"]
    with front(tmp_path, cog, token_loras=limits) as one:
        ada, bob, eve = map(one.token, ("ada", "bob", "eve"))
        for headers, shown, expected in (
            (ada, ["ink:0.5"], [f"{INK}:0.5"]),
            (bob, [], []),
            (eve, all_of_it, [f"{INK}:0.5", BLUEPRINT]),
        ):
            model = one.client.get("/v1/models/me/drawn", headers=headers).json()
            version = model["latest_version"]
            link = f"/v1/models/me/drawn/versions/{version['id']}"
            for document in (
                version["openapi_schema"],
                one.client.get(link, headers=headers).json()["openapi_schema"],
                one.client.get("/openapi.json?model=me/drawn", headers=headers).json(),
            ):
                inputs = document["components"]["schemas"]["Input"]["properties"]
                assert inputs["loras"]["default"] == shown
            body: dict[str, Any] = {"input": {"prompt": "fox"}}
            path = "/v1/models/me/drawn/predictions"
            wait = {**headers, "prefer": "wait"}
            assert one.client.post(path, json=body, headers=wait).status_code == 201
            assert sent(cog) == expected
        document = one.client.get("/openapi.json?model=me/drawn").json()
        assert document["components"]["schemas"]["Input"]["properties"]["loras"]["default"] == []
        body = {"input": {"prompt": "fox", "loras": None, "lora": "blueprint"}}
        answer = one.client.post(path, json=body, headers=bob)
        assert [fault["field"] for fault in answer.json()["invalid_fields"]] == ["input.lora"]


def test_health_names_no_files(one: Front) -> None:
    (endpoint,) = one.client.get("/health").json()["endpoints"]
    assert not {"loras", "embeddings"} & endpoint["description"].keys()


def test_a_model_without_the_input_is_asked_for_none(tmp_path: Path) -> None:
    cog = CogServer()
    cog.schema = json.loads(json.dumps(cog.schema))
    del cog.schema["components"]["schemas"]["Input"]["properties"]["loras"]
    with cog.served(), front(tmp_path, cog) as one:
        info = drawn(one, prompt="fox <lora:ink:1>")
        assert info["warnings"] == [
            "prompt: <lora:ink:1> was left out; there is no LoRA of this name"
        ]
        assert cog_api(one, ["ink"]).json()["status"] == "succeeded"
        assert sent(cog) is None
