from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from hosting.settings import FOLDER, Settings, SettingsError, bare_host


def read(**variables: str) -> Settings:
    return Settings.from_environment(variables)


def test_without_variables_everything_is_as_documented() -> None:
    assert read() == Settings()
    assert read(DATA="", COG_URLS=" ", QUEUE_LIMIT="") == Settings()
    assert read(HOME="/root", data="/tmp") == Settings()
    assert Settings().data == FOLDER
    assert all(known.metadata["description"] for known in fields(Settings))


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("COG_URLS", "http://a:1", ("http://a:1",)),
        ("COG_URLS", "http://a:1, https://b  http://c,", ("http://a:1", "https://b", "http://c")),
        ("COG_URLS", "http://a:1/SD-2/", ("http://a:1/SD-2",)),
        ("COG_SLOTS", "4", 4),
        ("DATA", "/srv/data", Path("/srv/data")),
        ("DATABASE_URL", "postgresql://me:Geheim@db/sd", "postgresql://me:Geheim@db/sd"),
        ("PUBLIC_URL", "https://sd.example.com", "https://sd.example.com"),
        ("PUBLIC_URL", " https://sd.example.com/ ", "https://sd.example.com"),
        ("ALLOWED_HOSTS", "a.example B.example", ("a.example", "b.example")),
        ("ALLOWED_ORIGINS", "https://example.com", ("https://example.com",)),
        ("ALLOWED_NETWORKS", "10.0.0.0/8 fd00::/8", ("10.0.0.0/8", "fd00::/8")),
        ("REQUESTS_PER_MINUTE", "60", 60),
        ("QUEUE_LIMIT", "1", 1),
        ("BATCH_LIMIT", "5", 5),
        ("MOST_IMAGES", "20", 20),
        ("UPLOAD_MEGABYTES", "1", 1),
        ("IMAGE_MEGABYTES", "1", 1),
        ("FETCH_SECONDS", "2.5", 2.5),
        ("RETENTION_DAYS", "0", 0.0),
        ("UPLOAD_HOURS", "0.5", 0.5),
        ("KEPT_MEGABYTES", "500", 500),
        ("LINK_HOURS", "1e2", 100.0),
        ("IDLE_MINUTES", "10", 10.0),
        ("STOP_SECONDS", "0", 0.0),
        ("TOKEN_SIDE", "768", 768),
        ("TOKEN_STEPS", "50", 50),
        ("TOKEN_IMAGES", "0", 0),
        (
            "TOKEN_MODELS",
            "demo Stability-AI/stable-diffusion",
            ("demo", "stability-ai/stable-diffusion"),
        ),
        ("TOKEN_PREDICTIONS_A_DAY", "100", 100),
        ("TOKEN_MEGAPIXEL_STEPS_A_DAY", "5000", 5000),
        ("TOKEN_LORAS", '{"ada": ["ink"]}', '{"ada": ["ink"]}'),
    ],
)
def test_each_variable_is_read(variable: str, text: str, value: Any) -> None:
    found = getattr(read(**{variable: text}), variable.lower())
    assert found == value
    assert type(found) is type(value) or isinstance(value, Path)


