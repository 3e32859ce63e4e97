"""The joint training of text encoder and UNet from captions and latents."""

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from diffusers.models.attention_processor import AttnProcessor

from stable_diffusion.executors.cuda_graphs import GraphRecorder
from train_demo import graphs
from train_demo.course import Course
from train_demo.denoiser import Denoiser
from train_demo.latents import Latents
from train_demo.progress import Clock, Log
from train_demo.sampling import Batch, Sampler
from train_demo.settings import Settings
from train_demo.state import State, adamw
from train_demo.stopping import Stop
from train_demo.whole_step import WholeStep


def train(
    denoiser: Denoiser,
    learned: Latents,
    settings: Settings,
    checkpoint: Path,
    log: Log,
    stop: Stop,
    export: Callable[[Denoiser], None],
    sample: Callable[[str], None],
) -> Denoiser:
    """Train `denoiser` for `settings.minutes`, those before an interruption included.

    Args:
        denoiser: on the device that trains.
        learned: what it learns to draw.
        settings: rate, batches, minutes and the rest.
        checkpoint: the file to go on from, and to write.
        log: where the progress goes.
        stop: may end it, with a checkpoint.
        export: is given the averaged model whenever there is a checkpoint of it.
        sample: is given the minute, whenever a grid of the exported model is due.

    Returns:
        The moving average of the weights.

    Raises:
        TrainingError: steps were not finite too often; the checkpoint has the last good state.
        Stopped: a signal has come.
    """
    device = denoiser.unet.device
    averaged = copy.deepcopy(denoiser)
    if device.type == "cpu":
        # Faster than SDPA for training at these sizes on a CPU, by 12 % of the step.
        denoiser.unet.set_attn_processor(AttnProcessor())
    # A step that is not captured is taken by the same optimizer, and that is meant.
    warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
    optimizer = adamw(denoiser.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
    trained = {f"averaged_{name}": module for name, module in averaged.modules().items()}
    state = State(denoiser.modules() | trained, optimizer)
    clock = Clock(settings.minutes, settings.minutes_of_a_step)
    course = Course(state, checkpoint, clock, settings.steps_between_logs, log, stop)
    torch.backends.cudnn.benchmark = True
    sampler = Sampler(learned, settings, device, seed=course.step)
    step = WholeStep(denoiser, averaged, optimizer)
    captured: Mapping[int, Callable[[Batch], torch.Tensor]] = {}
    if device.type == "cuda":
        marker = checkpoint.with_name("capturing")
        captured = graphs.capture_all(step, state, sampler, GraphRecorder(), marker, log)
    while course.goes_on():
        state.set_rate(
            settings.rate * course.rate_share * pace(course.step, clock.share, settings.warm_up)
        )
        step.renewed.fill_(1 - min(settings.average, (2 + course.step) / (11 + course.step)))
        size = sampler.size(clock.share)
        title = f"{size} px"
        # Where a fault was, a graph may be to blame.
        take = step if title in course.faults else captured.get(size, step)
        course.took(title, settings.batch[size], take(sampler.batch(size)))
        is_grid_due = clock.due("grid", settings.minutes_between_grids)
        if clock.due("checkpoint", settings.minutes_between_checkpoints) or is_grid_due:
            course.save()
            export(averaged)
        if is_grid_due:
            sample(f"{clock.minutes:.1f}")
    course.save()
    return averaged


def pace(step: int, share: float, warm_up: int) -> float:
    """Return the share of the full learning rate: warm-up by steps, a cosine in the second half."""
    tail = 1 if share < 0.5 else 0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * (2 * share - 1)))
    return min(1, (step + 1) / warm_up) * tail
