from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from train_demo.folder import alone_in, keep_apart
from train_demo.progress import TrainingError

ROOT = Path(__file__).parents[3]
HOLD = """
import os, pathlib, sys
from train_demo.folder import alone_in
with alone_in(pathlib.Path(sys.argv[1])):
    child = os.fork()
    if not child:
        sys.stdin.read()  # outlives its parent
        os._exit(0)
    print(os.getpid(), flush=True)
    sys.stdin.read(1)
    os._exit(0)
"""


def test_two_trainings_in_a_folder_refuse_each_other(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin
        assert other.stdout
        number = other.stdout.readline().strip()
        with (
            pytest.raises(TrainingError, match=f"{tmp_path} .process {number}.: give another"),
            alone_in(tmp_path),
        ):
            pytest.fail("both are in the folder")
        other.kill()
        other.wait()
        # What it forked lives on, and holds nothing.
        with alone_in(tmp_path):
            pass
        other.stdin.close()


def test_a_folder_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), alone_in(tmp_path):
        _ = 1 / 0
    with alone_in(tmp_path):
        pass


def test_a_training_goes_on_with_the_same_settings(tmp_path: Path) -> None:
    for _ in range(2):
        keep_apart(tmp_path, {"names": ("star", "bus"), "batch": {128: 4}, "start": "None"})


def test_other_settings_are_refused_by_their_names(tmp_path: Path) -> None:
    names = tuple("abcdefghijklmnopqrstuvwxyz")
    keep_apart(tmp_path, {"names": names, "layers": 1, "width": 32, "start": "None"})
    with pytest.raises(TrainingError) as refused:
        keep_apart(tmp_path, {"names": names[1:], "layers": 3, "width": 32, "captions": 16})
    text = str(refused.value)
    assert "not the same names; layers there 1, here 3; start there None, here unknown" in text
    assert "captions there unknown, here 16" in text
    assert "width" not in text
    assert "give another --folder, or delete it" in text.lower()


def test_a_checkpoint_of_unknown_settings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "denoiser.pt").touch()
    with pytest.raises(TrainingError, match="layers there unknown, here 3"):
        keep_apart(tmp_path, {"layers": 3})
