"""An autoencoder's decoder up to its last convolution, and that convolution: in float32, for one channel or three.

Half precisions would round the map itself to 8 (bfloat16) or 11 bits (float16), which shows as bands on smooth ramps.
The last convolution has few channels to give, so computing it in float32 costs next to nothing.
"""

from __future__ import annotations

from typing import cast

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import nn
from torch.nn import functional

from .memory import Strips
from .tiny_strips import decode_tiny
from .vae_strips import decode_in_strips, supported

STRIP = 2**24  # numbers of a feature map that are converted to float32 at once: 64 MiB


def decode_latents(
    vae: AutoencoderKL | AutoencoderTiny, latents: torch.Tensor, mean: bool = False, how: Strips = "none"
) -> torch.Tensor:
    """The autoencoder's own latents B×C×h×w (its dtype) to B×3×H×W, nominally in [−1, 1], or B×1×H×W, their mean.

    The mean over the channels is taken in the weights of the last convolution, which is exact: it is linear. float32
    where the decoder computes in a half precision, else the decoder's dtype. `how` says whether in strips.
    """
    if how != "none" and isinstance(vae, AutoencoderTiny):
        return decode_tiny(vae, latents, lambda strip: decode_latents(vae, strip, mean))
    convolution = _last_convolution(vae)
    weight, bias = convolution.weight, cast(torch.Tensor, convolution.bias)
    if mean:
        weight, bias = weight.mean(dim=0, keepdim=True), bias.mean(dim=0, keepdim=True)
    if how != "none" and supported(vae):
        if latents.dtype in (torch.bfloat16, torch.float16):
            weight, bias = weight.float(), bias.float()
        return decode_in_strips(vae, latents, how == "lean", weight, bias)
    decoded = _convolve(_features(vae, latents), weight, bias)
    # AutoencoderTiny works on pictures in [0, 1]
    return decoded.mul_(2).sub_(1) if isinstance(vae, AutoencoderTiny) else decoded


def _last_convolution(vae: AutoencoderKL | AutoencoderTiny) -> nn.Conv2d:
    last = vae.decoder.layers[-1] if isinstance(vae, AutoencoderTiny) else vae.decoder.conv_out
    assert isinstance(last, nn.Conv2d)
    assert last.padding == (1, 1)
    return last


def _features(vae: AutoencoderKL | AutoencoderTiny, latents: torch.Tensor) -> torch.Tensor:
    """What the last convolution sees: DecoderTiny.forward and Decoder.forward of diffusers without their end."""
    decoder = vae.decoder
    if isinstance(vae, AutoencoderTiny):
        return cast(torch.Tensor, decoder.layers[:-1](torch.tanh(latents / 3) * 3))
    if vae.post_quant_conv is not None:
        latents = vae.post_quant_conv(latents)
    features = decoder.mid_block(decoder.conv_in(latents))
    for block in decoder.up_blocks:
        features = block(features)
    return cast(torch.Tensor, decoder.conv_act(decoder.conv_norm_out(features)))


def _convolve(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """3×3 convolution, padding 1; of half-precision features in float32, a strip of rows at a time."""
    if features.dtype not in (torch.bfloat16, torch.float16):
        return functional.conv2d(features, weight, bias, padding=1)
    height = features.shape[2]
    rows = max(1, STRIP // max(1, features[:, :, 0].numel()))
    weight, bias = weight.float(), bias.float()
    strips = []
    with torch.autocast(features.device.type, enabled=False):
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            above, below = int(top > 0), int(bottom < height)
            strip = features[:, :, top - above : bottom + below].float()
            strip = functional.pad(strip, (1, 1, 1 - above, 1 - below))
            strips.append(functional.conv2d(strip, weight, bias))
    return torch.cat(strips, dim=2)
