"""The loop: running requests share one UNet call per step.

The loop has a thread of its own. Each turn it puts the images of one size and one length of
prompt into common UNet calls, one timestep a row, and gives each image's rows to its own sampler.
A request joins at the next step; a cancelled one leaves at the next.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

import torch
from PIL import Image

from stable_diffusion import tasks
from stable_diffusion.models import Model
from stable_diffusion.prompts import Prompts
from stable_diffusion.request import Request, quote
from stable_diffusion.tasks import Denoising

ROWS = 8
"""Latents in one UNet call at the most: four images with guidance."""


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
    """Image `index` of the request is finished."""

    index: int
    seed: int
    image: Image.Image


@dataclass(frozen=True)
class Finished:
    """All images were handed out."""


@dataclass(frozen=True)
class Failed:
    """The request came to nothing."""

    error: Exception


Event = Cut | Progress | Picture | Finished | Failed


@dataclass(eq=False)
class Job:
    """A submitted request, whose events go to `listener` on the engine's thread."""

    request: Request
    listener: Callable[[Event], None]
    denoisings: list[Denoising] = field(default_factory=list)
    started: float = 0
    handed_out: int = 0
    over: bool = False

    @property
    def done(self) -> bool:
        """Whether all steps are taken; its images take theirs together."""
        return self.denoisings[0].done

    def cancel(self) -> None:
        """Ends the work before its next step; at most the event under way still comes."""
        self.over = True


class Engine:
    """Runs requests on one model until it is closed.

    Args:
        model: on its device.
        rows: latents in one UNet call at the most; 2 or more.
    """

    def __init__(self, model: Model, rows: int = ROWS) -> None:
        self.model = model
        self._rows = rows
        self._prompts = Prompts(model.pipeline)
        self._submitted: SimpleQueue[Job | None] = SimpleQueue()
        self._jobs: list[Job] = []
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, listener: Callable[[Event], None]) -> Job:
        """Queues a request and returns at once.

        Args:
            listener: takes the events: what was cut from the prompts, the progress after each
                step, the pictures in their order and, last, `Finished` or `Failed`. It is called
                on the engine's thread and must neither block nor raise.
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
        while True:
            self._jobs = [job for job in self._jobs if not job.over]
            finished = next((job for job in self._jobs if job.done), None)
            # Between two steps there is one picture to decode, or one to encode, and no more:
            # the steps of others don't wait.
            if finished:
                with self._confined(finished):
                    self._hand_out(finished)
            elif not self._jobs or not self._submitted.empty():
                job = self._submitted.get()
                if job is None:
                    return
                self._jobs.append(job)
                with self._confined(job):
                    self._begin(job)
            self._step()

    def _begin(self, job: Job) -> None:
        request = job.request
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
        """Gives the next picture of a request whose steps are all taken."""
        index = job.handed_out
        image = tasks.finish(job.denoisings[index], self.model)
        self._tell(job, Picture(index, job.request.seed_of(index), image))
        job.handed_out += 1
        if job.handed_out == len(job.denoisings):
            self._tell(job, Finished())
            job.over = True

    def _step(self) -> None:
        """Takes one step with every running image."""
        running = [job for job in self._jobs if not job.over and not job.done]
        for call in self._calls(running):
            self._call(call)
        for job in running:
            if not job.over:
                step, steps = job.denoisings[0].step, len(job.denoisings[0].schedule.timesteps)
                pace = (time.monotonic() - job.started) / step
                self._tell(job, Progress(step, steps, pace * (steps - step)))

    def _calls(self, jobs: list[Job]) -> Iterator[list[tuple[Job, Denoising]]]:
        """Who goes into which UNet call: equal shapes together, the oldest first."""
        groups = defaultdict[tuple[torch.Size, torch.Size], list[tuple[Job, Denoising]]](list)
        for job in jobs:
            for denoising in job.denoisings:
                key = denoising.latents.shape, denoising.embeddings.positive.shape
                groups[key].append((job, denoising))
        for group in groups.values():
            call: list[tuple[Job, Denoising]] = []
            rows = 0
            for job, denoising in group:
                if rows + denoising.rows > self._rows:
                    yield call
                    call, rows = [], 0
                call.append((job, denoising))
                rows += denoising.rows
            yield call

    def _call(self, call: list[tuple[Job, Denoising]]) -> None:
        """Takes one step with some images in one UNet call, or in two where memory is short."""
        with self._confined(*(job for job, _ in call)):
            denoisings = [denoising for _, denoising in call]
            try:
                predictions = _predict(self.model, denoisings)
            except torch.OutOfMemoryError:
                if len(call) == 1:
                    raise
            else:
                for denoising, prediction in zip(denoisings, predictions, strict=True):
                    denoising.advance(prediction)
                return
            torch.cuda.empty_cache()
            half = len(call) // 2
            self._rows = max(2, sum(denoising.rows for _, denoising in call[half:]))
            self._call(call[:half])
            self._call(call[half:])

    def _tell(self, job: Job, event: Event) -> None:
        if not job.over:
            job.listener(event)

    @contextmanager
    def _confined(self, *jobs: Job) -> Iterator[None]:
        """Whatever goes wrong ends the requests it concerns, and no other."""
        try:
            yield
        except Exception as error:
            for job in jobs:
                self._tell(job, Failed(error))
                job.over = True


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


def _predict(model: Model, denoisings: list[Denoising]) -> list[torch.Tensor]:
    """What one call of the UNet predicts for each image, guidance included."""
    latents, timesteps, texts = [], [], []
    for denoising in denoisings:
        embeddings, scaled = denoising.embeddings, denoising.unet_input()
        for text in (embeddings.negative, embeddings.positive):
            if text is not None:
                latents.append(scaled)
                timesteps.append(denoising.timestep.float())
                texts.append(text)
    rows: torch.Tensor = model.pipeline.unet(
        torch.cat(latents).to(model.dtype),
        torch.stack(timesteps).to(model.device),
        encoder_hidden_states=torch.cat(texts),
        return_dict=False,
    )[0].float()
    predictions = list(torch.split(rows, [denoising.rows for denoising in denoisings]))
    for index, denoising in enumerate(denoisings):
        if denoising.rows == 2:
            negative, positive = predictions[index].chunk(2)
            predictions[index] = negative + denoising.guidance_scale * (positive - negative)
    return predictions
