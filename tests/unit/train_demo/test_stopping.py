"""Signals to a process of its own that listens for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals

import pytest

ROOT = Path(__file__).parents[3]
BEGIN = """
import signal, sys, time
from multiprocessing import Pool
from train_demo.stopping import Stop, Stopped
stop = Stop()
stop.listen()
"""
IN_A_STEP = """
stop.is_awaited = True
print("ready", flush=True)
while not stop.number:
    time.sleep(0.01)
print("the step was taken", flush=True)
"""
IN_A_LONG_STEP = """
try:
    stop.is_awaited = True
    print("ready", flush=True)
    while not stop.number:
        time.sleep(0.01)
    print("heard", flush=True)
    while True:
        time.sleep(0.01)
except Stopped as stopped:
    sys.exit(128 + stopped.number)
"""
ELSEWHERE = """
try:
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
except Stopped as stopped:
    sys.exit(128 + stopped.number)
"""
WITH_OTHERS = """
try:
    with Pool(2) as pool:
        pool.map(abs, range(100))
        pool.map_async(time.sleep, [1000] * 2)
        print("ready", flush=True)
        while True:  # Not one long sleep: a signal just before it would be heard after it.
            time.sleep(0.01)
except Stopped as stopped:
    sys.exit(128 + stopped.number)
"""
WHILE_IT_STARTS = """
import os, signal
from train_demo.stopping import Stop

reading, writing = os.pipe()
os.register_at_fork(after_in_child=lambda: os.read(reading, 1))
Stop().listen()
child = os.fork()
if not child:
    signal.pause()
os.kill(child, signal.SIGTERM)
os.write(writing, b"on")
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def started(program: str, ignored: tuple[Signals, ...] = ()) -> subprocess.Popen[str]:
    """Starts a program, and returns when it is ready."""

    def set_up() -> None:
        for number in (SIGINT, SIGTERM, SIGHUP):
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=set_up,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
def test_a_signal_stops(number: Signals) -> None:
    with started(ELSEWHERE) as process:
        process.send_signal(number)
        assert process.wait() == 128 + number


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
def test_a_step_is_taken_to_its_end(number: Signals) -> None:
    with started(IN_A_STEP) as process:
        process.send_signal(number)
        assert process.communicate()[0] == "the step was taken\n"
        assert process.returncode == 0


def test_in_the_background_of_a_script_it_stops_too() -> None:
    with started(ELSEWHERE, ignored=(SIGINT,)) as process:
        process.send_signal(SIGINT)
        assert process.wait() == 128 + SIGINT


def test_with_nohup_it_outlives_the_terminal() -> None:
    with started(IN_A_STEP, ignored=(SIGHUP,)) as process:
        process.send_signal(SIGHUP)
        process.send_signal(SIGTERM)
        assert process.communicate()[0] == "the step was taken\n"
    with started(ELSEWHERE, ignored=(SIGHUP,)) as process:
        process.send_signal(SIGHUP)
        process.send_signal(SIGTERM)
        assert process.wait() == 128 + SIGTERM


def test_a_second_signal_does_not_wait_for_the_step() -> None:
    with started(IN_A_LONG_STEP) as process:
        process.send_signal(SIGTERM)
        assert process.stdout
        assert process.stdout.readline() == "heard\n"
        process.send_signal(SIGTERM)
        assert process.wait() == 128 + SIGTERM


def test_ctrl_c_in_a_terminal_ends_all_its_processes_without_a_word() -> None:
    with started(WITH_OTHERS) as process:
        os.killpg(process.pid, SIGINT)
        out, err = process.communicate()
        assert (out, err) == ("", "")
        assert process.returncode == 128 + SIGINT
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)


def test_another_process_can_be_ended_while_it_starts() -> None:
    command = [sys.executable, "-c", WHILE_IT_STARTS]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (told.stdout, told.stderr) == (f"{-SIGTERM}\n", "")
