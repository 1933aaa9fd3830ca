"""The original code's computation by diffusers' own networks, nothing folded and nothing in strips: to compare with."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from diffusers import AutoencoderTiny

from .errors import LotusError
from .model import TIMESTEP, LotusModel, device_of, task_embedding
from .precision import auto_dtype
from .sampling import draw_noise


def plain_dtype(device: torch.device) -> torch.dtype:
    """In which precision the original code loads its weights: float16 on CUDA, else float32."""
    return torch.float16 if device.type == "cuda" else torch.float32


def plain_autocast(model: LotusModel) -> bool:
    """Whether it computes under autocast to bfloat16: on a CPU, where "auto" takes that for a model of this size."""
    device = device_of(model)
    parameters = sum(parameter.numel() for parameter in model.unet.parameters())
    return device.type == "cpu" and auto_dtype(device, parameters) == torch.bfloat16


@torch.no_grad()
def plain_map(model: LotusModel, photo: np.ndarray) -> torch.Tensor:
    """Encode → one U-Net step → decode: the decoded annotation 1×3×H×W, nominally in [−1, 1], float32 on the CPU.

    model: loaded without `fold`, in `plain_dtype`, not offloaded. photo: uint8 H×W×3, multiples of the latents' factor;
    it is not resized. The noise of Lotus-G is that of seed 0. Raises LotusError for a folded or offloaded model.
    """
    if model.folded or model.offloaded:
        raise LotusError(f"{model.info.name} is folded or offloaded, and so not as the original code has it.")
    unet, vae, device = model.unet, model.vae, device_of(model)
    dtype = next(unet.parameters()).dtype
    image = (torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 127.5 - 1).to(device, dtype)
    switch = task_embedding("annotation").to(device, dtype)
    with torch.autocast(device.type, torch.bfloat16, enabled=plain_autocast(model)):
        encoded = vae.encode(image)
        latents = encoded.latents if isinstance(vae, AutoencoderTiny) else encoded.latent_dist.mode()
        sample = latents * vae.config.scaling_factor
        if model.variant == "g":
            sample = torch.cat([sample, draw_noise(0, 0, 0, sample.shape).to(sample)], dim=1)
        prompt = model.prompt_embeds
        predicted = unet(sample, TIMESTEP, encoder_hidden_states=prompt, class_labels=switch, return_dict=False)[0]
        decoded = vae.decode(predicted / vae.config.scaling_factor).sample
    return cast(torch.Tensor, decoded.float().cpu())
