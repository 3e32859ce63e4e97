"""OpenVINO's UNet and autoencoder, held to torch's own on tiny models with random weights."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stable_diffusion.executors import conversion, openvino_parts
from stable_diffusion.executors.conversion import Part
from stable_diffusion.executors.openvino_parts import OpenVinoParts

TEXT_WIDTH = 16
SIDE = 16
NATIVE = (2, SIDE, SIDE, 77)
TOLERANCE = 1e-3
"""Of an output's largest value."""
PROJECT = Path(__file__).parents[4]


def tiny_pipeline(channels: int = 4, has_labels: bool = False, seed: int = 0) -> Any:
    """What `OpenVinoParts` reads of a pipeline: latents have half the picture's size."""
    import diffusers

    torch.manual_seed(seed)
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIDE,
        in_channels=channels,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=8,
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=TEXT_WIDTH,
        num_class_embeds=1000 if has_labels else None,
    )
    text_encoder = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=77))
    return SimpleNamespace(
        unet=unet.eval(), vae=tiny_vae(), vae_scale_factor=2, text_encoder=text_encoder
    )


@functools.cache
def tiny_vae() -> Any:
    import diffusers

    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=(8, 16),
        norm_num_groups=8,
        sample_size=64,
    )
    vae.enable_tiling()
    vae.tile_latent_min_size, vae.tile_sample_min_size = 64, 128
    return vae.eval()


def parts_of(pipeline: Any, cache_dir: Path | None, memory: int | None = None) -> OpenVinoParts:
    return OpenVinoParts(pipeline, dtype=pipeline.unet.dtype, cache_dir=cache_dir, memory=memory)


def prepared(pipeline: Any, cache_dir: Path | None = None) -> OpenVinoParts:
    parts = parts_of(pipeline, cache_dir)
    parts.prepare()
    return parts


def inputs(
    pipeline: Any, rows: int, height: int, width: int, tokens: int = 77
) -> tuple[torch.Tensor, ...]:
    """The UNet's, each row another."""
    config = pipeline.unet.config
    labels = (torch.arange(rows) * 20,) if config.num_class_embeds else ()
    return (
        torch.randn(rows, config.in_channels, height, width),
        torch.linspace(1, 999, rows),
        torch.randn(rows, tokens, TEXT_WIDTH),
        *labels,
    )


