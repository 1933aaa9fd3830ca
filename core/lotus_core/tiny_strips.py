"""AutoencoderTiny a strip of rows at a time.

It is made of convolutions alone, so a strip with the rows that they reach beyond it gives just its part of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from torch import nn

from .memory import Strips
from .upsampling import FoldedUpsample2D

STRIP_ROWS = 512  # of the picture
_UPSAMPLES = (nn.Upsample, FoldedUpsample2D)


def encode_tiny(vae: AutoencoderTiny, images: torch.Tensor, how: Strips) -> torch.Tensor:
    """Images B×3×H×W in [−1, 1] to the autoencoder's own latents B×C×h×w."""
    if how == "none":
        return cast(torch.Tensor, vae.encode(images).latents)
    factor = _scale(vae.encoder.layers)
    reach = _up_to(_reach(vae.encoder.layers), factor)
    return _in_strips(lambda strip: vae.encode(strip).latents, images, reach, STRIP_ROWS, 1, factor)


def decode_tiny(
    vae: AutoencoderTiny, latents: torch.Tensor, decode: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """`decode` of the autoencoder's own latents; it is what `decoding.decode_latents` does to a strip."""
    factor = 2 ** sum(isinstance(part, _UPSAMPLES) for part in vae.decoder.layers)
    reach = -(-_reach(vae.decoder.layers) // factor)  # counted in pixels of the picture
    return _in_strips(decode, latents, reach, STRIP_ROWS // factor, factor, 1)


def _in_strips(
    work: Callable[[torch.Tensor], torch.Tensor], whole: torch.Tensor, reach: int, step: int, up: int, down: int
) -> torch.Tensor:
    """`work`, which makes `up` rows of `down` rows, strip by strip with `reach` rows more on either side."""
    height = whole.shape[2]
    parts = []
    for top in range(0, height, step):
        bottom = min(top + step, height)
        first, last = max(0, top - reach), min(height, bottom + reach)
        done = work(whole[:, :, first:last])
        parts.append(done[:, :, (top - first) * up // down : (bottom - first) * up // down].clone())
    return torch.cat(parts, dim=2)


def _convolutions(layers: Iterable[nn.Module]) -> list[Any]:
    """Convolutions and changes of size in the order in which a picture meets them."""
    found: list[Any] = []
    for layer in layers:
        inner = layer.conv if isinstance(layer, AutoencoderTinyBlock) else [layer]
        found += [part for part in inner if isinstance(part, nn.Conv2d | nn.Upsample | FoldedUpsample2D)]
    return found


def _scale(layers: Iterable[nn.Module]) -> int:
    """Pixels along one edge of what the last of an encoder's layers gives."""
    scale = 1
    for part in _convolutions(layers):
        scale *= part.stride[0] if isinstance(part, nn.Conv2d) else 1
    return scale


def _reach(layers: nn.Sequential) -> int:
    """Pixels of the picture that a result depends on to either side: at the larger end of encoder or decoder."""
    parts = _convolutions(layers)
    if any(isinstance(part, _UPSAMPLES) for part in parts):
        parts = parts[::-1]  # from the picture down, as in an encoder
    reach, scale = 0, 1
    for part in parts:
        if isinstance(part, _UPSAMPLES):
            reach += scale if isinstance(part, FoldedUpsample2D) else 0  # it holds the convolution as well
            scale *= 2
        else:
            reach += scale * (part.kernel_size[0] // 2)
            scale *= part.stride[0]
    return reach


def _up_to(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
