"""Download models of weights/manifest.json from the Hugging Face hub, checked and resumable.

Only the files that are loaded are taken, in half precision where the repository has it. What the
manifest does not know of them is written to weights/lock.json, which holds every later download
to the same files. An interrupted download resumes where it stopped.

LoRAs and embeddings are taken from any repository, by --lora and --embedding.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from huggingface_hub import hf_hub_url

from commands import download_adapters, hub
from commands.download_adapters import Wanted
from commands.hub import DownloadError
from stable_diffusion import catalogue

WEIGHTS = {
    "text_encoder": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "depth_estimator": "model",
    "safety_checker": "model",
}
"""The components with weights, and the names of their files without the suffix."""
FLAGS = {"loras": "--lora", "embeddings": "--embedding"}
"""By the folder in `weights/` that their files go into."""
OTHERWISE = "put another source into weights/manifest.json"
"""What to do where a repository is of no use."""


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
    parser.add_argument("models", nargs="*", metavar="MODEL", help="see below")
    for folder, flag in FLAGS.items():
        parser.add_argument(
            flag,
            action="append",
            default=[],
            metavar="OWNER/NAME[/FILE]",
            help=f"one file of a repository of the hub, into weights/{folder} or {folder.upper()}",
        )
    parser.add_argument("--as", dest="name", help="the name of the one LoRA or embedding")
    options = parser.parse_args()
    adapters = [(folder, text) for folder in FLAGS for text in getattr(options, FLAGS[folder][2:])]
    for name in options.models:
        if name not in names:
            print(f"there is no model {name!r} to download: see --help", file=sys.stderr)
            return 2
    if options.name is not None and len(adapters) != 1:
        print("--as names one LoRA or embedding: give it with one of them", file=sys.stderr)
        return 2
    try:
        wanted_adapters = [Wanted.of(*adapter, options.name) for adapter in adapters]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    preferred = [] if adapters else [catalogue.TASKS["img2img"].preferred]
    downloads: list[tuple[str, Callable[[], object]]] = [
        *((name, partial(download, name)) for name in options.models or preferred),
        *((str(one), partial(download_adapters.download, one)) for one in wanted_adapters),
    ]
    for name, fetch in downloads:
        try:
            fetch()
        except (DownloadError, catalogue.SetupError) as error:
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
    entry, lock = catalogue.entries()[name], catalogue.locked().get(name, {})
    source = {key: entry[key] for key in ("repository", "revision") if key in entry}
    if not source.items() <= lock.items():
        lock = {}  # There is none, or the manifest has come to name another source.
    repository = entry["repository"]
    revision = lock.get("revision") or entry.get("revision") or "main"
    folder = catalogue.WEIGHTS / name
    print(f"{name}: {repository} at {revision[:12]}, licence {entry.get('licence', 'unknown')}")
    with hub.answering(repository, revision, OTHERWISE):
        commit, on_hub = hub.listing(repository, revision)
        files = {}
        for file in wanted(on_hub, entry["task"]):
            files[file] = on_hub[file]
            for record in (lock, entry):
                files[file] |= record.get("files", {}).get(file, {})
        have = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        hub.check_room(folder, sum(known["size"] or 0 for known in files.values()) - have)
        found = {}
        for file, known in files.items():
            url = hf_hub_url(repository, file, revision=commit)
            found[file] = hub.download_file(url, folder / file, known)
        hub.write_lock(name, {"repository": repository, "revision": commit, "files": found})
    return folder


def wanted(files: Iterable[str], task: str) -> list[str]:
    """Return a repository's files that a task loads; last, the one that marks a complete download.

    Raises:
        DownloadError: when it has another layout, or no weights in the safe format.
    """
    there, components = set(files), catalogue.components(task)
    if "model_index.json" not in there:
        raise DownloadError(
            f"its repository has no model_index.json, so its layout is not supported; {OTHERWISE}"
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


if __name__ == "__main__":
    sys.exit(main())
