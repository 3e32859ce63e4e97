"""Download models of weights/manifest.json from the Hugging Face hub, checked and resumable.

Only the files that are loaded are taken, in half precision where the repository has it. What the
manifest does not know of them is written to weights/lock.json, which holds every later download
to the same files. An interrupted download resumes where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, hf_hub_url, set_client_factory
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

WEIGHTS = {
    "text_encoder": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "depth_estimator": "model",
    "safety_checker": "model",
}
"""The components with weights, and the names of their files without the suffix."""
BROKEN_ANSWERS = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What the library raises for answers that are no JSON, or JSON of another form."""


class DownloadError(Exception):
    """A model could not be downloaded; the message says what to do."""


def main() -> int:
    """Download the models named on the command line; return the exit status."""
    try:
        entries = catalogue.entries()
    except catalogue.WeightsError as error:
        print(error, file=sys.stderr)
        return 1
    names = [name for name, entry in entries.items() if "repository" in entry]
    parser = argparse.ArgumentParser(
        prog="scripts/download-weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="models:\n"
        + "\n".join(
            f"  {name:30}{entries[name]['task']:12}{entries[name].get('licence', '')}"
            for name in names
        ),
    )
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        default=[catalogue.TASKS["img2img"].preferred],
        help="see below",
    )
    asked = parser.parse_args().models
    for name in asked:
        if name not in names:
            print(f"there is no model {name!r} to download: see --help", file=sys.stderr)
            return 2
    for name in asked:
        try:
            download(name)
        except (DownloadError, catalogue.WeightsError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print(f"\n{name}: stopped; run this again to resume", file=sys.stderr)
            return 130
    return 0


def download(name: str) -> Path:
    """Download one model of the manifest into `weights/`, or what is missing of it.

    Raises:
        DownloadError: saying what to do about it.
        WeightsError: when the manifest or the lock can't be read.
    """
    set_client_factory(_client)
    entry, lock = catalogue.entries()[name], catalogue.locked().get(name, {})
    source = {key: entry[key] for key in ("repository", "revision") if key in entry}
    if not source.items() <= lock.items():
        lock = {}  # There is none, or the manifest has come to name another source.
    repository = entry["repository"]
    revision = lock.get("revision") or entry.get("revision") or "main"
    folder = catalogue.WEIGHTS / name
    print(f"{name}: {repository} at {revision[:12]}, licence {entry.get('licence', 'unknown')}")
    try:
        commit, on_hub = _listing(repository, revision)
        files = {}
        for file in wanted(on_hub, entry["task"]):
            files[file] = on_hub[file]
            for record in (lock, entry):
                files[file] |= record.get("files", {}).get(file, {})
        _check_room(folder, files)
        found = {}
        for file, known in files.items():
            url = hf_hub_url(repository, file, revision=commit)
            found[file] = _download_file(url, folder / file, known)
        _write_lock(name, {"repository": repository, "revision": commit, "files": found})
    except GatedRepoError:
        raise DownloadError(
            f"its owner requires you to accept the licence first: do so on the hub's page of "
            f"{repository}, then set HF_TOKEN to a token of your account"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError, DisabledRepoError):
        # What its owner has withdrawn the hub answers like what is private.
        raise DownloadError(
            f"the hub has no public repository {repository} with the revision {revision}; if you "
            "were given access, set HF_TOKEN, else put another source into weights/manifest.json"
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
    return folder


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


def _listing(repository: str, revision: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the commit that a revision is, and size and sha256 of its files; None if unknown."""
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
        if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", sibling.rfilename, re.ASCII):
            files[sibling.rfilename] = {"size": size, "sha256": sha256}
    return info.sha, files


def wanted(files: Iterable[str], task: str) -> list[str]:
    """Return a repository's files that a task loads; last, the one that marks a complete download.

    Raises:
        DownloadError: when it has another layout, or no weights in the safe format.
    """
    there, components = set(files), catalogue.components(task)
    if "model_index.json" not in there:
        raise DownloadError(
            "its repository has no model_index.json, so its layout is not supported; "
            "put another source into weights/manifest.json"
        )
    for suffix in (".fp16.safetensors", ".safetensors"):
        weights = {f"{name}/{WEIGHTS[name]}{suffix}" for name in components if name in WEIGHTS}
        if weights <= there:
            break
    else:
        raise DownloadError(
            "its repository has no complete set of safetensors files; the older formats can run "
            "code when they are read, and are not taken"
        )
    configurations = {
        file
        for file in there
        if file.count("/") == 1
        and file.partition("/")[0] in components
        and file.endswith((".json", ".txt"))
        and not file.endswith(".index.json")
    }
    return [*sorted(configurations), *sorted(weights), "model_index.json"]


def _check_room(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    have = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    need = sum(known["size"] or 0 for known in files.values()) - have
    free = shutil.disk_usage(folder).free
    if need > free:
        raise DownloadError(
            f"it needs {need / 1e9:.1f} GB and the disk of {folder} has {free / 1e9:.1f} GB left; "
            "free some space and run this again to resume"
        )


def _download_file(url: str, path: Path, known: dict[str, Any]) -> dict[str, Any]:
    """Download one file, unless it is there; return its size and hash.

    Args:
        known: size and sha256 that it must have; None where unknown.
    """
    if path.exists():
        require_regular(path)
        found = _measure(path)
        if not _difference(found, known):
            return found
        path.unlink()
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as file:
        if known["size"] is None or file.tell() < known["size"]:
            http_get(
                url,
                file,
                resume_size=file.tell(),
                headers=build_hf_headers(),
                displayed_filename=str(path.relative_to(catalogue.WEIGHTS)),
            )
    found = _measure(part)
    if difference := _difference(found, known):
        part.unlink()
        raise DownloadError(
            f"{path.relative_to(catalogue.WEIGHTS)} is not the file on record: {difference}. It "
            "was removed; run this again, and if this happens again, don't trust the source"
        )
    part.rename(path)
    return found


def _measure(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": sha256}


def _difference(found: dict[str, Any], known: dict[str, Any]) -> str | None:
    for what, value in found.items():
        if known[what] not in (None, value):
            return f"its {what} is {value}, not {known[what]}"
    return None


def _write_lock(name: str, entry: dict[str, Any]) -> None:
    path = catalogue.WEIGHTS / "lock.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(catalogue.locked() | {name: entry}, indent=2, sort_keys=True) + "\n")
    part.rename(path)


if __name__ == "__main__":
    sys.exit(main())
