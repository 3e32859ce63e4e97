"""The loop: running requests share one UNet call per step.

The loop has a thread of its own. Each turn it puts the images of one size and one length of
prompt into common UNet calls, one timestep a row, and gives each image's rows to its own sampler.
A request joins at the next step; a cancelled one leaves at the next. On a GPU a turn is queued
while the one before it runs.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

import torch
from PIL import Image

from stable_diffusion import batches, tasks
from stable_diffusion.models import Model
from stable_diffusion.prompts import Prompts
from stable_diffusion.request import Request, quote
from stable_diffusion.safety import NsfwError, SafetyChecker
from stable_diffusion.tasks import Denoising

PATIENCE = 100
"""Turns after which more memory is tried again where it was short."""


@dataclass(frozen=True)
class Cut:
    """The end of a prompt was left out: `part` of the input `name` is more than the model reads."""

    name: str
    part: str

    @property
    def warning(self) -> str:
        """The sentence for whoever wrote it."""
        return (
            f"{self.name}: longer than the model reads; left out are the last "
            f"{len(self.part)} characters: {quote(self.part, 1000)}"
        )


@dataclass(frozen=True)
class Progress:
    """Step `step` of `steps` is done; `seconds_left` at the pace so far."""

    step: int
    steps: int
    seconds_left: float


@dataclass(frozen=True)
class Picture:
    """Image `index` of the request is finished.

    image: RGB, without a watermark.
    made: in its size, greyscale: 0 where its pixels are those of the input; None where all are.
    nsfw: False where the checker has seen it, None where there is none.
    """

    index: int
    seed: int
    image: Image.Image
    made: Image.Image | None
    nsfw: bool | None


@dataclass(frozen=True)
class Flagged:
    """Image `index` of the request is finished and left out: the NSFW checker has flagged it."""

    index: int
    seed: int

    @property
    def warning(self) -> str:
        """The sentence for whoever asked for it."""
        return f"image {self.index}, of seed {self.seed}, is left out: NSFW content detected"


@dataclass(frozen=True)
class Finished:
    """All images were handed out, but for those left out."""


@dataclass(frozen=True)
class Failed:
    """The request came to nothing."""

    error: Exception


Event = Cut | Progress | Picture | Flagged | Finished | Failed


@dataclass(eq=False)
class Job:
    """A submitted request, whose events go to `listener` on the engine's thread."""

    request: Request
    listener: Callable[[Event], None]
    denoisings: list[Denoising] = field(default_factory=list)
    started: float = 0
    handed_out: int = 0
    flagged: int = 0
    over: bool = False

    @property
    def done(self) -> bool:
        """Whether all steps are taken; its images take theirs together."""
        return self.denoisings[0].done

    def cancel(self) -> None:
        """Ends the work before its next step; at most the event under way still comes."""
        self.over = True


@dataclass(frozen=True)
class Turn:
    """A step that the device was given: of which jobs, and which step of each.

    done: happens when the device has taken it; None where it has already.
    """

    steps: list[tuple[Job, int]]
    done: torch.cuda.Event | None


