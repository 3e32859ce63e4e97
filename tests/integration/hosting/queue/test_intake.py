from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.front import Front, front
from tools.fake_cog import CogServer, data_url, pixels

NAME = "stability-ai/stable-diffusion"
BLACK_REPAINTED = "27b93a2413e7f36cd83da926f3656280b2931564ff050bf9575f1fdf9bcd7478"
INPUTS = {"prompt": "fox", "init_image": data_url(pixels("image", 1))}
MASK = {"mask": data_url(pixels("mask", 1))}


@pytest.fixture(scope="module")
def one(everywhere: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with CogServer().served() as cog, front(tmp_path_factory.mktemp("front"), cog) as one:
        yield one


@pytest.mark.parametrize("version", [BLACK_REPAINTED, f"{NAME}:{BLACK_REPAINTED}"])
def test_a_mask_whose_black_was_to_be_repainted_is_refused(one: Front, version: str) -> None:
    asked = {"version": version, "input": INPUTS | MASK}
    answer = one.client.post("/v1/predictions", json=asked)
    assert answer.status_code == 422
    assert answer.json()["invalid_fields"] == [
        {
            "type": "conflict",
            "field": "input.mask",
            "description": f"In version 27b93a24 of {NAME} black was repainted, here white is; "
            f"invert the mask, and name {NAME} without that version",
        }
    ]


@pytest.mark.parametrize(
    ("version", "mask"), [(BLACK_REPAINTED, {}), (BLACK_REPAINTED, {"mask": None}), (NAME, MASK)]
)
def test_without_a_mask_or_without_that_version_it_is_taken(
    one: Front, version: str, mask: dict[str, str | None]
) -> None:
    asked = {"version": version, "input": INPUTS | mask}
    assert one.client.post("/v1/predictions", json=asked).status_code == 201
