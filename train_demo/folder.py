"""The folder of a training's working files: one training's only, and one program's at a time."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from train_demo.progress import TrainingError

LONGEST_SHOWN = 60
"""Characters of a setting's value up to which an error shows it."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other trainings out of `folder` in this block.

    Raises:
        TrainingError: another one runs there.
    """
    with (folder / "lock").open("a+") as file:
        try:
            # By lockf: processes that this one forks and leaves behind don't hold the lock.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise TrainingError(
                f"another training runs in {folder} (process {file.read()}): "
                "give another --folder, or stop that one"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def keep_apart(folder: Path, settings: Mapping[str, Any]) -> None:
    """Note in `folder` the settings that its files depend on.

    Raises:
        TrainingError: the files there depend on others; the message names those that differ.
    """
    file = folder / "settings.json"
    now = json.loads(json.dumps(settings))
    if file.exists():
        before = json.loads(file.read_text())
    else:
        before = {} if (folder / "denoiser.pt").exists() else now
    differing = [
        _difference(name, before, now)
        for name in {**before, **now}
        if name not in before or name not in now or before[name] != now[name]
    ]
    if differing:
        raise TrainingError(
            f"{folder} holds a training with other settings: {'; '.join(differing)}. "
            "Give another --folder, or delete it"
        )
    file.write_text(json.dumps(now, indent=1))


def _difference(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    there, here = (str(each[name]) if name in each else "unknown" for each in (before, now))
    if max(len(there), len(here)) > LONGEST_SHOWN:
        return f"not the same {name}"
    return f"{name} there {there}, here {here}"
