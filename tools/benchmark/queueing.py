"""Requests that come in bursts to GPUs that share their steps, simulated."""

import heapq
import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tools.benchmark.load import Asked

BURST = 4
"""Requests that come at once, in the mean."""


@dataclass(frozen=True)
class Speed:
    """What a GPU was measured to take, in seconds.

    Args:
        steps: one step of as many images at once; in between and beyond, along a straight line.
        fixed: what a prediction takes besides its steps.
        image: what each of its images takes besides.
    """

    steps: Mapping[int, float]
    fixed: float
    image: float

    def step(self, images: int) -> float:
        """Seconds of a step that so many images share."""
        known = sorted(self.steps)
        if images <= known[0]:
            return self.steps[known[0]]
        high = next((index for index in range(1, len(known)) if images <= known[index]), -1)
        few, many = known[high - 1], known[high]
        slope = (self.steps[many] - self.steps[few]) / (many - few)
        return self.steps[few] + slope * (images - few)

    def around(self, images: int) -> float:
        """Seconds of a prediction of so many images that are no steps."""
        return self.fixed + self.image * images

    def alone(self, asked: Asked) -> float:
        """Seconds that a request takes on a GPU that has nothing else to do."""
        images, steps = asked.inputs["num_images"], asked.inputs["num_inference_steps"]
        return float(self.around(images) + steps * self.step(images))


@dataclass
class Running:
    """A request on a GPU."""

    index: int
    images: int
    steps_left: int


@dataclass
class Gpu:
    """What a GPU has to do."""

    running: list[Running] = field(default_factory=list)
    """These take the step that is being taken."""
    joining: list[Running] = field(default_factory=list)
    """These take the next."""
    is_at_work: bool = False
    free_at: float = 0.0
    """When it has made the pictures of those that have taken all their steps."""

    @property
    def requests(self) -> int:
        """How many it has."""
        return len(self.running) + len(self.joining)


def bursts(asked: Sequence[Asked], rate: float, seed: int) -> list[Asked]:
    """The requests with times of arrival: `BURST` at once in the mean, `rate` a second."""
    rng, now, left, arriving = random.Random(seed), 0.0, 0, []
    for each in asked:
        if not left:
            now += rng.expovariate(rate / BURST)
            left = 1 + int(math.log(1 - rng.random()) / math.log(1 - 1 / BURST))  # geometric
        left -= 1
        arriving.append(Asked(each.inputs, now, each.alone))
    return arriving


def simulate(asked: Sequence[Asked], gpus: int, slots: int, speed: Speed) -> list[float]:
    """Seconds from each request's arrival to its answer.

    First come, first served, by the GPU that has the fewest. All that a GPU has takes each step
    together; who comes meanwhile joins at the next.

    Args:
        asked: in the order of their arrival.
        slots: requests at once that a GPU takes.
    """
    latencies = [math.nan] * len(asked)
    all_gpus = [Gpu() for _ in range(gpus)]
    queue: deque[int] = deque()
    steps: list[tuple[float, int]] = []
    """When the steps end that are being taken, and whose they are."""
    arrived = 0
    while arrived < len(asked) or steps:
        if arrived < len(asked) and (not steps or asked[arrived].arrival <= steps[0][0]):
            now = asked[arrived].arrival
            queue.append(arrived)
            arrived += 1
        else:
            now, number = heapq.heappop(steps)
            gpu = all_gpus[number]
            for one in gpu.running:
                one.steps_left -= 1
                if not one.steps_left:
                    gpu.free_at = max(now, gpu.free_at) + speed.around(one.images)
                    latencies[one.index] = gpu.free_at - asked[one.index].arrival
            gpu.running = [one for one in gpu.running if one.steps_left]
            _begin(gpu, number, now, steps, speed)
        while queue:
            number, gpu = min(
                enumerate(all_gpus), key=lambda each: (each[1].requests, each[1].free_at)
            )
            if gpu.requests == slots:
                break
            inputs = asked[queue[0]].inputs
            gpu.joining.append(
                Running(queue.popleft(), inputs["num_images"], inputs["num_inference_steps"])
            )
            if not gpu.is_at_work:
                _begin(gpu, number, now, steps, speed)
    return latencies


def _begin(gpu: Gpu, number: int, now: float, steps: list[tuple[float, int]], speed: Speed) -> None:
    """Has a GPU take its next step, if it has anything to do."""
    gpu.running += gpu.joining
    gpu.joining = []
    gpu.is_at_work = bool(gpu.running)
    if gpu.running:
        seconds = speed.step(sum(one.images for one in gpu.running))
        heapq.heappush(steps, (max(now, gpu.free_at) + seconds, number))
