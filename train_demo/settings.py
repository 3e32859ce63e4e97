"""All settings of the training in one place: its sources, its size, its time."""

from dataclasses import dataclass, field

from train_demo.words import NAMES


@dataclass(frozen=True)
class Source:
    """An npm package of pictograms under an open licence.

    `style` are the words that ask for its look; a source without any is never trained on and
    serves as unseen pictures.
    """

    package: str
    version: str
    licence: str
    owner: str
    title: str
    style: tuple[str, ...]


SOURCES = (
    Source(
        "@iconify-json/noto",
        "1.2.9",
        "Apache-2.0",
        "Google",
        "Noto Emoji",
        ("noto style", "cartoon style"),
    ),
    Source(
        "@iconify-json/noto-v1",
        "1.2.5",
        "Apache-2.0",
        "Google",
        "Noto Emoji, first edition",
        ("classic style",),
    ),
    Source(
        "@iconify-json/twemoji",
        "1.2.5",
        "CC-BY-4.0",
        "Twitter and other contributors",
        "Twemoji",
        ("twemoji style", "flat vector style"),
    ),
    Source(
        "@iconify-json/fluent-emoji",
        "1.2.7",
        "MIT",
        "Microsoft Corporation",
        "Fluent Emoji",
        ("glossy style", "gradient style"),
    ),
    Source(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "MIT",
        "Microsoft Corporation",
        "Fluent Emoji, flat",
        ("flat style", "flat design"),
    ),
    Source(
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "MIT",
        "Microsoft Corporation",
        "Fluent Emoji, 3D",
        ("3d style", "3d render"),
    ),
    Source(
        "@iconify-json/fxemoji",
        "1.2.2",
        "Apache-2.0",
        "Mozilla",
        "Firefox OS Emoji",
        ("firefox style",),
    ),
    Source("@iconify-json/emojione", "1.2.3", "CC-BY-4.0", "Emoji One", "EmojiOne 2", ()),
)
NAMES_PACKAGE = ("emojibase-data", "17.0.0")  # CLDR names and keywords, MIT
MERGES_PACKAGE = ("open-clip-torch", "3.3.0")  # CLIP's byte pair merges, MIT

SHOWN = (
    "a red apple",
    "a purple apple",
    "a panda",
    "a grinning face",
    "a bus",
    "a house with garden, 3d style",
    "a rose, flat style",
    "a blue star on a yellow background",
    "three strawberries",
    "a cat face and a rocket",
)
"""The prompts of the grids that are drawn during the training."""


@dataclass(frozen=True)
class Settings:
    """The settings of a training: `names` are CLDR's, () for all; minutes of training alone."""

    names: tuple[str, ...] = ()
    native_size: int = 256  # pixels, of a picture when nobody asks for a size
    variants: int = 6  # of each picture, besides itself: another colour, a background, company
    captions: int = 16  # of each of them, of which one is drawn with it

    autoencoder_channels: tuple[int, ...] = (32, 64, 128, 128)
    autoencoder_minutes: float = 1.25
    autoencoder_batch: int = 256
    autoencoder_rate: float = 2e-3

    unet_channels: tuple[int, ...] = (96, 192, 256)
    text_width: int = 256
    text_layers: int = 3
    minutes: float = 4
    minutes_of_a_step: float | None = None  # None measures them
    rate: float = 1e-3
    warm_up: int = 200  # steps
    captions_dropped: float = 0.1
    average: float = 0.999  # decay of the moving average of the weights
    batch: dict[int, int] = field(default_factory=lambda: {128: 256, 256: 96})  # by pixels
    # Share of the steps at each size in the first and in the second half of the training.
    shares: tuple[dict[int, float], dict[int, float]] = (
        {128: 0.7, 256: 0.3},
        {128: 0.35, 256: 0.65},
    )
    steps_between_logs: int = 200
    minutes_between_checkpoints: float = 0.75  # and exports
    minutes_between_grids: float = 3

    judge_width: int = 48  # channels of its first layer
    judge_steps: int = 4000
    evaluated: int = 600  # prompts for each figure


PRESETS = {
    # An H100 or H200, within eight minutes in all: every name, at 128 and 256 px.
    "gpu": Settings(),
    # Two CPU cores and some hours: a core vocabulary; many small steps draw better than few large.
    "cpu": Settings(
        names=NAMES,
        native_size=128,
        variants=9,
        autoencoder_channels=(16, 32, 64, 128),
        autoencoder_minutes=15,
        autoencoder_batch=12,
        autoencoder_rate=2e-3,
        unet_channels=(64, 128, 192),
        text_width=192,
        minutes=120,
        rate=7e-4,
        steps_between_logs=50,
        batch={128: 32, 256: 8},
        shares=({128: 0.8, 256: 0.2}, {128: 0.55, 256: 0.45}),
        minutes_between_checkpoints=5,
        minutes_between_grids=15,
        judge_width=16,
        judge_steps=2000,
        evaluated=32,
    ),
    # Whether everything works, in a minute and the same number of steps; draws nothing.
    "smoke": Settings(
        names=("red apple", "star", "bus"),
        variants=2,
        autoencoder_channels=(8, 8, 16, 16),
        captions=2,
        autoencoder_minutes=0.1,
        autoencoder_batch=4,
        unet_channels=(32, 32),
        text_width=32,
        text_layers=1,
        minutes=0.2,
        minutes_of_a_step=0.01,
        warm_up=2,
        batch={128: 4, 256: 2},
        shares=({128: 1.0}, {128: 0.5, 256: 0.5}),
        steps_between_logs=2,
        minutes_between_checkpoints=0.05,
        minutes_between_grids=0.1,
        judge_width=8,
        judge_steps=5,
        evaluated=2,
    ),
}
