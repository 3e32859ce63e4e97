"""Samplers as tables: what diffusers' scheduler does in each step, read off it by probing.

A step is linear in the latents, the UNet's output, what the scheduler remembers and fresh noise.
So it is a small matrix, found by handing the scheduler basis vectors instead of latents:

    [latents, memory…, estimate] after = matrix @ [latents, memory…, output, noise] before

Guidance is linear too, and splits the output's column in two. A step of all images in flight,
whatever their samplers, steps and guidance, is then one batched matrix product.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import torch

from stable_diffusion import schedulers
from stable_diffusion.schedulers import Schedule

MEMORIES = 5
"""Tensors that a scheduler may remember between its steps: PNDM's four outputs and its sample."""
LATENTS, OUTPUT, NOISE = 0, 1 + MEMORIES, 2 + MEMORIES
COLUMNS = 3 + MEMORIES
"""Columns of a step's matrix: latents, memory, output, noise."""
ROWS = 2 + MEMORIES
"""Rows of a step's matrix: latents, memory, and the estimate of the finished latents."""
GUIDED = (ROWS, COLUMNS + 1)
"""Shape of a step's matrix whose output's column is split into unconditional and conditional."""
NUMBERS = 4 + GUIDED[0] * GUIDED[1]
"""Numbers of a step: timestep, scale, factors of picture and noise, and the guided matrix."""
TABLES = 64
"""Tables of one model that are kept."""


@dataclass(frozen=True)
class Table:
    """A sampler's whole course from noise to picture, in float64.

    timesteps: (calls,), for the UNet.
    scales: (calls,), what the UNet's input is multiplied with.
    matrices: (calls, ROWS, COLUMNS).
    renoise: (calls + 1, 2): what a picture's latents and noise are multiplied with to be as noisy
        as those that call i starts from; in the end the picture alone.
    sigma: what the first noise is multiplied with.
    draws: (calls,), bool: which of them take fresh noise.
    """

    timesteps: torch.Tensor
    scales: torch.Tensor
    matrices: torch.Tensor
    renoise: torch.Tensor
    sigma: float
    draws: tuple[bool, ...]

    def start(self, picture: torch.Tensor | None, noise: torch.Tensor) -> torch.Tensor:
        """Return the latents that the first call starts from: noise, or a picture's with noise."""
        if picture is None:
            return noise.mul(self.sigma)
        factors: list[float] = self.renoise[0].tolist()
        return picture * factors[0] + noise * factors[1]

    def numbers(self, guidance_scale: float) -> torch.Tensor:
        """Return the numbers that each step needs beside tensors, (calls, NUMBERS), float32.

        The factors of picture and noise are those of the latents that the call leaves.
        """
        calls = len(self.timesteps)
        return torch.cat(
            [
                self.timesteps[:, None],
                self.scales[:, None],
                self.renoise[1:],
                guided(self.matrices, guidance_scale).reshape(calls, -1),
            ],
            dim=1,
        ).float()


def guided(matrices: torch.Tensor, guidance_scale: float) -> torch.Tensor:
    """Split the output's column into those of the unconditional and the conditional output.

    Args:
        matrices: (calls, rows, COLUMNS).
        guidance_scale: 1 takes the conditional output alone.
    """
    before, output, noise = torch.split(matrices, [OUTPUT, 1, 1], dim=-1)
    return torch.cat(
        [before, output * (1 - guidance_scale), output * guidance_scale, noise], dim=-1
    )


def untouched(schedule: Schedule, index: int, guidance_scale: float) -> torch.Tensor:
    """Return the numbers, (NUMBERS,), of a step that leaves the guided output as the latents.

    It is for samplers without a table, which take their step from that output.

    Args:
        index: of the call.
    """
    timestep = schedule.timesteps[index]
    scale = float(schedule.scheduler.scale_model_input(torch.ones(1), timestep))
    matrix = torch.zeros(ROWS, COLUMNS, dtype=torch.float64)
    matrix[LATENTS, OUTPUT] = 1
    matrix[-1] = _estimate(schedule, index, scale)
    head = torch.tensor([float(timestep), scale, 0.0, 0.0], dtype=torch.float64)
    return torch.cat([head, guided(matrix, guidance_scale).flatten()]).float()


@dataclass(frozen=True)
class Course:
    """What a table depends on beside the model; see `schedulers.make`."""

    name: str
    steps: int
    strength: float
    spacing: str = "default"
    eta: float = 0


class Samplers:
    """The samplers of one model, as tables; the most recently used ones are kept.

    Reading one takes milliseconds, or a second for KLMS with 512 steps, and happens in a thread of
    its own. The thread ends after it, and with it OpenMP's helpers: where there are more of these
    than cores, every call of torch on a CPU takes twice its time.

    Args:
        config: the configuration of the model's own scheduler.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self._tables: OrderedDict[Course, Future[Table | None]] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def schedule(self, course: Course) -> Schedule:
        """Set up diffusers' scheduler, before its first step (see `schedulers.make`)."""
        return schedulers.make(config=self.config, **asdict(course))

    def table(self, course: Course) -> Future[Table | None]:
        """Return a sampler's table; None where it is not linear, or remembers too much."""
        with self._lock:
            if course not in self._tables:
                thread = ThreadPoolExecutor(1, "samplers")
                self._tables[course] = thread.submit(self._read, course)
                thread.shutdown(wait=False)
                if len(self._tables) > TABLES:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(course)
            return self._tables[course]

    def _read(self, course: Course) -> Table | None:
        with self._reading:
            return read(self.schedule(course))