def test_every_setting_is_among_those_that_are_tested() -> None:
    marks = test_each_variable_is_read.pytestmark
    tested = {case[0].lower() for case in marks[0].args[1]}
    assert tested == {known.name for known in fields(Settings)}


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        ("COG_SLOTS", "four", "COG_SLOTS is 'four'; give a whole number from 1 on"),
        ("COG_SLOTS", "4.5", "COG_SLOTS is '4.5'; give a whole number from 1 on"),
        ("QUEUE_LIMIT", "-1", "QUEUE_LIMIT is '-1'; give a whole number from 1 on"),
        ("QUEUE_LIMIT", "9" * 20, f"QUEUE_LIMIT is '{'9' * 20}'; give a whole number from 1 on"),
        ("TOKEN_SIDE", "63", "TOKEN_SIDE is 63; give 64 or more, or 0"),
        ("TOKEN_SIDE", "-1", "TOKEN_SIDE is '-1'; give a whole number from 0 on"),
        ("FETCH_SECONDS", "soon", "FETCH_SECONDS is 'soon'; give a number above 0"),
        ("FETCH_SECONDS", "nan", "FETCH_SECONDS is 'nan'; give a number above 0"),
        ("FETCH_SECONDS", "inf", "FETCH_SECONDS is 'inf'; give a number above 0"),
        ("FETCH_SECONDS", "-0.5", "FETCH_SECONDS is '-0.5'; give a number above 0"),
        (
            "COG_URLS",
            "http://a b:80",
            "COG_URLS has 'b:80'; give a URL such as https://sd.example.com",
        ),
        (
            "COG_URLS",
            "http://a?b",
            "COG_URLS has 'http://a?b'; give a URL such as https://sd.example.com",
        ),
        (
            "PUBLIC_URL",
            "sd.example.com",
            "PUBLIC_URL has 'sd.example.com'; give a URL such as https://sd.example.com",
        ),
        (
            "ALLOWED_ORIGINS",
            "*",
            "ALLOWED_ORIGINS has '*'; give a URL such as https://sd.example.com",
        ),
        (
            "ALLOWED_ORIGINS",
            "null",
            "ALLOWED_ORIGINS has 'null'; give a URL such as https://sd.example.com",
        ),
        (
            "ALLOWED_ORIGINS",
            "http://[",
            "ALLOWED_ORIGINS has 'http://['; give a URL such as https://sd.example.com",
        ),
        (
            "ALLOWED_ORIGINS",
            "https://example.com?a",
            "ALLOWED_ORIGINS has 'https://example.com?a'; "
            "give a URL such as https://sd.example.com",
        ),
        (
            "ALLOWED_NETWORKS",
            "10.0.0.0/8 intranet",
            "ALLOWED_NETWORKS has 'intranet'; give networks such as 10.1.0.0/16",
        ),
        (
            "ALLOWED_NETWORKS",
            "10.0.0.1/8",
            "ALLOWED_NETWORKS has '10.0.0.1/8'; give networks such as 10.1.0.0/16",
        ),
    ],
)
def test_what_cannot_be_is_told(variable: str, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**{variable: text})
    assert str(caught.value) == sentence


def test_an_allowed_origin_is_as_a_browser_sends_it() -> None:
    assert read(ALLOWED_ORIGINS="https://example.com/").allowed_origins == ("https://example.com",)


def test_the_database_is_a_file_in_the_folder(tmp_path: Path) -> None:
    assert Settings(data=tmp_path).database == tmp_path.resolve() / "predictions.db"
    url = "postgresql://me@db/sd"
    assert Settings(data=tmp_path, database_url=url).database == url


@pytest.mark.parametrize(
    "url", ["mysql://me:secret@db/sd", "me:secret@db", "postgres://a:secret@b"]
)
def test_a_database_that_is_not_postgresql_is_refused_and_no_password_told(url: str) -> None:
    with pytest.raises(
        SettingsError, match="DATABASE_URL does not begin with postgresql://"
    ) as one:
        read(DATABASE_URL=url)
    assert "secret" not in str(one.value)


def test_the_hosts_are_this_machine_and_what_was_set() -> None:
    local = {"127.0.0.1", "localhost", "[::1]"}
    assert read().hosts == local
    assert read(ALLOWED_HOSTS="GPU.example").hosts == {*local, "gpu.example"}
    assert read(PUBLIC_URL="https://SD.example.com:8443").hosts == {*local, "sd.example.com"}


def test_networks_are_read() -> None:
    networks = read(ALLOWED_NETWORKS="10.1.0.0/16,fd00::/8").networks
    assert [str(one) for one in networks] == ["10.1.0.0/16", "fd00::/8"]


@pytest.mark.parametrize(
    ("netloc", "host"),
    [
        ("example.com", "example.com"),
        ("Example.COM:80", "example.com"),
        ("[::1]", "[::1]"),
        ("[::1]:80", "[::1]"),
        ("example.com:80:80", "example.com:80"),
        ("example.com:", "example.com:"),
        ("example.com:http", "example.com:http"),
        ("", ""),
    ],
)
def test_a_port_is_taken_away_and_nothing_else(netloc: str, host: str) -> None:
    assert bare_host(netloc) == host


@pytest.mark.parametrize(
    "text",
    ["ada=ink", "[]", '"ada"', '{"ada": "ink"}', '{"ada": [1]}', '{"ada": null}', "[" * 9999],
)
def test_loras_of_tokens_are_lists_of_names(text: str) -> None:
    with pytest.raises(SettingsError, match=r'^TOKEN_LORAS must be JSON, .* give such as \{"ada"'):
        read(TOKEN_LORAS=text)


def test_a_token_without_an_entry_may_use_every_lora() -> None:
    settings = read(TOKEN_LORAS='{"ada": ["ink", "ink"], "bob": []}')
    assert settings.loras_of("ada") == frozenset({"ink"})
    assert settings.loras_of("bob") == frozenset()
    assert settings.loras_of("eve") is None
    assert read().loras_of("ada") is None
