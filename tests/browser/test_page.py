"""The page before Cog servers without a model."""

from __future__ import annotations

import json
import re
from pathlib import Path

from playwright.sync_api import expect

from tests.support.browser import Visit, Visitor, violations
from tests.support.front import Front, front
from tools.fake_cog import CogServer


def test_its_policy_lets_in_nothing_from_elsewhere(one: Front) -> None:
    answer = one.client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "script-src 'self';" in policy
    assert "://" not in re.sub(r'xmlns="[^"]*"', "", answer.text)


def test_it_weighs_less_than_90_kilobytes(one: Front, visit: Visit) -> None:
    visitor = visit(one.url)
    expect(visitor.field("Prompt")).to_be_visible()
    sizes = visitor.page.evaluate(
        """() => performance.getEntries()
            .filter(({ entryType }) => ["navigation", "resource"].includes(entryType))
            .filter(({ name }) => !/examples|icon|models|openapi|v1|events|predictions$/.test(name))
            .map(({ name, transferSize }) => [name, transferSize])"""
    )
    assert len(sizes) >= 10
    assert sum(size for _, size in sizes) < 90_000
    assert all(size > 0 for _, size in sizes), sizes


def test_each_file_of_the_page_is_there_and_nothing_beside_it(one: Front) -> None:
    page = one.client.get("/").text
    found = re.findall(r'(?:src|href)="(/form/[^"]+)"', page)
    assert len(found) > 10
    for path in found:
        answer = one.client.get(path)
        assert answer.status_code == 200, path
        again = one.client.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
    for path in ("/form/../app.py", "/form/%2e%2e/app.py", "/form/", "/form/nothing.js"):
        assert one.client.get(path).status_code == 404, path
    assert json.loads(one.client.get("/form/nothing.js").text)["status"] == 404


def test_of_a_model_that_knows_the_world_nothing_is_listed(visitor: Visitor) -> None:
    expect(visitor.field("Prompt")).to_be_visible()
    expect(visitor.page.locator(".vocabulary")).to_have_count(0)


def test_a_small_models_vocabulary_is_listed_below_its_prompt(tmp_path: Path, visit: Visit) -> None:
    cog = CogServer()
    cog.description["vocabulary"] = {
        "words": ["cat", "hot beverage"],
        "colours": ["red", "blue"],
        "backgrounds": ["white"],
        "styles": ["flat style"],
        "sizes": [128, 256],
    }
    with cog.served(), front(tmp_path, cog) as one:
        visitor = visit(one.url)
        area = visitor.field("Prompt")
        about = visitor.page.locator(".about")
        expect(about).to_contain_text("This small model knows 2 words:")
        visitor.press("cat")
        expect(area).to_have_value("cat")
        visitor.page.get_by_text("What this model can draw").click()
        groups = about.locator("[role=group]")
        expect(groups).to_have_text(
            [
                "Thingscathot beverage",
                "In coloursredblue",
                "On a backgroundwhite",
                "In a styleflat style",
            ]
        )
        expect(about).to_contain_text("Best at 128 × 128 and 256 × 256 px")
        groups.nth(0).get_by_role("button", name="hot beverage").click()
        expect(area).to_have_value("hot beverage")
        groups.nth(1).get_by_role("button", name="red").click()
        groups.nth(2).get_by_role("button", name="white").click()
        groups.nth(3).get_by_role("button", name="flat style").click()
        expect(area).to_have_value("red hot beverage on a white background flat style")
        assert violations(visitor.page) == []


def test_the_demo_model_is_named_with_the_way_to_a_large_one(tmp_path: Path, visit: Visit) -> None:
    cog = CogServer()
    words = ["cat", "fox", "castle", "rose", "robot", "pizza"]
    nothing: dict[str, list[str]] = {"colours": [], "backgrounds": [], "styles": []}
    cog.description |= {"model": "demo", "checker": False}
    cog.description["vocabulary"] = {"words": words, "sizes": [128], **nothing}
    with cog.served(), front(tmp_path, cog) as one:
        visitor = visit(one.url)
        about = visitor.page.locator(".about")
        expect(about).to_contain_text("This demo model knows 6 words:")
        expect(about.locator(".chips button")).to_have_text(words[1:])
        expect(about).to_contain_text("scripts/download-weights")
        expect(about).to_contain_text("No picture is checked for NSFW.")


def test_whether_pictures_are_checked_is_said(visitor: Visitor) -> None:
    expect(visitor.page.locator(".about")).to_have_text("Every picture is checked for NSFW.")
