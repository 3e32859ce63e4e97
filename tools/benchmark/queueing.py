"""A simulation of requests that come in bursts to GPUs on which requests share steps."""

import heapq
import math
import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tools.benchmark.load import Asked

BURST = 4
"""The mean number of requests that come at once."""


@dataclass(frozen=True)
class Speed:
    """The times that were measured on a GPU, in seconds.

    Args:
        steps: one step of as many images at once; in between and beyond, along a straight line.
        fixed: what a prediction takes besides its steps.
        image: what each of its images takes besides.
    """

    steps: Mapping[int, float]
    fixed: float
    image: float

    def step(self, images: int) -> float:
        """Return the seconds of a step that so many images share."""
        known = sorted(self.steps)
        if images <= known[0]:
            return self.steps[known[0]]
        high = next((index for index in range(1, len(known)) if images <= known[index]), -1)
        few, many = known[high - 1], known[high]
        slope = (self.steps[many] - self.steps[few]) / (many - few)
        return self.steps[few] + slope * (images - few)

    def around(self, images: int) -> float:
        """Return the seconds of a prediction of so many images without its steps."""
        return self.fixed + self.image * images

    def alone(self, asked: Asked) -> float:
        """Return the seconds that a request takes on a GPU that has nothing else to do."""
        images, steps = asked.inputs["num_images"], asked.inputs["num_inference_steps"]
        return float(self.around(images) + steps * self.step(images))


@dataclass
class Running:
    """A request that a GPU runs."""

    index: int
    images: int
    steps_left: int


@dataclass
class Gpu:
    """The requests that a GPU has."""

    running: list[Running] = field(default_factory=list)
    """The requests that take the current step."""
    joining: list[Running] = field(default_factory=list)
    """The requests that join at the next step."""
    is_at_work: bool = False
    free_at: float = 0.0
    """The time at which the pictures of requests that have taken all their steps are made."""

    @property
    def requests(self) -> int:
        """The number of requests that it has."""
        return len(self.running) + len(self.joining)


def bursts(asked: Sequence[Asked], rate: float, seed: int) -> list[Asked]:
    """Return the requests with times of arrival: `BURST` at once in the mean, `rate` a second."""
    rng, now, left, arriving = random.Random(seed), 0.0, 0, []
    for request in asked:
        if not left:
            now += rng.expovariate(rate / BURST)
            left = 1 + int(math.log(1 - rng.random()) / math.log(1 - 1 / BURST))  # geometric
        left -= 1
        arriving.append(Asked(request.inputs, now, request.alone))
    return arriving


def simulate(asked: Sequence[Asked], gpus: int, slots: int, speed: Speed) -> list[float]:
    """Return the seconds from each request's arrival to its answer.

    First come, first served, by the GPU that has the fewest requests. All requests on a GPU take
    each step together; those that come meanwhile join at the next.

    Args:
        asked: in the order of their arrival.
        slots: requests at once that a GPU takes.
    """
    latencies = [math.nan] * len(asked)
    all_gpus = [Gpu() for _ in range(gpus)]
    queue: deque[int] = deque()
    steps: list[tuple[float, int]] = []
    """The ends of the steps that are being taken, with the numbers of their GPUs."""
    arrived = 0
    while arrived < len(asked) or steps:
        if arrived < len(asked) and (not steps or asked[arrived].arrival <= steps[0][0]):
            now = asked[arrived].arrival
            queue.append(arrived)
            arrived += 1
        else:
            now, number = heapq.heappop(steps)
            gpu = all_gpus[number]
            for request in gpu.running:
                request.steps_left -= 1
                if not request.steps_left:
                    gpu.free_at = max(now, gpu.free_at) + speed.around(request.images)
                    latencies[request.index] = gpu.free_at - asked[request.index].arrival
            gpu.running = [request for request in gpu.running if request.steps_left]
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
    """Start a GPU's next step, if it has any requests."""
    gpu.running += gpu.joining
    gpu.joining = []
    gpu.is_at_work = bool(gpu.running)
    if gpu.running:
        seconds = speed.step(sum(one.images for one in gpu.running))
        heapq.heappush(steps, (max(now, gpu.free_at) + seconds, number))
