"""The NSFW checker, which flags pictures that are then left out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stable_diffusion.catalogue import WeightsError, check_components, find_checker
from stable_diffusion.models import Model, in_fresh_thread, reading, within_files

if TYPE_CHECKING:
    import torch
    from PIL import Image


class NsfwError(Exception):
    """All images of a request were flagged."""

    def __init__(self) -> None:
        super().__init__("NSFW content detected. Try running it again, or try a different prompt.")


class SafetyChecker:
    """CompVis's `StableDiffusionSafetyChecker`, which flags pictures that are not safe for work.

    Args:
        folder: of a model in the hub's layout, with `safety_checker/` (its configuration and
            `model.safetensors` or `model.fp16.safetensors`) and `feature_extractor/`.
        device: where it computes.
        dtype: its precision.

    Raises:
        WeightsError: when its files can't be read or don't hold all of its weights.
    """

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        import transformers
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

        transformers.utils.logging.disable_progress_bar()
        weights, processor = folder / "safety_checker", folder / "feature_extractor"
        for file in (weights / "config.json", processor / "preprocessor_config.json"):
            if not file.exists():
                raise WeightsError(f"{file} is missing; the NSFW checker needs it")
        fp16 = weights / "model.fp16.safetensors"
        file = fp16 if fp16.exists() else weights / "model.safetensors"
        with reading(f"the NSFW checker in {folder}"), within_files(weights, [file]):
            check_components(folder, (weights.name, processor.name))
            # The one that does without torchvision: it resizes by Pillow, as the original did.
            self._processor = transformers.CLIPImageProcessorPil.from_pretrained(processor)
            checker, report = StableDiffusionSafetyChecker.from_pretrained(
                weights,
                dtype=dtype,
                variant="fp16" if file == fp16 else None,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        # What the library did not find in the file it has filled with random numbers.
        random = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
        if random:
            names = ", ".join(sorted(random)[:5])
            raise WeightsError(
                f"{weights} lacks {len(random)} of the checker's weights, or has them in another "
                f"shape ({names}); download it again"
            )
        self._checker = checker.to(device)

    @classmethod
    def beside(cls, model: Model) -> SafetyChecker | None:
        """Load a checker onto a model's device; None where its weights were not downloaded.

        Raises:
            WeightsError: when they can't be read.
        """
        folder = find_checker()
        if not folder:
            return None
        import torch

        # On a CPU, half precision would take ten times as long.
        dtype = model.dtype if model.device.type == "cuda" else torch.float32
        return in_fresh_thread(cls, folder, model.device, dtype)

    def is_nsfw(self, picture: Image.Image) -> bool:
        """Return whether the picture is closer to one of the checker's concepts than is allowed.

        It decides as the library does, which also blackens the picture and warns in the log.

        Args:
            picture: RGB, of any size; its central square is looked at, in 224 × 224 pixels.
        """
        import torch

        checker = self._checker
        with torch.inference_mode():
            pixels = self._processor(picture, return_tensors="pt")["pixel_values"]
            pooled = checker.vision_model(pixels.to(checker.device, checker.dtype)).pooler_output
            embedding = checker.visual_projection(pooled).float()

            def excess(concepts: torch.Tensor, allowed: torch.Tensor) -> torch.Tensor:
                likeness = torch.nn.functional.cosine_similarity(embedding, concepts.float())
                return likeness - allowed.float()

            special = excess(checker.special_care_embeds, checker.special_care_embeds_weights)
            stricter = 0.01 if (special.round(decimals=3) > 0).any() else 0
            nsfw = excess(checker.concept_embeds, checker.concept_embeds_weights) + stricter
            return bool((nsfw.round(decimals=3) > 0).any())