RANDOM = 64
"""Random numbers that each step is tried with beside the basis, to see whether it is linear."""


def read(schedule: Schedule) -> Table | None:
    """Read the table off a schedule that has not taken a step.

    Returns:
        None where a step does other things with random numbers than its matrix says (clipping
        does), or where the schedule remembers more than MEMORIES tensors.
    """
    scheduler, sigma = schedule.scheduler, float(schedule.scheduler.init_noise_sigma)
    # A cell more than columns, which nothing but drawn noise can fill, and the random ones.
    basis = torch.eye(COLUMNS, COLUMNS + 1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(COLUMNS, RANDOM, generator=generator, dtype=torch.float64)
    random[LATENTS] *= sigma
    probes = torch.cat([basis, random], dim=1)[:, None, None, None]
    shape = probes[0].shape
    picture, noise = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    memory: list[tuple[Any, Any]] = []
    scales, matrices, renoise, draws = [], [], [], []
    for index, timestep in enumerate(schedule.timesteps):
        renoise.append(schedule.add_noise(index, picture, noise).double())
        for column, (container, key) in enumerate(memory, start=1):
            container[key] = probes[column].clone()
        known = len(memory)
        latents = probes[LATENTS].clone()
        scaled = scheduler.scale_model_input(latents, timestep)
        scales.append(float(scaled[..., LATENTS]))
        seeded = generator.manual_seed(index).get_state()
        after = schedule.step(index, probes[OUTPUT].clone(), latents, generator)
        draws.append(not torch.equal(generator.get_state(), seeded))
        generator.manual_seed(index)
        drawn = torch.randn(shape, generator=generator, dtype=torch.float64).flatten()
        memory = _remembered(scheduler, shape)
        if len(memory) > MEMORIES:
            return None
        matrix = torch.zeros(ROWS, COLUMNS, dtype=torch.float64)
        before = random.clone()
        before[1 + known : OUTPUT], before[NOISE] = 0, drawn[-RANDOM:]
        remembered = [container[key] for container, key in memory]
        for row, tensor in enumerate(each.double().flatten() for each in (after, *remembered)):
            share = tensor[COLUMNS] / drawn[COLUMNS]
            matrix[row] = tensor[:COLUMNS] - share * drawn[:COLUMNS]
            matrix[row, NOISE] += share
            if not torch.allclose(matrix[row] @ before, tensor[-RANDOM:], rtol=1e-4, atol=1e-4):
                return None
        matrix[-1] = _estimate(schedule, index, scales[-1])
        matrices.append(matrix)
    renoise.append(picture.double())
    return Table(
        schedule.timesteps.double(),
        torch.tensor(scales, dtype=torch.float64),
        torch.stack(matrices) if matrices else torch.zeros(0, ROWS, COLUMNS, dtype=torch.float64),
        torch.stack(renoise),
        sigma,
        tuple(draws),
    )


def _remembered(scheduler: Any, shape: torch.Size) -> list[tuple[Any, Any]]:
    """Return where a scheduler keeps tensors of the latents' shape: (container, key) of each."""
    found: list[tuple[Any, Any]] = []
    attributes = vars(scheduler)
    for name, value in attributes.items():
        if isinstance(value, torch.Tensor) and value.shape == shape:
            found.append((attributes, name))
        elif isinstance(value, list):
            found += [
                (value, index)
                for index, element in enumerate(value)
                if isinstance(element, torch.Tensor) and element.shape == shape
            ]
    return found


def _estimate(schedule: Schedule, index: int, scale: float) -> torch.Tensor:
    """Return the row, (COLUMNS,), that estimates the finished latents by call `index`'s output.

    Scaled latents are sqrt(a) × picture + sqrt(1 - a) × noise, a being the cumulative product of
    the schedule's alphas (Ho et al., "Denoising Diffusion Probabilistic Models", equation 4); the
    output is the noise, the picture, or v (Salimans and Ho, "Progressive Distillation",
    appendix D).
    """
    scheduler = schedule.scheduler
    alphas = scheduler.alphas_cumprod
    alpha = float(alphas[int(schedule.timesteps[index]) % len(alphas)])
    alpha = min(max(alpha, 1e-8), 1.0)
    of_latents, of_output = {
        "epsilon": (alpha**-0.5, -((1 / alpha - 1) ** 0.5)),
        "v_prediction": (alpha**0.5, -((1 - alpha) ** 0.5)),
        "sample": (0.0, 1.0),
    }[scheduler.config.prediction_type]
    row = torch.zeros(COLUMNS, dtype=torch.float64)
    row[LATENTS], row[OUTPUT] = scale * of_latents, of_output
    return row
