from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from stable_diffusion import images
from stable_diffusion.decoder_processes import Budget, DecoderProcesses, Limits
from stable_diffusion.request import InputError
from tests.support.pictures import picture_of, same
from tests.support.server import until

LIMITS = Limits()


def reading(path: object, name: str = "image") -> Any:
    def work(*, read_picture: Any) -> Any:
        return read_picture(name, path)

    return work


def read(path: object, name: str = "image", limits: Limits = LIMITS) -> Any:
    return asyncio.run(DecoderProcesses(8, limits).run(reading(path, name)))


def refusal(path: object, limits: Limits = LIMITS) -> str:
    with pytest.raises(InputError) as caught:
        read(path, limits=limits)
    return str(caught.value)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "ordinary.png"
    picture_of("RGBA").save(path)
    return path


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG whose header tells nothing odd, and which takes seconds to decode."""
    file = io.BytesIO()
    Image.new("L", (8000, 8000), 99).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    path = tmp_path_factory.mktemp("pictures") / "slow.jpg"
    path.write_bytes(data[:-2] + scan * 90 + data[-2:])
    return path


def decoding(processes: int) -> Callable[[], bool]:
    return lambda: len(multiprocessing.active_children()) == processes


def test_a_picture_and_a_mask_are_read_as_in_this_process(picture: Path) -> None:
    apart, notes = read(picture)
    assert same(apart, images.read_image(picture))
    assert notes == []
    mask, notes = read(picture, "mask")
    assert (mask.mode, notes) == ("L", images.read_picture("mask", picture)[1])
    assert notes


def test_what_is_wrong_with_a_file_is_said_as_in_this_process(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no picture")
    for source in (tmp_path / "text", "/etc/passwd"):
        with pytest.raises(InputError) as caught:
            images.read_image(source)
        assert refusal(source) == str(caught.value)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing")


def test_a_picture_that_takes_too_long_is_refused(slow: Path) -> None:
    limits = Limits(header_seconds=1, pixels_a_second=10**9)
    assert refusal(slow, limits).startswith("image: the picture takes too long to read")


def test_a_picture_that_takes_too_much_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (6000, 6000)).save(path)
    limits = Limits(header_bytes=2**24, pixel_bytes=1)
    assert refusal(path, limits).startswith("image: the picture takes too much memory")
    assert read(path)[0].size == (6000, 6000)


def test_an_ordinary_picture_does_not_wait_for_slow_ones(slow: Path, picture: Path) -> None:
    async def main() -> None:
        decoders = DecoderProcesses(8)
        held_up = [asyncio.create_task(decoders.run(reading(slow))) for _ in range(4)]
        await asyncio.to_thread(until, decoding(4))
        assert (await decoders.run(reading(picture)))[0].size == (128, 128)
        assert not any(task.done() for task in held_up)
        for task in held_up:
            task.cancel()
        await asyncio.gather(*held_up, return_exceptions=True)
        await asyncio.to_thread(until, decoding(0))

    asyncio.run(main())


def test_a_cancel_ends_a_picture_at_once(slow: Path) -> None:
    async def main() -> None:
        task = asyncio.create_task(DecoderProcesses(8).run(reading(slow)))
        await asyncio.to_thread(until, decoding(1))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(until, decoding(0))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("number", "fault"),
    [(signal.SIGKILL, MemoryError), (signal.SIGTERM, OSError), (signal.SIGSEGV, InputError)],
)
def test_only_a_decoder_that_trips_is_the_pictures_fault(
    slow: Path, number: int, fault: type[Exception]
) -> None:
    async def main() -> None:
        task = asyncio.create_task(DecoderProcesses(8).run(reading(slow)))
        await asyncio.to_thread(until, decoding(1))
        (process,) = multiprocessing.active_children()
        assert process.pid is not None
        os.kill(process.pid, number)
        with pytest.raises(fault):
            await task

    asyncio.run(main())


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_server_of_decoders_that_hangs_or_ended_is_made_anew(
    picture: Path, number: signal.Signals
) -> None:
    async def main() -> None:
        decoders = DecoderProcesses(8, start_seconds=5 if number == signal.SIGSTOP else 60)
        before = server_of_decoders()
        os.kill(before, number)
        read_at_once = (decoders.run(reading(picture)) for _ in range(4))
        for result in await asyncio.wait_for(asyncio.gather(*read_at_once), 60):
            assert result[0].size == (128, 128)
        assert server_of_decoders() != before

    asyncio.run(main())


def server_of_decoders() -> int:
    """The process that forks decoders: a child of this one."""
    (process,) = (
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE
        and "multiprocessing.forkserver" in " ".join(child.cmdline())
    )
    return process.pid


def claim(budget: Budget, size: int, is_given_up: Callable[[], bool] = lambda: False) -> Any:
    """Claim in a thread; return what tells whether it has been granted, and what ends it."""
    granted, end = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with budget.claim(size, is_given_up):
                granted.set()
                end.wait(10)
        except asyncio.CancelledError:
            end.set()

    thread = threading.Thread(target=hold)
    thread.start()

    def finish() -> None:
        end.set()
        thread.join()

    return granted, finish, end


def test_all_pictures_share_one_budget() -> None:
    budget = Budget(total=10, large=8)
    first, end_first, _ = claim(budget, 6)
    assert first.wait(5)
    second, end_second, _ = claim(budget, 5)
    assert not second.wait(0.1)
    third, end_third, _ = claim(budget, 4)
    assert third.wait(5)
    end_first()
    assert second.wait(5)
    end_second()
    end_third()


def test_large_pictures_take_turns() -> None:
    budget = Budget(total=10, large=2)
    first, end_first, _ = claim(budget, 3)
    assert first.wait(5)
    second, end_second, _ = claim(budget, 3)
    small, end_small, _ = claim(budget, 2)
    assert small.wait(5)
    assert not second.is_set()
    end_first()
    assert second.wait(5)
    end_second()
    end_small()


def test_who_waits_for_memory_can_give_up() -> None:
    budget, given_up = Budget(total=10), threading.Event()
    _, end_first, _ = claim(budget, 10)
    _, end_second, has_ended = claim(budget, 10, given_up.is_set)
    given_up.set()
    budget.wake()
    assert has_ended.wait(5)
    end_second()
    end_first()
