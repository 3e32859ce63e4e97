"""Every setting of the hosted front, from the environment."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FOLDER = Path(__file__).parent.parent / "data"

MAY_BE_ZERO = (
    "RETENTION_DAYS",
    "STOP_SECONDS",
    "IDLE_MINUTES",
    "TOKEN_SIDE",
    "TOKEN_STEPS",
    "TOKEN_IMAGES",
    "TOKEN_PREDICTIONS_A_DAY",
    "TOKEN_MEGAPIXEL_STEPS_A_DAY",
)
LEAST_SIDE_PIXELS = 64
"""Of what is drawn."""
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


SCHEME = "postgresql://"


class SettingsError(ValueError):
    """A sentence for the person who set it."""


def _setting(default: Any, description: str) -> Any:
    """Return a field that is read from the environment variable of its name in capitals."""
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True)
class Settings:
    """The front's settings. Each field is read from the variable of its name in capitals."""

    cog_urls: tuple[str, ...] = _setting(
        (), "Cog servers that run already, instead of ones that the front starts"
    )
    cog_slots: int = _setting(
        8, "predictions at once that each of COG_URLS takes; a cluster says itself how many"
    )
    data: Path = _setting(FOLDER, "the folder that the front keeps everything in")  # noqa: RUF009
    database_url: str = _setting(
        "", "PostgreSQL for several fronts, instead of a file in DATA: postgresql://user@host/name"
    )
    public_url: str = _setting(
        "", "how clients reach the front, such as https://sd.example.com; else as they ask for it"
    )
    allowed_hosts: tuple[str, ...] = _setting((), "more names that a request's Host may have")
    allowed_origins: tuple[str, ...] = _setting(
        (), "pages of others that may use the API from a browser, such as https://example.com"
    )
    allowed_networks: tuple[str, ...] = _setting(
        (), "networks that images and webhooks may be in although they are not public: 10.1.0.0/16"
    )
    requests_per_minute: int = _setting(3000, "requests that each token may make a minute")
    queue_limit: int = _setting(100, "unfinished predictions that each token may have")
    batch_limit: int = _setting(
        1000, "unfinished predictions of batches that each token may have, besides"
    )
    most_images: int = _setting(10, "images that a prediction may have by APIs that allow many")
    upload_megabytes: int = _setting(100, "MiB that a request's body may have")
    image_megabytes: int = _setting(64, "MiB that an image may have, fetched or sent")
    fetch_seconds: float = _setting(30.0, "seconds that fetching an image may take")
    retention_days: float = _setting(30.0, "days that finished predictions are kept; 0 is for ever")
    upload_hours: float = _setting(24.0, "hours that uploaded files are kept")
    kept_megabytes: int = _setting(
        2000, "MiB of uploads and of predictions' input files that each token may have at a time"
    )
    link_hours: float = _setting(24.0, "hours that the link to a file is good for")
    token_side: int = _setting(0, "px a side that a token may have drawn; 0 is no limit")
    token_steps: int = _setting(0, "steps that a token may ask for; 0 is no limit")
    token_images: int = _setting(0, "images of a prediction that a token may ask for; 0: no limit")
    token_models: tuple[str, ...] = _setting((), "models that a token may ask for; all if none is")
    token_predictions_a_day: int = _setting(
        0, "predictions that a token may ask for in 24 hours; 0 is no limit"
    )
    token_megapixel_steps_a_day: int = _setting(
        0, "millions of pixels × steps × images that it may ask for in 24 hours; 0 is no limit"
    )
    token_loras: str = _setting(
        "", 'LoRAs that each token named may use, as JSON: {"ada": ["blueprint"], "bob": []}'
    )
    idle_minutes: float = _setting(
        0.0,
        "minutes without a prediction after which a Cog server that the front has started gives "
        "its card back, until the next one; 0 is never",
    )
    stop_seconds: float = _setting(30.0, "seconds that running predictions get when it is stopped")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Return the settings of the environment; what it lacks or leaves empty is default.

        Raises:
            SettingsError: naming the variable, what it is and what is allowed.
        """
        values = {}
        for known in fields(cls):
            name = known.name.upper()
            text = environment.get(name, "").strip()
            if text:
                values[known.name] = _read(name, text, known.default)
        settings = cls(**values)
        settings._check()
        return settings

    def _check(self) -> None:
        for url in self.cog_urls:
            _check_url("COG_URLS", url, has_path=True)
        for url in self.allowed_origins:
            _check_url("ALLOWED_ORIGINS", url)
        if self.database_url and not self.database_url.startswith(SCHEME):
            raise SettingsError(  # it may have a password in it
                f"DATABASE_URL does not begin with {SCHEME}; give a URL such as "
                f"{SCHEME}user:password@host/name, or none to keep everything in DATA"
            )
        if not _is_lists_of_names(self.token_loras):
            raise SettingsError(
                "TOKEN_LORAS must be JSON, by the tokens' names lists of LoRAs' names; "
                'give such as {"ada": ["blueprint", "ink"], "bob": []}'
            )
        if 0 < self.token_side < LEAST_SIDE_PIXELS:
            raise SettingsError(
                f"TOKEN_SIDE is {self.token_side}; give {LEAST_SIDE_PIXELS} or more, or 0"
            )
        if self.public_url:
            _check_url("PUBLIC_URL", self.public_url)
        for network in self.allowed_networks:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise SettingsError(
                    f"ALLOWED_NETWORKS has {network!r}; give networks such as 10.1.0.0/16"
                ) from None

    @property
    def database(self) -> Path | str:
        """The database: SQLite's file, or PostgreSQL's URL."""
        return self.database_url or self.data.resolve() / "predictions.db"

    @property
    def kept_bytes(self) -> int:
        """`kept_megabytes` in bytes."""
        return self.kept_megabytes * 2**20

    def loras_of(self, token_name: str) -> frozenset[str] | None:
        """Return the names of the LoRAs that a token may use; None is all."""
        if not self.token_loras:
            return None
        names: list[str] | None = json.loads(self.token_loras).get(token_name)
        return None if names is None else frozenset(names)

    @property
    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """`allowed_networks`, read."""
        return tuple(ipaddress.ip_network(network) for network in self.allowed_networks)

    @property
    def hosts(self) -> frozenset[str]:
        """The names, without a port, that a request's Host may have, besides where it listens."""
        public = {bare_host(urlsplit(self.public_url).netloc)} if self.public_url else set()
        return frozenset({*LOOPBACK_NAMES, *map(str.lower, self.allowed_hosts), *public})


