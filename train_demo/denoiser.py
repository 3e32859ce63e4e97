"""What draws from a text: text encoder and UNet, which are trained together, by v-prediction."""

import dataclasses
from pathlib import Path

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from train_demo.settings import Settings


def noise_schedule() -> DDIMScheduler:
    """Return SD's schedule, rescaled to pure noise at the last timestep (arXiv 2305.08891)."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )


@dataclasses.dataclass
class Denoiser:
    """The components that are trained, with the tokenizer."""

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel

    @classmethod
    def new(cls, settings: Settings, tokenizer: CLIPTokenizer) -> "Denoiser":
        """Return an untrained denoiser; the UNet's branches begin at zero (arXiv 2105.05233)."""
        width, channels = settings.text_width, settings.unet_channels
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=settings.text_layers,
                num_attention_heads=width // 32,
                hidden_act="gelu",
                projection_dim=width,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        deeper = len(channels) - 1
        unet = UNet2DConditionModel(
            sample_size=max(settings.batch) // 8,
            block_out_channels=channels,
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D",) * deeper + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * deeper,
            cross_attention_dim=width,
            attention_head_dim=tuple(channel // 32 for channel in channels),
            use_linear_projection=True,
        )
        for name, module in unet.named_modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)
            if name.endswith((".conv2", "conv_out", ".proj_out")):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)
        return cls(tokenizer, text_encoder, unet)

    @classmethod
    def of(cls, folder: Path) -> "Denoiser":
        """Load the denoiser of a pipeline's folder, to train it further."""
        return cls(
            CLIPTokenizer.from_pretrained(folder / "tokenizer"),
            CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32),
            UNet2DConditionModel.from_pretrained(folder / "unet", dtype=torch.float32),
        )

    def to(self, device: torch.device) -> "Denoiser":
        """Move it to the device; return itself."""
        self.text_encoder.to(device)
        self.unet.to(device, memory_format=torch.channels_last)
        return self

    def parameters(self) -> list[nn.Parameter]:
        """Return all of its weights."""
        return [*self.text_encoder.parameters(), *self.unet.parameters()]

    def modules(self) -> dict[str, nn.Module]:
        """Return what is trained, by the names of a pipeline's components."""
        return {"text_encoder": self.text_encoder, "unet": self.unet}
