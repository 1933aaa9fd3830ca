"""U-Net and decoder as one module, for runs that train the decoder: with the U-Net, or alone after it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..decoding import decode_latents
from ..model import LotusModel
from .config import ProtocolConfig


class Networks(nn.Module):
    """Both behind one call, so that precision and processes are handled around each."""

    def __init__(self, model: LotusModel) -> None:
        super().__init__()
        self.unet, self.vae, self.scale = model.unet, model.vae, model.latent_scale

    def forward(self, latents: torch.Tensor, *timesteps: torch.Tensor, **conditions: Any) -> Any:
        """Latents and time-steps → what the U-Net makes of them; scaled latents alone → pictures B×3×H×W, float32."""
        if timesteps:
            return self.unet(latents, *timesteps, **conditions)
        return decode_latents(self.vae, latents / self.scale)


def trained_module(model: LotusModel, protocol: ProtocolConfig) -> nn.Module:
    """What a run calls, with gradients for the part of `model` that [protocol] train names."""
    if protocol.train == "unet":
        return model.unet
    model.unet.requires_grad_(protocol.train == "both")
    model.vae.decoder.requires_grad_(True)
    if getattr(model.vae, "post_quant_conv", None) is not None:  # AutoencoderKL's
        model.vae.post_quant_conv.requires_grad_(True)
    return Networks(model)
