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
            .filter(({ name }) => !/examples|icon|models|openapi|v1/.test(name))
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
        visitor.page.get_by_text("What this model can draw").click()
        listed = visitor.page.locator('[data-name="prompt"] .vocabulary p')
        expect(listed).to_have_text(
            [
                "cat, hot beverage",
                "In colours: red, blue",
                "On a background: white",
                "In a style: flat style",
                "Best at: 128 × 128 and 256 × 256 px",
            ]
        )
        assert violations(visitor.page) == []