def bare_host(netloc: str) -> str:
    """Return a host's name as a Host header has it, without its port."""
    name, colon, port = netloc.lower().rpartition(":")
    return name if colon and port.isdecimal() else netloc.lower()


def _read(name: str, text: str, default: Any) -> Any:
    if isinstance(default, tuple):
        parts = tuple(part.rstrip("/") for part in text.replace(",", " ").split())
        return parts if name == "COG_URLS" else tuple(map(str.lower, parts))
    if isinstance(default, (int, float)):
        try:
            number = type(default)(text)
        except ValueError:
            number = -1
        if not (0 < number < 1e9 or (number == 0 and name in MAY_BE_ZERO)):
            kind = "whole number from 1 on" if isinstance(default, int) else "number above 0"
            if name in MAY_BE_ZERO:
                kind = kind.split(" from ")[0].removesuffix(" above 0") + " from 0 on"
            raise SettingsError(f"{name} is {text!r}; give a {kind}")
        return number
    return Path(text) if isinstance(default, Path) else text.rstrip("/")


def _is_lists_of_names(text: str) -> bool:
    """Return whether a text is a JSON object of lists of texts, or empty."""
    try:
        document = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names)
        for names in document.values()
    )


def _check_url(name: str, url: str, has_path: bool = False) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if (
        parts.scheme not in ("http", "https")
        or not parts.netloc
        or (parts.path.strip("/") and not has_path)
        or parts.query
    ):
        raise SettingsError(f"{name} has {url!r}; give a URL such as https://sd.example.com")
