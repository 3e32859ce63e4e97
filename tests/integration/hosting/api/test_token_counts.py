from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stable_diffusion import catalogue
from tests.support.front import Front, front
from tools.fake_cog import CogServer

MODEL = "stability-ai/stable-diffusion"
FILE = catalogue.WEIGHTS / "demo" / "tokenizer" / "tokenizer.json"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with CogServer().served() as cog:
        cog.description |= {"token_limit": 75, "tokenizer": str(FILE)}
        with front(tmp_path_factory.mktemp("front"), cog) as one:
            yield one


def counts(one: Front, *texts: str, **fields: Any) -> Any:
    answer = one.client.post("/form/tokens", json={"model": MODEL, "texts": texts, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_models_own_tokens_are_counted(one: Front) -> None:
    assert counts(one, "", "cat", "cat " * 80) == {"limit": 75, "counts": [0, 1, 80]}
    assert counts(one) == {"limit": 75, "counts": []}


def test_weights_are_words_only_where_they_are_not_asked_for(one: Front) -> None:
    assert counts(one, "(cat)1.5", use_compel=True)["counts"] == [1]
    assert counts(one, "(cat)1.5")["counts"] == [6]


def test_what_an_embedding_counts_as_is_not_known(one: Front) -> None:
    texts = ("a pencil", "a Pencil, cat", "pencils", "far")  # far can't be used
    assert [count is None for count in counts(one, *texts)["counts"]] == [True, True, False, False]


def test_too_much_is_refused(one: Front) -> None:
    for texts in (["a" * 20_001], ["cat"] * 9, "cat", [1]):
        asked = {"model": MODEL, "texts": texts}
        assert one.client.post("/form/tokens", json=asked).status_code == 422
    asked = {"model": "some/other", "texts": []}
    assert one.client.post("/form/tokens", json=asked).status_code == 404


def test_of_a_model_elsewhere_nothing_is_known(tmp_path_factory: pytest.TempPathFactory) -> None:
    with CogServer().served() as cog:
        for tokenizer in (None, "/nowhere/tokenizer.json"):
            cog.description |= {"token_limit": 75, "tokenizer": tokenizer}
            with front(tmp_path_factory.mktemp("front"), cog) as one:
                assert counts(one, "cat", "dog") == {"limit": None, "counts": [None, None]}


def test_where_its_file_is_is_told_to_nobody(one: Front) -> None:
    for path in ("/health", "/form/models", "/v1/models"):
        assert "tokenizer.json" not in one.client.get(path).text


def test_a_token_is_needed_where_there_are_any(tmp_path_factory: pytest.TempPathFactory) -> None:
    with CogServer().served() as cog, front(tmp_path_factory.mktemp("front"), cog) as one:
        headers = one.token("ada")
        asked = {"model": MODEL, "texts": ["cat"]}
        assert one.client.post("/form/tokens", json=asked).status_code == 401
        assert one.client.post("/form/tokens", json=asked, headers=headers).status_code == 200