def by_torch(pipeline: Any, *given: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = pipeline.unet(*given, return_dict=False)[0]
    return output


def agree(ours: torch.Tensor | None, torchs: torch.Tensor, tolerance: float = TOLERANCE) -> bool:
    assert ours is not None
    assert (ours.shape, ours.dtype) == (torchs.shape, torchs.dtype)
    return bool((ours - torchs).abs().max() <= tolerance * torchs.abs().max())


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_compiling() -> bool:
    return any(thread.name == "openvino" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", autouse=True)
def conversions() -> Iterator[list[Part]]:
    """The parts that were to be converted; each module is converted once, to save time."""
    asked: list[Part] = []
    done: dict[tuple[int, Any], Any] = {}
    convert = conversion._convert

    def convert_once(part: Part) -> Any:
        asked.append(part)
        key = id(part.module), part.function
        if key not in done:
            done[key] = convert(part)
        return done[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "_convert", convert_once)
        yield asked


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openvino")


@pytest.fixture(scope="module")
def parts(pipeline: Any, cache_dir: Path) -> OpenVinoParts:
    return prepared(pipeline, cache_dir)


@pytest.fixture
def gain_pays_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size gets a form of its own after its first call."""
    monkeypatch.setattr(openvino_parts, "GAIN_SHARE", 1e9)


@pytest.mark.parametrize(
    ("rows", "height", "width", "tokens"),
    [(*NATIVE,), (1, 16, 16, 77), (2, 16, 16, 154), (5, 24, 8, 231), (32, 8, 8, 77)],
)
def test_the_unet_gives_what_torch_gives(
    rows: int, height: int, width: int, tokens: int, pipeline: Any, parts: OpenVinoParts
) -> None:
    given = inputs(pipeline, rows, height, width, tokens)
    assert agree(parts.unet(*given), by_torch(pipeline, *given))


@pytest.mark.parametrize(("channels", "has_labels"), [(5, False), (7, True), (9, False)])
def test_conditions_and_labels_reach_the_unet(channels: int, has_labels: bool) -> None:
    pipeline = tiny_pipeline(channels, has_labels)
    parts = prepared(pipeline)
    for size in (NATIVE, (3, 8, 24, 154)):
        given = inputs(pipeline, *size)
        assert agree(parts.unet(*given), by_torch(pipeline, *given))
    if has_labels:
        sample, timesteps, text, labels = given
        ours = parts.unet(sample, timesteps, text, labels + 1)
        assert not agree(ours, by_torch(pipeline, *given))


def test_one_timestep_serves_all_rows(pipeline: Any, parts: OpenVinoParts) -> None:
    sample, _, text = inputs(pipeline, 3, 8, 8)
    ours = parts.unet(sample, torch.tensor(500), text)
    assert agree(ours, by_torch(pipeline, sample, torch.tensor(500.0), text))


def test_tensors_in_any_layout_are_taken(pipeline: Any, parts: OpenVinoParts) -> None:
    sample, timesteps, text = inputs(pipeline, 4, 16, 16)
    last = sample.to(memory_format=torch.channels_last)
    given = last[::2], timesteps[::2], text.transpose(1, 2).contiguous().transpose(1, 2)[::2]
    assert agree(parts.unet(*given), by_torch(pipeline, *given))


@pytest.mark.parametrize(("pictures", "height", "width"), [(1, 16, 16), (3, 8, 24), (1, 64, 64)])
def test_the_autoencoder_gives_what_torch_gives(
    pictures: int, height: int, width: int, pipeline: Any, parts: OpenVinoParts
) -> None:
    latents = torch.randn(pictures, 4, height, width)
    assert agree(parts.decode(latents), pipeline.vae.decode(latents, return_dict=False)[0])
    pixels = torch.rand(pictures, 3, 2 * height, 2 * width) * 2 - 1
    assert agree(parts.encode(pixels), pipeline.vae.encode(pixels).latent_dist.mean)


def test_an_output_is_not_overwritten_by_the_next_call(pipeline: Any, parts: OpenVinoParts) -> None:
    latents = torch.randn(1, 4, 16, 16)
    for size in (NATIVE, (3, 16, 16, 77)):  # of a form for one size, and of that for any
        given = inputs(pipeline, *size)
        outputs = parts.unet(*given), parts.decode(latents)
        copies = [output.clone() for output in outputs if output is not None]
        sample, timesteps, text = given
        parts.unet(-sample, timesteps, text)
        parts.decode(-latents)
        assert len(copies) == 2
        for output, was in zip(outputs, copies, strict=True):
            assert output is not None
            assert torch.equal(output, was)


def test_nothing_is_answered_before_it_is_prepared(pipeline: Any) -> None:
    unprepared = parts_of(pipeline, None)
    assert unprepared.unet(*inputs(pipeline, *NATIVE)) is None
    assert unprepared.decode(torch.zeros(1, 4, 16, 16)) is None
    assert unprepared.encode(torch.zeros(1, 3, 32, 32)) is None


def test_sizes_that_the_unet_pads_or_the_autoencoder_tiles_are_left_to_torch(
    pipeline: Any, parts: OpenVinoParts
) -> None:
    assert parts.unet(*inputs(pipeline, 2, 16, 15)) is None
    assert parts.decode(torch.zeros(1, 4, 8, 66)) is None
    assert parts.encode(torch.zeros(1, 3, 130, 16)) is None


def test_half_precision_is_answered_in_half_precision_and_leaves_the_model_as_it_is() -> None:
    pipeline = tiny_pipeline()
    given = inputs(pipeline, *NATIVE)
    exact = by_torch(pipeline, *given)
    pipeline.unet.bfloat16()
    parts = prepared(pipeline)
    assert {weights.dtype for weights in pipeline.unet.parameters()} == {torch.bfloat16}
    ours = parts.unet(*(tensor.bfloat16() for tensor in given))
    assert agree(ours, exact.bfloat16(), tolerance=0.05)


def test_the_model_serves_while_it_is_converted() -> None:
    pipeline = tiny_pipeline(seed=2)
    given = inputs(pipeline, *NATIVE)
    expected = by_torch(pipeline, *given)
    parts = parts_of(pipeline, None)
    preparing = threading.Thread(target=parts.prepare)
    preparing.start()
    calls = 0
    while preparing.is_alive():
        assert torch.equal(by_torch(pipeline, *given), expected)
        calls += 1
    assert calls > 1
    assert agree(parts.unet(*given), expected)


def test_a_second_start_converts_nothing(
    pipeline: Any, parts: OpenVinoParts, cache_dir: Path, conversions: list[Part]
) -> None:
    conversions.clear()
    given = inputs(pipeline, *NATIVE)
    assert agree(prepared(pipeline, cache_dir).unet(*given), by_torch(pipeline, *given))
    assert not conversions


def test_other_weights_are_converted_anew(pipeline: Any, tmp_path: Path) -> None:
    prepared(pipeline, tmp_path)
    other = tiny_pipeline(seed=1)
    given = inputs(other, *NATIVE)
    assert agree(prepared(other, tmp_path).unet(*given), by_torch(other, *given))
    assert len(list(tmp_path.glob("*/" + conversion.CONTENTS))) == 2


def flip_a_byte(folder: Path) -> None:
    file = folder / "unet.bin"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def cut(folder: Path) -> None:
    file = folder / "decoder.xml"
    file.write_bytes(file.read_bytes()[:1000])


def empty(folder: Path) -> None:
    (folder / conversion.CONTENTS).write_text("")


def lose(folder: Path) -> None:
    (folder / "encoder.bin").unlink()


def age(folder: Path) -> None:
    file = folder / conversion.CONTENTS
    contents = json.loads(file.read_text())
    contents["versions"]["openvino"] = "2022.1.0"
    file.write_text(json.dumps(contents))


@pytest.mark.parametrize("break_", [flip_a_byte, cut, empty, lose, age])
def test_what_is_broken_or_old_on_the_disk_is_made_anew(
    break_: Callable[[Path], None],
    pipeline: Any,
    parts: OpenVinoParts,
    cache_dir: Path,
    tmp_path: Path,
    conversions: list[Part],
) -> None:
    (kept,) = cache_dir.glob("*/" + conversion.CONTENTS)
    folder = tmp_path / kept.parent.name
    shutil.copytree(kept.parent, folder)
    break_(folder)
    unfinished = tmp_path / conversion.UNFINISHED  # of a process that was killed
    unfinished.mkdir()
    (unfinished / "unet.bin").write_bytes(b"0")

    given = inputs(pipeline, *NATIVE)
    for count in (3, 0):
        conversions.clear()
        assert agree(prepared(pipeline, tmp_path).unet(*given), by_torch(pipeline, *given))
        assert len(conversions) == count
    assert {path.name for path in tmp_path.iterdir()} == {folder.name, "lock"}
    assert {path.name for path in folder.iterdir()} == {path.name for path in kept.parent.iterdir()}


def test_where_nothing_can_be_kept_it_serves_all_the_same(
    pipeline: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    given = inputs(pipeline, *NATIVE)
    assert agree(prepared(pipeline, file).unet(*given), by_torch(pipeline, *given))
    line = capsys.readouterr().err
    assert line.startswith(f"the converted model can't be saved in {file}: ")
    assert line.count("\n") == 1


def test_a_full_disk_is_said_in_one_line(
    pipeline: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("Check failed:\n no space left")  # as OpenVINO's errors are

    monkeypatch.setattr(conversion.import_openvino(), "save_model", fail)
    given = inputs(pipeline, *NATIVE)
    assert agree(prepared(pipeline, tmp_path).unet(*given), by_torch(pipeline, *given))
    said = f"the converted model can't be saved in {tmp_path}: Check failed: no space left\n"
    assert capsys.readouterr().err == said
    assert [file.name for file in tmp_path.iterdir()] == ["lock"]


SHARER = """
import sys
from pathlib import Path
import torch
from stable_diffusion.executors import conversion
from tests.integration.stable_diffusion.executors import test_openvino_parts as tests

assert "openvino" not in sys.modules
convert, converted = conversion._convert, []
conversion._convert = lambda part: (converted.append(part), convert(part))[1]
pipeline = tests.tiny_pipeline()
with torch.inference_mode():
    parts = tests.prepared(pipeline, Path(sys.argv[1]))
    given = tests.inputs(pipeline, *tests.NATIVE)
    assert tests.agree(parts.unet(*given), tests.by_torch(pipeline, *given))
assert sys.modules["openvino_telemetry"] is None
print(len(converted))
"""


def test_two_processes_that_share_a_folder_convert_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SHARER, str(tmp_path)]
    processes = [
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    printed = [process.communicate(timeout=300)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(printed) == ["0", "3"]


@pytest.mark.usefixtures("gain_pays_at_once")
def test_a_size_that_pays_gets_a_form_and_the_least_recently_used_leaves(
    pipeline: Any, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Room for two of these sizes, but not for one of eight times as many pixels.
    monkeypatch.setattr(openvino_parts, "FORMS_BYTES", 3 * openvino_parts.KERNELS_BYTES)
    monkeypatch.setattr(openvino_parts, "LIVE_NUMBERS", 400)
    parts = prepared(pipeline, cache_dir)
    assert parts.sizes == {NATIVE}

    def ask_for(size: tuple[int, int, int, int]) -> None:
        given = inputs(pipeline, *size)
        assert agree(parts.unet(*given), by_torch(pipeline, *given))
        wait_until(lambda: size in parts.sizes and not is_compiling())
        assert agree(parts.unet(*given), by_torch(pipeline, *given))

    first, second = (1, 16, 16, 77), (3, 8, 24, 154)
    ask_for(first)
    assert parts.sizes == {NATIVE, first}
    ask_for(NATIVE)
    ask_for(second)
    assert parts.sizes == {NATIVE, second}
    too_large = inputs(pipeline, 2, 64, 32)
    assert agree(parts.unet(*too_large), by_torch(pipeline, *too_large))
    assert not is_compiling()
    assert parts.sizes == {NATIVE, second}


@pytest.mark.usefixtures("gain_pays_at_once")
def test_a_form_made_while_torch_computes_in_one_thread_uses_all_cores(
    pipeline: Any, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = [2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    parts = prepared(pipeline, cache_dir)
    compiled_for = []
    core = parts._unet._compile_model  # type: ignore[union-attr]

    def compile_model(model: Any) -> Any:
        form = core(model)
        compiled = form._request.get_compiled_model()
        compiled_for.append(compiled.get_property("INFERENCE_NUM_THREADS"))
        return form

    monkeypatch.setattr(parts._unet, "_compile_model", compile_model)
    threads.append(1)  # as within a step
    parts.unet(*inputs(pipeline, 1, 16, 16))
    wait_until(lambda: bool(compiled_for))
    assert compiled_for == [2]


def test_a_size_gets_no_form_before_that_pays(pipeline: Any, cache_dir: Path) -> None:
    parts = prepared(pipeline, cache_dir)
    given = inputs(pipeline, 1, 8, 8)
    for _ in range(3):
        parts.unet(*given)
    assert not is_compiling()
    assert parts.sizes == {NATIVE}


@pytest.mark.usefixtures("gain_pays_at_once")
def test_a_form_that_fails_is_done_without(
    pipeline: Any,
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts = prepared(pipeline, cache_dir)

    def fail(self: Any, size: Any) -> None:
        raise RuntimeError("no\nmemory")

    monkeypatch.setattr(openvino_parts._Unet, "add", fail)
    for rows in (1, 3, 3, 4):
        given = inputs(pipeline, rows, 16, 16)
        assert agree(parts.unet(*given), by_torch(pipeline, *given))
        wait_until(lambda: not is_compiling())
    assert capsys.readouterr().err == "OpenVINO compiles the UNet for no further sizes: no memory\n"


def test_memory_limits_the_forms(pipeline: Any, cache_dir: Path) -> None:
    weights = 4 * sum(each.numel() for each in pipeline.unet.parameters())
    autoencoder = 4 * sum(each.numel() for each in pipeline.vae.parameters())
    with pytest.raises(MemoryError):
        parts_of(pipeline, cache_dir, memory=weights).prepare()
    parts = parts_of(pipeline, cache_dir, memory=weights + autoencoder)
    parts.prepare()
    assert parts.sizes == frozenset()
    given = inputs(pipeline, *NATIVE)
    assert agree(parts.unet(*given), by_torch(pipeline, *given))