class Engine:
    """Runs requests on one model until it is closed.

    A GPU that has failed for good (an illegal access, say) ends the process with status 1: nothing
    else helps, and whoever started it can start it again.

    Args:
        model: on its device.
        rows: latents of the native size in one UNet call at the most. None takes as many as the
            device's free memory has room for.
        checker: flags pictures that are then left out; None lets all pass.
    """

    def __init__(
        self, model: Model, rows: int | None = None, checker: SafetyChecker | None = None
    ) -> None:
        self.model = model
        self._checker = checker
        self._most = self._room = batches.room_for(model, rows)
        self._calm = 0
        self._prompts = Prompts(model.pipeline)
        self._submitted: SimpleQueue[Job | None] = SimpleQueue()
        self._jobs: list[Job] = []
        self._turns: deque[Turn] = deque()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, listener: Callable[[Event], None]) -> Job:
        """Queues a request and returns at once.

        Args:
            listener: takes the events: what was cut from the prompts, the progress after each
                step, the pictures in their order, or that they were flagged, and, last, `Finished`
                or `Failed`. It is called on the engine's thread and must neither block nor raise.
        """
        job = Job(request, listener)
        self._submitted.put(job)
        return job

    def close(self) -> None:
        """Ends the thread after the turn under way; requests that still run get no more events."""
        self._submitted.put(None)
        self._thread.join()

    @torch.inference_mode()
    def _run(self) -> None:
        decoded_last = False
        while True:
            self._jobs = [job for job in self._jobs if not job.over]
            finished = next((job for job in self._jobs if job.done), None)
            submitted = not self._submitted.empty()
            # Between two steps there is one picture to decode, or what one request has to encode,
            # and no more: the steps of others hardly wait. Who leaves and who joins take turns.
            if finished and not (submitted and decoded_last):
                decoded_last = True
                with self._confined(finished):
                    self._hand_out(finished)
            elif submitted or not self._jobs:
                decoded_last = False
                if not self._jobs:
                    self._wait(turns=0)
                job = self._submitted.get()
                if job is None:
                    return
                self._jobs.append(job)
                with self._confined(job):
                    self._begin(job)
            self._step()

    def _begin(self, job: Job) -> None:
        request = job.request
        if job.over:
            return
        # Nobody reads the negative prompt where guidance is off.
        negative_prompt = request.negative_prompt if request.guidance_scale > 1 else None
        embeddings = self._prompts.encode(request.prompt, negative_prompt, request.use_compel)
        for name, part in embeddings.cut.items():
            self._tell(job, Cut(name, part))
        canvas = tasks.prepare(request, self.model)
        job.denoisings = [
            tasks.begin(request, index, canvas, embeddings, self.model)
            for index in range(request.num_images)
        ]
        job.started = time.monotonic()

    def _hand_out(self, job: Job) -> None:
        """Gives the next picture of a request whose steps are all taken.

        Raises:
            NsfwError: when it was the last one, and all were flagged.
        """
        self._wait(turns=0)
        if job.over:
            return
        index, seed = job.handed_out, job.request.seed_of(job.handed_out)
        image, made = tasks.finish(job.denoisings[index], self.model)
        nsfw = self._checker.is_nsfw(image) if self._checker else None
        self._tell(job, Flagged(index, seed) if nsfw else Picture(index, seed, image, made, nsfw))
        job.handed_out += 1
        job.flagged += bool(nsfw)
        if job.flagged == len(job.denoisings):
            raise NsfwError
        if job.handed_out == len(job.denoisings):
            self._tell(job, Finished())
            job.over = True

    def _step(self) -> None:
        """Takes one step with every running image."""
        running = [job for job in self._jobs if not job.over and not job.done]
        self._calm += 1
        if self._calm > PATIENCE:  # whoever took the memory may have given it back
            self._room, self._calm = min(2 * self._room, self._most), 0
        owners = {denoising: job for job in running for denoising in job.denoisings}
        for batch in batches.divide(owners, self._room):
            self._call(batch, owners)
        done = None
        with self._confined(*running):
            done = _reached(self.model.device)
        steps = [(job, job.denoisings[0].step) for job in running if not job.over]
        self._turns.append(Turn(steps, done))
        # The GPU goes on with the next turn while this thread prepares the one after it. Further
        # ahead, progress would be a lie, and whoever joins would wait for what is queued already.
        self._wait(turns=1 if done and running else 0)

    def _call(self, batch: list[Denoising], owners: dict[Denoising, Job]) -> None:
        """Takes one step with some images in one UNet call, or in several where memory is short.

        What is too large for the memory alone, row by row, fails.
        """
        with self._confined(*(owners[denoising] for denoising in batch)):
            try:
                predictions = batches.predict(self.model, batch, self._room)
            except torch.OutOfMemoryError:
                taken = min(self._room, batches.pixels(batch))
                if taken // 2 < batches.pixels(batch[:1]) // batch[0].rows:
                    raise
            else:
                for denoising, prediction in zip(batch, predictions, strict=True):
                    denoising.advance(prediction)
                return
            torch.cuda.empty_cache()
            self._room, self._calm = taken // 2, 0
            told = f"memory is short: for now a call has {self._room} latent pixels at the most"
            print(told, file=sys.stderr)
            for part in batches.divide(batch, self._room):
                self._call(part, owners)

    def _wait(self, turns: int) -> None:
        """Waits until the device is no more than some turns behind, and tells what it has done."""
        while len(self._turns) > turns:
            turn = self._turns.popleft()
            with self._confined(*(job for job, _ in turn.steps)):
                if turn.done:
                    turn.done.synchronize()
            for job, step in turn.steps:
                steps = len(job.denoisings[0].timesteps)
                pace = (time.monotonic() - job.started) / step
                with self._confined(job):
                    self._tell(job, Progress(step, steps, pace * (steps - step)))

    def _tell(self, job: Job, event: Event) -> None:
        if not job.over:
            job.listener(event)

    @contextmanager
    def _confined(self, *jobs: Job) -> Iterator[None]:
        """Whatever goes wrong ends the requests it concerns, and no other."""
        try:
            yield
        except Exception as error:
            if isinstance(error, torch.AcceleratorError) and self._is_lost():
                told = f"the GPU has failed, and this process with it: {error}"
                print(told, file=sys.stderr, flush=True)
                os._exit(1)
            if isinstance(error, torch.OutOfMemoryError):
                error = MemoryError(
                    "there is not enough memory for a picture of this size; ask for a smaller one"
                )
            for job in jobs:
                self._tell(job, Failed(error))
                job.over = True

    def _is_lost(self) -> bool:
        """Whether the device can't do the least thing any more."""
        try:
            torch.ones(1, device=self.model.device).item()
        except RuntimeError as error:  # as are torch's errors, that of short memory too
            return isinstance(error, torch.AcceleratorError)
        return False


def _reached(device: torch.device) -> torch.cuda.Event | None:
    """Happens when the device has done all that it was given so far; None where it has already."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event(blocking=True)
    event.record()
    return event


def until_finished(events: SimpleQueue[Event], timeout: float | None = None) -> Iterator[Event]:
    """A request's events from the queue that it was submitted with, to the last.

    Args:
        timeout: seconds to wait for each; None waits as long as it takes.

    Raises:
        Exception: what the request failed of, or `queue.Empty` when no event came in time.
    """
    while True:
        event = events.get(timeout=timeout)
        if isinstance(event, Failed):
            raise event.error
        yield event
        if isinstance(event, Finished):
            return
