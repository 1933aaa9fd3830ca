"""The original computation by diffusers' own parts: what Lotus is compared with, for its numbers and its cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

TIMESTEP = 999  # T, and the switch "predict the annotation": written out, not taken from the code that is compared
SWITCH = torch.tensor([[1.0, 0.0]], device="cpu")


def from_pretrained(folder: Path) -> tuple[Any, Any, torch.Tensor]:
    """U-Net, autoencoder and the empty prompt's embedding 1×2×C of an official folder, as the original pipeline reads
    them."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
    tokens = CLIPTokenizer.from_pretrained(folder / "tokenizer")(
        "", padding="do_not_pad", return_tensors="pt"
    ).input_ids
    assert tokens.shape == (1, 2)
    with torch.no_grad():
        prompt: torch.Tensor = encoder(tokens)[0]
    return unet, vae, prompt


@torch.no_grad()
def compose(
    unet: Any, vae: Any, prompt: torch.Tensor, image: torch.Tensor, noise: torch.Tensor | None = None
) -> torch.Tensor:
    """encode (the posterior's mode) → one U-Net step → decode.

    `image` 1×3×H×W in [−1, 1], `noise` 1×4×H/8×W/8 for Lotus-G; the decoded annotation 1×3×H×W, nominally in [−1, 1].
    """
    latents = vae.encode(image).latent_dist.mode() * vae.config.scaling_factor
    sample = latents if noise is None else torch.cat([latents, noise.to(latents)], dim=1)
    switch = torch.cat([SWITCH.sin(), SWITCH.cos()], dim=-1).to(image)
    predicted = unet(sample, TIMESTEP, encoder_hidden_states=prompt, class_labels=switch, return_dict=False)[0]
    decoded: torch.Tensor = vae.decode(predicted / vae.config.scaling_factor).sample
    return decoded


def latent_noise(image: torch.Tensor) -> torch.Tensor:
    """Standard normal noise for the latents of `image`, the same every time, drawn on the CPU."""
    batch, _, height, width = image.shape
    return torch.randn(batch, 4, height // 8, width // 8, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
