from __future__ import annotations

import time

import pytest

from hosting.net.links import STEP_SECONDS, Links

BASE = "http://localhost:8000"
PATH = "/files/predictions/a1/out-0.png"
DAY = 86400.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000_000 * STEP_SECONDS + 10.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def test_a_link_leads_where_it_should_and_is_known_again() -> None:
    links = Links(b"key", DAY)
    url = links.sign(BASE, PATH)
    assert url.startswith(f"{BASE}{PATH}?")
    assert links.is_valid(url)


def test_a_link_is_good_for_its_time_and_at_most_an_hour_longer(clock: list[float]) -> None:
    links = Links(b"key", DAY)
    for start in (0, 1, STEP_SECONDS / 2, STEP_SECONDS - 1):
        now = clock[0] = 2_000_000 * STEP_SECONDS + start
        url = links.sign(BASE, PATH)
        clock[0] = now + DAY
        assert links.is_valid(url)
        clock[0] = now + DAY + STEP_SECONDS
        assert not links.is_valid(url)


def test_links_of_the_same_hour_are_the_same(clock: list[float]) -> None:
    links = Links(b"key", DAY)
    first = links.sign(BASE, PATH)
    clock[0] += STEP_SECONDS - 11
    assert links.sign(BASE, PATH) == first
    clock[0] += 1
    assert links.sign(BASE, PATH) != first


def test_the_host_by_which_it_is_followed_makes_no_difference() -> None:
    links = Links(b"key", DAY)
    assert links.is_valid(
        links.sign("https://example.com", PATH).replace("example.com", "localhost")
    )


def test_nothing_of_a_link_can_be_changed() -> None:
    links = Links(b"key", DAY)
    url = links.sign(BASE, PATH)
    whole, _, signature = url.rpartition("=")
    expires = url.partition("expires=")[2].partition("&")[0]
    for changed in (
        url.replace("out-0", "out-1"),
        url.replace("/a1/", "/a2/"),
        url.replace("/a1/", "/a1//"),
        url.replace("/a1/", "/a1/../a1/"),
        url.replace("out-0.png", "out-0.png%20"),
        url.replace(expires, str(int(expires) + STEP_SECONDS)),
        url.replace(expires, f"{expires}0"),
        url.replace(expires, f"0{expires}"),
        url.replace(expires, f"%20{expires}"),
        url.replace(expires, ""),
        url.replace(expires, "never"),
        f"{whole}={'0' * len(signature)}",
        f"{whole}={signature[:-1]}",
        f"{whole}={signature}0",
        f"{whole}={signature.upper()}",
        f"{whole}=",
        f"{whole}=%C3%A9",
        f"{whole}=\udcff",
        f"{url}&expires={int(expires) + 10**9}",
        f"{url}&expires={expires}",
        f"{url}&signature={signature}",
        url.replace("?", f"?expires={10**11}&"),
        url + "&a=b" * 20,
        url.partition("?")[0],
        url.partition("&")[0],
        f"{BASE}{PATH}?signature={signature}",
        "",
    ):
        assert changed != url
        assert not links.is_valid(changed), changed


def test_links_of_another_key_are_none() -> None:
    assert not Links(b"key", DAY).is_valid(Links(b"other", DAY).sign(BASE, PATH))
