"""Files of the Hugging Face hub: listed, downloaded, checked, and written to weights/lock.json."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, set_client_factory
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]
from huggingface_hub.utils._http import default_client_factory

from stable_diffusion import catalogue
from stable_diffusion.json_files import FileError, error_text, require_regular

BROKEN_ANSWERS = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What the library raises for answers that are no JSON, or JSON of another form."""
NAMES = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
"""Of the files of models."""


class DownloadError(Exception):
    """Something could not be downloaded; the message says what to do."""


@contextmanager
def answering(repository: str, revision: str, otherwise: str) -> Iterator[None]:
    """Set up the library, and turn what goes wrong in the block into a `DownloadError`.

    Args:
        otherwise: what to do where the repository is of no use.
    """
    set_client_factory(_client)
    try:
        yield
    except GatedRepoError:
        raise DownloadError(
            f"its owner requires you to accept the licence first: do so on the hub's page of "
            f"{repository}, then set HF_TOKEN to a token of your account"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError, DisabledRepoError):
        # What its owner has withdrawn the hub answers like what is private.
        raise DownloadError(
            f"the hub has no public repository {repository} with the revision {revision}; if you "
            f"were given access, set HF_TOKEN, else {otherwise}"
        ) from None
    except HfHubHTTPError as error:
        reason = " ".join((error.server_message or error.response.reason_phrase).split())
        raise DownloadError(
            f"the hub answered {error.response.status_code}, {reason}; check HF_TOKEN if you set "
            "it, else run this again later to resume"
        ) from None
    except (httpx2.RequestError, OfflineModeIsEnabled) as error:
        raise DownloadError(
            f"the hub can't be reached ({error}); check the connection and run this again to resume"
        ) from None
    except (OSError, FileError) as error:
        raise DownloadError(f"{error_text(error)}; run this again to resume") from None
    except BROKEN_ANSWERS as error:
        raise DownloadError(
            f"the hub's answer can't be read ({error_text(error)[:200]}); run this again later; if "
            "it happens again, check HF_ENDPOINT and the proxy"
        ) from None


def _client() -> httpx2.Client:
    """Make the library's client, which then also refuses to go on without encryption."""
    client = default_client_factory()
    client.event_hooks["response"].append(_refuse_plain_text)
    return client


def _refuse_plain_text(response: httpx2.Response) -> None:
    if not response.has_redirect_location or response.url.scheme != "https":
        return
    try:
        target = response.url.join(response.headers["Location"])
    except httpx2.InvalidURL:
        return  # The client says so itself.
    if target.scheme != "https":
        raise DownloadError(
            f"{response.url.host} leads from https to {target.scheme}, where anybody on the way "
            "could change the files, so nothing was fetched from there; check HF_ENDPOINT and the "
            "proxy, or put another source into weights/manifest.json"
        )


def listing(
    repository: str, revision: str, names: re.Pattern[str] = NAMES
) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the commit that a revision is, and size and sha256 of its files; None if unknown.

    Args:
        names: of the files that are taken note of.
    """
    info = HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=30)
    if not isinstance(info.sha, str) or not re.fullmatch("[0-9a-f]{40}", info.sha):
        raise ValueError("it names no commit")
    files: dict[str, dict[str, Any]] = {}
    for sibling in info.siblings or []:
        size, sha256 = sibling.size, sibling.lfs.sha256 if sibling.lfs else None
        if size is not None and (type(size) is not int or size < 0):
            raise ValueError("it has a size that is none")
        if sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256):
            raise ValueError("it has a hash that is none")
        if names.fullmatch(sibling.rfilename):
            files[sibling.rfilename] = {"size": size, "sha256": sha256}
    return info.sha, files


def check_room(folder: Path, need: int) -> None:
    """Check that there is room for `need` bytes in a folder, which is made.

    Raises:
        DownloadError: when there is not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise DownloadError(
            f"it needs {need / 1e9:.1f} GB and the disk of {folder} has {free / 1e9:.1f} GB left; "
            "free some space and run this again to resume"
        )


def download_file(
    url: str,
    path: Path,
    known: dict[str, Any],
    check: Callable[[Path], object] = require_regular,
) -> dict[str, Any]:
    """Download one file, unless it is there; return its size and hash.

    Args:
        known: size and sha256 that it must have; None where unknown.
        check: is called with the whole file before it gets its name; what it raises removes it.
    """
    if path.exists():
        require_regular(path)
        found = measure(path)
        if not difference_of(found, known):
            return found
        path.unlink()
    shown = path.relative_to(catalogue.WEIGHTS) if path.is_relative_to(catalogue.WEIGHTS) else path
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as file:
        if known["size"] is None or file.tell() < known["size"]:
            http_get(
                url,
                file,
                resume_size=file.tell(),
                headers=build_hf_headers(),
                displayed_filename=str(shown),
            )
    found = measure(part)
    if difference := difference_of(found, known):
        part.unlink()
        raise DownloadError(
            f"{shown} is not the file on record: {difference}. It "
            "was removed; run this again, and if this happens again, don't trust the source"
        )
    try:
        check(part)
    except FileError:
        part.unlink()
        raise
    part.rename(path)
    return found


def measure(path: Path) -> dict[str, Any]:
    """Return the size and the sha256 of a file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": sha256}


def difference_of(found: dict[str, Any], known: dict[str, Any]) -> str | None:
    """Return in words how a file differs from what is known of it; None where it does not."""
    for what, value in found.items():
        if known[what] not in (None, value):
            return f"its {what} is {value}, not {known[what]}"
    return None


def write_lock(name: str, entry: dict[str, Any]) -> None:
    """Put what was downloaded under a name on record, beside all else there."""
    path = catalogue.WEIGHTS / "lock.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(catalogue.locked() | {name: entry}, indent=2, sort_keys=True) + "\n")
    part.rename(path)
