"""The download of LoRAs and embeddings, each one file of a repository of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import hf_hub_url

from commands import adapter_files, hub
from commands.hub import DownloadError
from stable_diffusion import catalogue
from stable_diffusion.json_files import require_regular
from stable_diffusion.weight_files import require_safetensors

FILES = re.compile(r"(?!/)(?!(.*/)?\.\.(/|$))[^\x00-\x1f\\]{1,400}")
"""Of repositories: their names are part of an address, and go on record."""
USUAL = (
    "adapter_model",
    "diffusion_pytorch_model",
    "learned_embeds",
    "lora",
    "model",
    "pytorch_lora_weights",
)
"""Names of files that say nothing; the repository's is taken instead."""
OTHERWISE = "name another repository"
NOTHING = {"size": None, "sha256": None}
MOST_NAMED = 8
"""Files of a repository that an error names."""


@dataclass(frozen=True)
class Wanted:
    """A file to be downloaded.

    folder: loras or embeddings.
    repository: of the hub.
    file: in it; "" where it is to have but one.
    name: that it is to have here; "" where its own will do.
    """

    folder: str
    repository: str
    file: str
    name: str

    def __str__(self) -> str:
        return f"{self.repository}/{self.file}" if self.file else self.repository

    @classmethod
    def of(cls, folder: str, text: str, name: str | None) -> Wanted:
        """Read OWNER/NAME or OWNER/NAME/FILE.

        Raises:
            ValueError: when it is something else, or can't have that name.
        """
        found = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:/(.+))?", text, re.ASCII)
        if not found or not FILES.fullmatch(found[2] or "one"):
            raise ValueError(
                f"{text[:200]!r} is no file of the hub: give OWNER/NAME or OWNER/NAME/FILE; what "
                f"is from elsewhere is put into the folder of {folder} by hand"
            )
        if name is not None:
            adapter_files.require_name(name)
        return cls(folder, found[1], found[2] or "", name or "")


def download(wanted: Wanted) -> Path:
    """Download a LoRA or an embedding, unless it is there; return its file.

    Raises:
        DownloadError: saying what to do about it.
        SetupError: when the environment names no folder for it.
        WeightsError: when the lock can't be read.
    """
    repository = wanted.repository
    with hub.answering(repository, "main", OTHERWISE):
        commit, on_hub = hub.listing(repository, "main", FILES)
        file = _file(wanted, on_hub)
        name, suffix = wanted.name or _name(repository, file), PurePosixPath(file).suffix.lower()
        path = catalogue.folder_of(wanted.folder) / f"{name}{suffix}"
        key = f"{wanted.folder}/{path.name}"
        record = catalogue.locked().get(key, {})
        if record.get("repository") == repository and file in record.get("files", {}):
            commit, on_hub = hub.listing(repository, record.get("revision", commit), FILES)
            known = {**on_hub.get(file, NOTHING), **record["files"][file]}
        else:
            known = on_hub[file]
        _require_free(wanted.folder, path, known)
        print(f"{name}: {file} of {repository} at {commit[:12]}; its licence is on the hub's page")
        part = path.with_name(f"{path.name}.part")
        if known["sha256"] is None:
            part.unlink(missing_ok=True)  # nothing would tell that it is the half of another file
        have = part.stat().st_size if part.exists() else 0
        hub.check_room(path.parent, (known["size"] or 0) - have)
        url = hf_hub_url(repository, file, revision=commit)
        check = require_safetensors if suffix == ".safetensors" else require_regular
        found = hub.download_file(url, path, known, check)
        entry = {"repository": repository, "revision": commit, "files": {file: found}}
        hub.write_lock(key, entry)
    return path


def _file(wanted: Wanted, on_hub: Iterable[str]) -> str:
    """Return the repository's file that is wanted: the one that is named, or its only one."""
    suffixes = adapter_files.SUFFIXES[wanted.folder]
    fitting = sorted(file for file in on_hub if file.lower().endswith(suffixes))
    if wanted.file in fitting:
        return wanted.file
    safe = [file for file in fitting if file.lower().endswith(".safetensors")]
    for files in (safe, fitting):
        if len(files) == 1 and not wanted.file:
            return files[0]
    if not fitting:
        raise DownloadError(f"{wanted.repository} has no file that ends in {' or '.join(suffixes)}")
    listed = ", ".join(fitting[:MOST_NAMED]) + (" …" if len(fitting) > MOST_NAMED else "")
    if wanted.file:
        raise DownloadError(f"{wanted.repository} has no such file; it has {listed}")
    raise DownloadError(f"it has several files: add the name of one, /{listed}")


def _name(repository: str, file: str) -> str:
    """Return the name of a file here: its own, or where that says nothing, its repository's."""
    stem = PurePosixPath(file).stem
    name = repository.partition("/")[2] if stem in USUAL else stem
    try:
        adapter_files.require_name(name)
    except ValueError as error:
        raise DownloadError(f"{error}; or give --as another") from None
    return name


def _require_free(folder: str, path: Path, known: Mapping[str, Any]) -> None:
    """Check that a name is free, or has the very file."""
    for there in adapter_files.named(folder, path.stem):
        if there != path or there.is_symlink() or known["sha256"] != hub.measure(there)["sha256"]:
            raise DownloadError(
                f"{there} is there and is another file: give --as another name, or move it away"
            )
