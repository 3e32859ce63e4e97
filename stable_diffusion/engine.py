"""The engine: a loop in which running requests share one UNet call per step.

The loop has a thread of its own. Each turn it puts the images of one kind into common calls of the
UNet, one timestep a row, and every image's sampler takes its step in the same batch. A request
joins at the next step; a cancelled one leaves at the next. On a GPU a turn is queued while the one
before it runs, and pictures are encoded and decoded beside the steps.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Generator, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import torch
from PIL import Image

from stable_diffusion import executors, memory, policy
from stable_diffusion.adapters import Combination
from stable_diffusion.autoencoder import Autoencoder
from stable_diffusion.banks import Bank, Kind, Occupant
from stable_diffusion.canvas import Canvas, notes_on
from stable_diffusion.denoising import Denoising
from stable_diffusion.events import (
    Event,
    Failed,
    Finished,
    Flagged,
    NothingKnown,
    NothingRepainted,
    Picture,
    Preview,
    Progress,
    PromptTruncated,
    Resized,
    TooLarge,
)
from stable_diffusion.installed import Folder
from stable_diffusion.loras import LoraFiles, Place, Places, budget_for, of_unet
from stable_diffusion.measurement import Counts, Measurement
from stable_diffusion.models import Model
from stable_diffusion.mosaic import Mosaic
from stable_diffusion.passes import NextPiece, SecondPass
from stable_diffusion.pixel_upscalers import PixelUpscaler
from stable_diffusion.policy import Between, Room
from stable_diffusion.previews import Estimate, Previews
from stable_diffusion.prompts import Embeddings, Prompts
from stable_diffusion.request import InputError, Request
from stable_diffusion.residency import Residency
from stable_diffusion.safety import NsfwError, SafetyChecker
from stable_diffusion.samplers import Table
from stable_diffusion.side_thread import SideThread
from stable_diffusion.tasks import TASKS, PreparedInputs
from stable_diffusion.textual_inversion import Inversions

NOTHING_DRAWN = "no picture came out: smaller weights or less guidance may help"
DECODED_TOGETHER = 4
"""Pictures that the side thread decodes in one call."""
BACKLOG = 4
"""Pieces of work waiting in the side thread from which on no further request is encoded."""
PREVIEW_SECONDS = 1 / 3
"""Between two previews of a request."""
MOST_OVERTAKING = 8
"""Requests with LoRAs that may begin before one that waits for room for its own."""


class Wake(Enum):
    """The reasons to wake the loop other than a new request."""

    TO_WORK = auto()
    TO_CLOSE = auto()


@dataclass(eq=False)
class Job:
    """A submitted request, whose events go to `listener`.

    table: of its sampler, as soon as it is read.
    loras: with their weights, as soon as they are read; None without any, or when they are placed.
    place: of its LoRAs on the device, from its first step to its last.
    overtaken: by how many others, while it waits for a place.
    denoisings: its images, which take their steps together; none where no step is run.
    following: the pass that comes after this one, if any.
    beginning: what begins the next of its images, piece by piece.
    begun: those that have.
    mosaics: of the images that are drawn in pieces.
    drawn: what is handed out where this pass runs no step, RGB; else nothing.
    began: when the first step of this pass could be taken, in seconds.
    steps_before: of the passes that are over.
    previewed: the number of previews that were begun: of its images, one after another.
    next_preview: when the next one may be, in seconds; None where none is wanted.
    """

    request: Request
    listener: Callable[[Event], None]
    table: Future[Table | None]
    loras: Future[Combination] | None = None
    measurement: Measurement = field(default_factory=Measurement)
    place: Place | None = None
    overtaken: int = 0
    inputs: PreparedInputs | None = None
    denoisings: list[Denoising] = field(default_factory=list)
    following: SecondPass | NextPiece | None = None
    beginning: Generator[None, None, Denoising | Image.Image] | None = None
    begun: list[Denoising | Image.Image] = field(default_factory=list)
    mosaics: list[Mosaic] = field(default_factory=list)
    began: float = 0
    steps_before: int = 0
    told_steps: int = 0
    handed_out: int = 0
    flagged: int = 0
    is_over: bool = False
    previewed: int = 0
    next_preview: float | None = None
    drawn: list[Image.Image] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """The number of steps that each of its images takes."""
        return self.denoisings[0].sampler.steps if self.denoisings else 0

    @property
    def step(self) -> int:
        """The number of those steps that the device was given."""
        return self.denoisings[0].step if self.denoisings else 0

    @property
    def is_beginning(self) -> bool:
        """Whether the pass that follows has begun with some of its images, but not with all."""
        return bool(self.beginning or self.begun)

    def begin_preview(self) -> Denoising | None:
        """Return the image that a preview is to be of now; None where none is due."""
        now = time.monotonic()
        if self.next_preview is None or now < self.next_preview:
            return None
        self.previewed, self.next_preview = self.previewed + 1, now + PREVIEW_SECONDS
        return self.denoisings[(self.previewed - 1) % len(self.denoisings)]

    def cancel(self) -> None:
        """Cancel the job before its next step; at most one event that is under way still comes."""
        self.is_over = True


@dataclass(frozen=True)
class Turn:
    """A turn that the device was given: which jobs took a step, and which step of each.

    done: happens when the device has taken it; None where it has already.
    estimates: by the jobs, what is there from then on.
    """

    steps: list[tuple[Job, int]]
    done: torch.cuda.Event | None
    estimates: dict[Job, Estimate]


class Engine:
    """The engine of one model, which runs requests until it is closed.

    A GPU that has failed for good (an illegal access, say) ends the process with status 1: nothing
    else helps, and whoever started it can start it again.

    Args:
        model: on its device.
        rows: latents of the native size in one UNet call at the most. None takes as many as the
            device's free memory has room for.
        checker: flags pictures that are then left out; None lets all pass.
        executor: how steps are taken, of `executors.NAMES`; None takes what suits the device.
        upscalers: enlarge what was drawn before the second pass, by their names; on the device.
        loras, embeddings: the folders of those that requests may use; None for none.
        previews: makes them, for requests that want them; None where there are none.
        residency: of the models that share the device with this one; None where it is alone.

    Raises:
        SetupError: where the executor can't be used.
    """

    def __init__(
        self,
        model: Model,
        rows: int | None = None,
        checker: SafetyChecker | None = None,
        executor: str | None = None,
        upscalers: Mapping[str, PixelUpscaler] | None = None,
        loras: Folder | None = None,
        embeddings: Folder | None = None,
        previews: Previews | None = None,
        residency: Residency | None = None,
    ) -> None:
        self.model = model
        self.upscalers = dict(upscalers or {})
        self._checker = checker
        self._inbox: SimpleQueue[Job | Wake] = SimpleQueue()
        self._executor = executors.choose(executor, model, lambda: self._inbox.put(Wake.TO_WORK))
        self._autoencoder = Autoencoder(
            model, self._executor.encode, self._executor.decode, self._executor.decode_tiles
        )
        self._task = TASKS[model.weights.task](model, self._autoencoder)
        inversions = Inversions(embeddings, model.pipeline) if embeddings else None
        self._prompts = Prompts(model.pipeline, inversions)
        self._loras = LoraFiles(loras, model.pipeline)
        self._places = Places(self._executor.adapters, budget_for(model))
        self._placed: set[Job] = set()
        self._waiting: list[Job] = []
        self._has_places_changed = False
        self._submitted: deque[Job] = deque()
        self._running: list[Job] = []
        self._finished: deque[Job] = deque()
        self._prepared: deque[Job] = deque()
        self._banks: dict[Kind, Bank] = {}
        self._turns: deque[Turn] = deque()
        self._previews = previews
        self._due: set[Denoising] = set()
        self._estimates: dict[Job, Estimate] = {}
        self._last: Between | None = None
        self._counts = Counts()
        self._side = SideThread(model.device) if model.device.type == "cuda" else None
        self._residency = residency
        self._resident = (
            residency.add(model, lambda: self.is_working, self._rest) if residency else None
        )
        reserved = residency.bytes_to_come if residency else 0
        self._room = Room(memory.room_for(model, rows, reserved))
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def has_checker(self) -> bool:
        """Whether pictures go through the NSFW checker."""
        return self._checker is not None

    @property
    def is_warming(self) -> bool:
        """Whether a faster way to take steps is still being made ready."""
        return self._executor.is_warming

    @property
    def is_working(self) -> bool:
        """Whether it has requests to work on, or a faster way to make ready."""
        if self._executor.has_work or (self._side and self._side.is_working):
            return True
        held = (self._submitted, self._prepared, self._waiting, self._running, self._finished)
        return any(held) or bool(self._turns)

    @property
    def token_limit(self) -> int:
        """The tokens that the model reads of a plain prompt."""
        return self._prompts.token_limit

    def totals(self) -> dict[str, int]:
        """Return what the engine has done since its start, and what it has in place now.

        Returns:
            Numbers: `calls` of the UNet, their `rows`, the `steps` of all images, calls that were
            `replays` of a graph, `captures` of graphs; `combinations` of LoRAs and the `slots` for
            them; on a GPU the bytes that tensors have, `memory_allocated`.
        """
        allocated = memory.memory_allocated(self.model)
        return {
            **vars(self._counts),
            "captures": self._executor.captures,
            "combinations": self._places.taken,
            "slots": self._places.slots,
            **({} if allocated is None else {"memory_allocated": allocated}),
        }

    def tokenizer_file(self) -> Path | None:
        """Return a file of the cache by which the package `tokenizers` counts a prompt's tokens.

        Returns:
            None where there is no space for it.
        """
        return self._prompts.tokenizer_file()

    def submit(
        self, request: Request, listener: Callable[[Event], None], with_previews: bool = False
    ) -> Job:
        """Queue a request and return at once.

        Args:
            listener: takes the events: what was cut from the prompts, the progress after each
                step, the pictures in their order, or that they were flagged, and, last, `Finished`
                or `Failed`. It is called on the engine's threads and must neither block nor raise.
            with_previews: whether the events have previews, too, where the engine makes any.
        """
        course = self._task.course(request, self._task.strength(request))
        table = self._task.samplers.table(course)
        loras = self._loras.read(request.loras) if request.loras else None
        job = Job(request, listener, table, loras)
        job.next_preview = 0 if with_previews and self._previews else None
        arriving = [job]

        def arrive(_: Future[Table | None]) -> None:
            # A table is kept, and what it calls when it is read with it: not the job.
            self._inbox.put(arriving.pop())

        if loras:
            loras.add_done_callback(lambda _: table.add_done_callback(arrive))
        else:
            table.add_done_callback(arrive)
        return job

    def close(self) -> None:
        """End the threads after the current turn; running requests get no more events."""
        self._inbox.put(Wake.TO_CLOSE)
        self._thread.join()
        if self._side:
            self._side.close()
        if self._previews:
            self._previews.close()
        self._executor.close()
        if self._residency and self._resident:
            self._residency.remove(self._resident)

    @torch.inference_mode()
    def _run(self) -> None:
        while self._receive():
            self._drop_what_is_over()
            with self._on_device() as has_turn:
                if has_turn:
                    self._take_turn()

    @contextmanager
    def _on_device(self) -> Iterator[bool]:
        """Have the weights on the device in a block, where others may want to have theirs.

        Yields:
            Whether it has come to that; where there is no memory for them, requests fail.
        """
        if not self._residency or not self._resident:
            yield True
            return
        if not self.is_working:
            self._resident.asked = None
            yield False
            return
        has_begun = False
        with self._contained(*self._submitted, *self._running, *self._finished, *self._waiting):
            has_begun = self._residency.begin(self._resident)
        try:
            yield has_begun
        finally:
            if has_begun:
                self._residency.end()

    def _take_turn(self) -> None:
        if self._side:
            self._work_beside_steps(self._side)
        else:
            self._work_between_steps()
        self._join_prepared()
        self._step()
        if self._executor.has_work:
            self._executor.work()

    def _rest(self) -> None:
        """End what uses the weights outside of turns, and drop what has their addresses."""
        if self._side:
            self._side.drain()
        self._executor.release()

    def _receive(self) -> bool:
        """Read the inbox, and wait for it where there is nothing to do; return False to close."""
        is_busy = self._running or self._finished or self._executor.has_work
        is_busy = is_busy or any(job.is_over for job in self._placed)
        is_busy = is_busy or (self._waiting and self._has_places_changed)
        is_busy = is_busy or (self._resident is not None and self._resident.asked is not None)
        if not self._side:
            is_busy = is_busy or self._submitted
        is_idle = not is_busy
        while is_idle or not self._inbox.empty():
            is_idle = False
            job = self._inbox.get()
            if job is Wake.TO_CLOSE:
                return False
            if isinstance(job, Job):
                self._submitted.append(job)
        return True

    def _drop_what_is_over(self) -> None:
        """Drop requests that were cancelled or have failed, and free their slots."""
        for job in self._running:
            if job.is_over:
                self._leave(job)
        for job in [job for job in self._placed if job.is_over]:
            self._leave_place(job)
        waiting = [job for job in self._waiting if not job.is_over]
        if len(waiting) < len(self._waiting):  # others may have waited for it
            self._waiting, self._has_places_changed = waiting, True
        self._submitted = deque(job for job in self._submitted if not job.is_over)
        self._running = [job for job in self._running if not job.is_over]
        self._finished = deque(job for job in self._finished if not job.is_over)

    def _work_between_steps(self) -> None:
        """Encode or decode in this thread: on a CPU there is no side thread."""
        self._last = policy.between_steps(bool(self._finished), bool(self._submitted), self._last)
        if self._last is Between.DECODE:
            self._wait(turns=0)
            job = self._finished[0]
            if not job.following:
                self._hand_out([job], images=1)
                return
            with self._contained(job):
                self._follow_next(job)
                self._finished.popleft()
                if job.is_beginning:  # the others' pictures don't wait for all of it
                    self._finished.append(job)
                else:
                    self._prepared.append(job)
        elif self._last is Between.ENCODE:
            job = self._submitted.popleft()
            with self._contained(job):
                self._prepare(job)
                self._prepared.append(job)

    def _work_beside_steps(self, side: SideThread) -> None:
        """Let the side thread encode and decode."""
        ended = [job for job in self._finished if job.told_steps == job.steps]
        if ended:
            self._finished = deque(job for job in self._finished if job not in ended)
            for job in ended:
                if job.following:
                    side.submit(self._follow_beside, job)
            side.submit(self._finish_beside, [job for job in ended if not job.following])
        while self._submitted and side.waiting < BACKLOG:
            side.submit(self._prepare_beside, self._submitted.popleft())

    def _prepare_beside(self, job: Job) -> None:
        with self._contained(job):
            self._prepare(job)
            torch.cuda.current_stream().synchronize()
            self._prepared.append(job)
        self._inbox.put(Wake.TO_WORK)

    def _follow_beside(self, job: Job) -> None:
        with self._contained(job):
            self._follow_next(job)
            while job.is_beginning and not job.is_over:
                self._follow_next(job)
            torch.cuda.current_stream().synchronize()
            if not job.is_over:
                self._prepared.append(job)
        self._inbox.put(Wake.TO_WORK)

    def _finish_beside(self, jobs: list[Job]) -> None:
        shapes = defaultdict[Hashable, list[Job]](list)
        for job in jobs:
            kind = job.denoisings[0].kind if job.denoisings else None
            shapes[(kind.size, kind.is_tile) if kind else None].append(job)
        for of_one_shape in shapes.values():
            while left := [job for job in of_one_shape if not job.is_over]:
                self._hand_out(left, DECODED_TOGETHER)
        self._inbox.put(Wake.TO_WORK)

    def _prepare(self, job: Job) -> None:
        """Encode a request's prompts and picture, and set up its images."""
        request = job.request
        if job.is_over:
            return
        # Nobody reads the negative prompt where guidance is off.
        negative_prompt = request.negative_prompt if request.guidance_scale > 1 else None
        with job.measurement.phase("text"):
            embeddings = self._prompts.encode(
                request.prompt,
                negative_prompt,
                request.use_compel,
                request.clip_skip,
                job.loras.result() if job.loras else (),
            )
        for name, part in embeddings.cut.items():
            self._emit(job, PromptTruncated(name, part))
        with job.measurement.phase("image"):
            inputs = self._task.prepare(request)
        if not inputs.canvas.has_white:
            self._emit(job, NothingRepainted())
        canvas, is_drawn = inputs.canvas, inputs.strength > 0
        if request.refine_scale > 1:
            job.following = second = self._second_pass(request, embeddings, canvas)
            self._emit(job, Resized(_said_of_both(inputs, second)))
            canvas, is_drawn = second.canvas, is_drawn or second.steps > 0
        for note in notes_on(request, canvas, is_drawn):
            self._emit(job, Resized(note))
        if inputs.strength > 0:
            self._compare_with_vocabulary(job, inputs.canvas.drawn_size)
            table = job.table.result()
            job.denoisings = [
                self._task.begin(request, index, inputs, embeddings, table)
                for index in range(request.num_images)
            ]
        job.inputs = inputs
        if inputs.layout:
            job.mosaics = [
                Mosaic(inputs.layout, self.model.scale) for _ in range(request.num_images)
            ]
            job.following = NextPiece(
                self._task, request, embeddings, inputs, table, job.steps, job.mosaics
            )

    def _second_pass(self, request: Request, embeddings: Embeddings, first: Canvas) -> SecondPass:
        """Return the second pass of a request.

        Args:
            first: the canvas of the pass before it.

        Raises:
            InputError: where it would be too large, or its upscaler was left out at the setup.
        """
        upscaler = None
        if request.upscaler:
            upscaler = self.upscalers.get(request.upscaler)
            if not upscaler:
                raise InputError(
                    f"upscaler: {request.upscaler} can't be read; put the file there anew"
                )
        return SecondPass.of(self._task, request, embeddings, upscaler, first)

    def _follow_next(self, job: Job) -> None:
        """Go on with the beginning of an image of the pass that follows, piece by piece.

        After the last image, the job is in that pass.
        """
        following, index = job.following, len(job.begun)
        assert following
        with job.measurement.phase("follow"):
            if not job.beginning:
                job.beginning = following.begin(index, self._drawn(job, index))
            try:
                next(job.beginning)
            except StopIteration as end:
                job.begun.append(end.value)
                job.beginning = None
        if len(job.begun) == job.request.num_images:
            job.steps_before, job.told_steps = job.steps_before + job.steps, 0
            job.inputs, job.following = following.inputs, following.after()
            job.denoisings = [each for each in job.begun if isinstance(each, Denoising)]
            job.drawn = [each for each in job.begun if isinstance(each, Image.Image)]
            job.begun = []

    def _drawn(self, job: Job, index: int) -> Image.Image:
        """Return what a pass has drawn; at strength 0 the input image in its size."""
        if not job.denoisings:
            assert job.inputs
            return job.inputs.canvas.to_draw()[0]
        latents = job.denoisings[index].latents
        assert latents is not None
        (picture,) = self._decode([latents], job.request.tiling)
        if not picture:
            raise ArithmeticError(NOTHING_DRAWN)
        return picture

    def _compare_with_vocabulary(self, job: Job, drawn_size: tuple[int, int]) -> None:
        """Tell what of a request is beyond the model's vocabulary, if it has one."""
        vocabulary, name = self.model.vocabulary, self.model.weights.name
        if not vocabulary:
            return
        prompt = job.request.prompt
        if not vocabulary.knows(prompt):
            nearest = tuple(vocabulary.nearest(prompt))
            self._emit(job, NothingKnown(name, len(vocabulary.things), prompt, nearest))
        largest = max(vocabulary.sizes, default=None)
        if largest and max(drawn_size) > largest:
            self._emit(job, TooLarge(name, drawn_size, largest))

    def _join_prepared(self) -> None:
        """Join the requests that are prepared; those whose LoRAs have no room now go on waiting."""
        arrived: list[Job] = []
        if self._has_places_changed:
            arrived, self._waiting, self._has_places_changed = self._waiting, [], False
        while self._prepared:
            arrived.append(self._prepared.popleft())
        for job in arrived:
            with self._contained(job):
                if self._has_place(job):
                    self._join(job)
                else:
                    self._waiting.append(job)

    def _has_place(self, job: Job) -> bool:
        """Return whether a request's LoRAs have a place, or need none; take one for them."""
        if job.is_over or job.place or not job.loras or not job.denoisings:
            return True
        combination = of_unet(job.loras.result())
        if combination:
            if self._waiting and self._waiting[0].overtaken >= MOST_OVERTAKING:
                return False
            job.place = self._take_place(combination)
            if not job.place:
                return False
            self._placed.add(job)
            self._has_places_changed = bool(self._waiting)
            for other in self._waiting:
                other.overtaken += 1
        job.loras = None
        return True

    def _take_place(self, combination: Combination) -> Place | None:
        """Take a place as `Places.take` does; where memory is short, free some and try once more.

        Raises:
            InputError: where there could never be room.
            MemoryError: where the device has no memory for it all the same.
        """
        try:
            return self._places.take(combination)
        except torch.OutOfMemoryError:
            pass  # what the attempt held is free only when the error is gone
        self._executor.release()
        torch.cuda.empty_cache()
        try:
            return self._places.take(combination)
        except torch.OutOfMemoryError as error:
            raise MemoryError(
                "loras: there is not enough memory for them now; use fewer, or smaller ones"
            ) from error

    def _leave_place(self, job: Job) -> None:
        """Let go of the place of a request's LoRAs, if it has one."""
        if job.place:
            self._places.leave(job.place)
            self._placed.remove(job)
            job.place, self._has_places_changed = None, True

    def _join(self, job: Job) -> None:
        """Put a request's images into banks; a request without steps is finished."""
        if not job.denoisings:
            self._finished.append(job)
            return
        for denoising in job.denoisings:
            assert denoising.newcomer
            bank = self._banks.get(denoising.kind)
            if not bank:
                bank = self._banks[denoising.kind] = Bank(denoising.kind, denoising.newcomer.texts)
            denoising.join(bank)
            denoising.place = job.place
        self._running.append(job)
        job.began = time.monotonic()
        if job.measurement.joined is None:
            job.measurement.joined = job.began

    def _leave(self, job: Job) -> None:
        """Take a request's images out of their banks, and drop banks that are empty."""
        for denoising in job.denoisings:
            denoising.leave()
        self._banks = {kind: bank for kind, bank in self._banks.items() if bank.taken}

    def _hand_out(self, jobs: list[Job], images: int) -> None:
        """Hand out the next pictures, at most `images`, of requests whose steps are all taken."""
        wanted = [
            (job, index) for job in jobs for index in range(job.handed_out, job.request.num_images)
        ][:images]
        with self._contained(*dict.fromkeys(job for job, _ in wanted)):
            start = time.monotonic()
            latents = [job.denoisings[index].latents for job, index in wanted if job.denoisings]
            are_tiles = any(job.request.tiling for job, _ in wanted)
            decoded = iter(self._decode([each for each in latents if each is not None], are_tiles))
            end = time.monotonic()
            for job in dict.fromkeys(job for job, _ in wanted if job.denoisings):
                job.measurement.add("decode", start, end)
            for job, index in wanted:
                with self._contained(job):
                    drawn = next(decoded) if job.denoisings else None
                    self._hand_out_image(job, index, job.drawn[index] if job.drawn else drawn)

    def _decode(self, latents: list[torch.Tensor], are_tiles: bool) -> list[Image.Image | None]:
        """Decode pictures in one call, or one by one where memory is short."""
        if not latents:
            return []
        try:
            return self._autoencoder.pictures(latents, are_tiles)
        except torch.OutOfMemoryError:
            if len(latents) == 1:
                raise
        torch.cuda.empty_cache()
        return [
            picture for each in latents for picture in self._autoencoder.pictures([each], are_tiles)
        ]

    def _hand_out_image(self, job: Job, index: int, decoded: Image.Image | None) -> None:
        """Hand out an image of a request, or report that it is left out.

        Raises:
            ArithmeticError: when numbers have overflowed, so that there is no picture.
            NsfwError: when it was the last one, and all were flagged.
        """
        assert job.inputs
        seed, drawn_size = job.request.seed_of(index), None
        canvas, start = job.inputs.canvas, time.monotonic()
        if job.is_over:
            return
        if job.denoisings or job.drawn:
            if not decoded:
                raise ArithmeticError(NOTHING_DRAWN)
            if job.mosaics:
                job.mosaics[index].add(decoded)
                decoded = job.mosaics[index].picture
            image, generated = canvas.finish(decoded)
            drawn_size = canvas.asked_size or canvas.drawn_size
            if not (job.steps or job.steps_before):
                generated = drawn_size = None
        else:
            assert canvas.picture
            image, generated = canvas.picture.copy(), None
        nsfw = self._checker.is_nsfw(image) if self._checker else None
        job.measurement.add("finish", start)
        if nsfw:
            self._emit(job, Flagged(index, seed))
        else:
            self._emit(job, Picture(index, seed, image, drawn_size, generated, nsfw))
        job.handed_out += 1
        job.flagged += bool(nsfw)
        if job.flagged == job.request.num_images:
            raise NsfwError
        if job.handed_out == job.request.num_images:
            self._emit(job, Finished())
            job.is_over = True

    def _step(self) -> None:
        """Take one step with every running image."""
        self._room.turn()
        self._due = {due for job in self._running if (due := job.begin_preview())}
        owners = {each: job for job in self._running for each in job.denoisings}
        for batch in policy.divide(owners, self._room.now, self._executor.mixes_adapters):
            self._take_step(batch, owners)
        done = None
        with self._contained(*self._running):
            done = _reached(self.model.device)
        stepped = [job for job in self._running if not job.is_over]
        self._turns.append(Turn([(job, job.step) for job in stepped], done, self._estimates))
        self._estimates = {}
        for job in stepped:
            if job.step == job.steps:
                self._running.remove(job)
                self._finished.append(job)
                self._leave(job)
                if not job.following:
                    self._leave_place(job)
        # The GPU goes on with the next turn while this thread prepares the one after it. Further
        # ahead, progress would be a lie, and whoever joins would wait for what is queued already.
        self._wait(turns=1 if done and self._running else 0)

    def _take_step(self, batch: list[Denoising], owners: dict[Denoising, Job]) -> None:
        """Take one step with some images in one UNet call, or in several where memory is short.

        Where even a single row is too large for the memory, the requests fail.
        """
        kind, pixels = batch[0].kind, sum(denoising.pixels for denoising in batch)
        per_row = kind.size[0] * kind.size[1]
        with self._contained(*(owners[denoising] for denoising in batch)):
            bank, occupants = self._banks[kind], [denoising.occupant() for denoising in batch]
            ahead = min(denoising.sampler.steps - denoising.step for denoising in batch)
            replays = self._executor.replays
            try:
                rows = max(1, self._room.now // per_row)
                if kind.is_tile:
                    after = self._executor.step_of_tiles(bank, occupants, rows)
                else:
                    after = self._executor.step(bank, occupants, rows, ahead)
            except torch.OutOfMemoryError:
                tried = min(self._room.now, pixels)
                if tried // 2 < per_row:
                    raise
            else:
                bank.scatter(occupants, after)
                jobs = {owners[denoising] for denoising in batch}
                self._count(jobs, occupants, rows, self._executor.replays - replays)
                for row, denoising in enumerate(batch):
                    if denoising in self._due:
                        job = owners[denoising]
                        with self._contained():  # without a preview the request goes on
                            self._estimates[job] = self._estimate(job, denoising, after[row, -1])
                    denoising.advance()
                return
            self._executor.release()
            torch.cuda.empty_cache()
            self._room.shrink(tried)
            print(
                f"memory is short: for now a UNet call has at most {self._room.now} latent pixels",
                file=sys.stderr,
            )
            for part in policy.divide(batch, self._room.now, self._executor.mixes_adapters):
                self._take_step(part, owners)

    def _count(
        self, jobs: Collection[Job], occupants: Sequence[Occupant], most_rows: int, replays: int
    ) -> None:
        """Count the calls of the UNet in which a batch has taken a step.

        Args:
            jobs: whose images they were.
            most_rows: of one call.
            replays: that were a graph's.
        """
        rows = sum(1 + occupant.is_guided for occupant in occupants)
        calls = -(-rows // most_rows)
        self._counts.count(calls, rows, len(occupants), replays)
        for job in jobs:
            job.measurement.count(calls, rows, replays)

    def _estimate(self, job: Job, denoising: Denoising, values: torch.Tensor) -> Estimate:
        """Return the estimate of an image for the next preview of its request.

        Args:
            values: of the latents, as its step gives them; they may change with the next step.
        """
        assert job.inputs
        index, layout, request = job.denoisings.index(denoising), job.inputs.layout, job.request
        whole, place = None, (0, 0)
        if layout:
            rows, columns = layout.place(job.mosaics[index].number)
            whole, place = request.image, (columns.start, rows.start)
        latents = _copy(values).view(4, *denoising.kind.size)
        return Estimate(index, latents, self.model.scale, job.inputs.canvas, whole, place)

    def _show(self, job: Job, preview: Preview) -> None:
        """Hand out a preview, unless pictures were: their steps end together."""
        if not job.handed_out:
            self._emit(job, preview)

    def _wait(self, turns: int) -> None:
        """Wait until the device is at most `turns` turns behind, and report the progress."""
        while len(self._turns) > turns:
            turn = self._turns.popleft()
            with self._contained(*(job for job, _ in turn.steps)):
                if turn.done:
                    turn.done.synchronize()
            for job, estimate in turn.estimates.items():
                if self._previews and not job.is_over:
                    self._previews.submit(job, estimate, partial(self._show, job))
            now = time.monotonic()
            for job, step in turn.steps:
                job.told_steps = step
                if job.measurement.stepped is None:
                    job.measurement.stepped = now
                if step == job.steps:
                    job.measurement.steps += step
                    job.measurement.add("denoise", job.began, now)
                pace = (now - job.began) / step
                left, later = pace * (job.steps - step), 0
                if job.following:
                    later = job.following.steps
                    left += pace * job.following.cost * later
                with self._contained(job):
                    done, total = job.steps_before + step, job.steps_before + job.steps + later
                    self._emit(job, Progress(done, total, left))

    def _emit(self, job: Job, event: Event) -> None:
        if not job.is_over:
            job.listener(event)

    @contextmanager
    def _contained(self, *jobs: Job) -> Iterator[None]:
        """Let an error in the block fail these requests, and no others."""
        try:
            yield
        except Exception as error:
            if isinstance(error, torch.AcceleratorError) and self._is_lost():
                reason = f"the GPU has failed, so this process ends: {error}"
                print(reason, file=sys.stderr, flush=True)
                os._exit(1)
            if isinstance(error, torch.OutOfMemoryError):
                error = MemoryError(
                    "there is not enough memory for a picture of this size; ask for a smaller one"
                )
            for job in jobs:
                self._emit(job, Failed(error))
                job.is_over = True

    def _is_lost(self) -> bool:
        """Return whether the device fails at even the smallest computation."""
        try:
            torch.ones(1, device=self.model.device).item()
        except RuntimeError as error:  # as are torch's errors, that of short memory too
            return isinstance(error, torch.AcceleratorError)
        return False


def _said_of_both(first: PreparedInputs, second: SecondPass) -> str:
    """Return a sentence for the client on the sizes of both passes."""
    drawn, refined = ("{} × {} px".format(*one.canvas.drawn_size) for one in (first, second))
    what = f"drawn at {drawn}, then" if first.strength > 0 else f"the image is taken at {drawn},"
    how = f" by {second.upscaler.name}" if second.upscaler else ""
    if not second.steps:
        return f"refine_scale: {what} enlarged to {refined}{how}"
    return f"refine_scale: {what} {f'enlarged{how} and ' if how else ''}refined at {refined}"


def _copy(values: torch.Tensor) -> torch.Tensor:
    """Copy a tensor to the CPU; from a GPU without waiting, so that it is there when that is."""
    if values.device.type != "cuda":
        return values.clone()
    copy = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return copy.copy_(values, non_blocking=True)


def _reached(device: torch.device) -> torch.cuda.Event | None:
    """Return a CUDA event after all that the device was given so far; None without a GPU."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event(blocking=True)
    event.record()
    return event
