"""The autoencoder a strip of rows at a time: the same numbers as in one piece, in a fraction of the memory.

Cutting a picture into tiles changes what an autoencoder makes of it, because its GroupNorms see the statistics of a
tile and its attention nothing beyond it. Here only the convolutions are cut, with the rows that they reach beyond a
strip; every GroupNorm gets the statistics of the whole feature map, gathered before it is applied; attention, which
works at the latents' size, is not cut at all. So there are no seams to hide: results differ by rounding alone.

A residual block in one piece holds five feature maps. Here it holds two, or with `lean` one: the feature map between
its convolutions is computed twice, once for its statistics and once for the second convolution.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.nn import functional

from .memory import Strips
from .strips import Activation, Moments, Rows, convolved, downsampled, held, moments, stored, upsampled, whole
from .upsampling import FoldedUpsample2D


def supported(vae: Any) -> bool:
    """Whether the autoencoder is made of the parts that this module knows, as all of Stable Diffusion 1 and 2 are."""
    if not isinstance(vae, AutoencoderKL) or not isinstance(vae.decoder.conv_norm_out, nn.GroupNorm):
        return False
    blocks = [*vae.encoder.down_blocks, *vae.decoder.up_blocks]
    scalers = [scaler for block in blocks for name in _SCALERS for scaler in getattr(block, name, None) or ()]
    return (
        all(type(block).__name__ in _BLOCKS for block in blocks)
        and all(_plain(residual) for block in blocks for residual in block.resnets)
        and all(_plain_scaler(scaler) for scaler in scalers)
    )


_BLOCKS = ("DownEncoderBlock2D", "UpDecoderBlock2D")
_SCALERS = ("downsamplers", "upsamplers")


def encode_moments(vae: AutoencoderKL, images: torch.Tensor, how: Strips) -> DiagonalGaussianDistribution:
    """The posterior of images B×3×H×W, in one piece or in strips."""
    if how == "none" or not supported(vae):
        return cast(DiagonalGaussianDistribution, vae.encode(images).latent_dist)
    return DiagonalGaussianDistribution(encode_in_strips(vae, images, how == "lean"))


def encode_in_strips(vae: AutoencoderKL, images: torch.Tensor, lean: bool) -> torch.Tensor:
    """Images B×3×H×W, H and W multiples of the latents' factor, to the moments of the posterior, B×2C×h×w."""
    encoder = vae.encoder
    features = convolved(whole(images), encoder.conv_in.weight, encoder.conv_in.bias)
    for number, block in enumerate(encoder.down_blocks):
        for residual in block.resnets:
            features = _residual(residual, features, lean and number == 0)
        for scaler in block.downsamplers or ():
            features = stored(downsampled(features, scaler.conv))
    latents = encoder.mid_block(features.rows(0, features.height))
    latents = encoder.conv_out(functional.silu(encoder.conv_norm_out(latents)))
    return cast(torch.Tensor, latents if vae.quant_conv is None else vae.quant_conv(latents))


def decode_in_strips(
    vae: AutoencoderKL, latents: torch.Tensor, lean: bool, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """The autoencoder's own latents B×C×h×w to B×channels×H×W, the last convolution being `weight` and `bias`.

    They are channels×C×3×3 and channels, in the decoder's dtype or float32, in which the result then is.
    """
    decoder = vae.decoder
    if vae.post_quant_conv is not None:
        latents = vae.post_quant_conv(latents)
    features = whole(decoder.mid_block(decoder.conv_in(latents)))
    last = len(decoder.up_blocks) - 1
    found: Moments | None = None
    for number, block in enumerate(decoder.up_blocks):
        for index, residual in enumerate(block.resnets):
            at_end = number == last and index == len(block.resnets) - 1
            found = Moments() if at_end else None
            features = _residual(residual, features, lean and number == last, found)
        for scaler in block.upsamplers or ():
            folded = scaler if isinstance(scaler, FoldedUpsample2D) else FoldedUpsample2D(scaler.conv)
            features = upsampled(features, folded)
    assert found is not None
    normalised = found.activation(decoder.conv_norm_out)

    def activation(strip: torch.Tensor) -> torch.Tensor:
        return normalised(strip.to(weight.dtype))

    result = stored(convolved(features, weight, bias, activation))
    return result.rows(0, result.height)


def _residual(block: ResnetBlock2D, source: Rows, lean: bool, found: Moments | None = None) -> Rows:
    """`block` of `source`, which is let go; `found` receives the statistics of the result."""
    first = moments(source).activation(block.norm1)
    inner = convolved(source, block.conv1.weight, block.conv1.bias, first)
    if lean:
        between = moments(inner).activation(block.norm2)
        beside = source
    else:
        inner, beside, between = _inner(block, source, inner)
    outer = convolved(inner, block.conv2.weight, block.conv2.bias, between)
    shortcut = _shortcut(block) if lean else None

    def rows(top: int, bottom: int) -> torch.Tensor:
        strip = beside.rows(top, bottom)
        strip = strip if shortcut is None else shortcut(strip)
        return outer.rows(top, bottom).add_(strip).div_(block.output_scale_factor)

    def release(before: int) -> None:
        outer.release(before)
        if not lean:
            beside.release(before)

    return stored(Rows(outer.channels, source.height, source.width, rows, release), found=found)


def _inner(block: ResnetBlock2D, source: Rows, inner: Rows) -> tuple[Rows, Rows, Activation]:
    """Keep the feature map between the convolutions, and what the block adds to its result beside them.

    Both in one pass over the source, which may have to be computed and is let go where it is not that itself.
    """
    shortcut = _shortcut(block)
    statistics = Moments()
    if shortcut is None:
        # The source is what will be added: its rows are let go only then.
        kept = stored(Rows(inner.channels, inner.height, inner.width, inner.rows, lambda row: None), found=statistics)
        return kept, source, statistics.activation(block.norm2)
    middle: list[tuple[int, int, torch.Tensor]] = []
    beside: list[tuple[int, int, torch.Tensor]] = []
    for top, bottom in source.strips():
        strip = inner.rows(top, bottom)
        statistics.add(strip)
        middle.append((top, bottom, strip))
        beside.append((top, bottom, shortcut(source.rows(top, bottom))))
        inner.release(bottom)
    return held(inner, middle), held(inner, beside), statistics.activation(block.norm2)


def _plain_scaler(scaler: Any) -> bool:
    """Folded, or a halving or doubling with one convolution and nothing else."""
    if isinstance(scaler, FoldedUpsample2D):
        return True
    return isinstance(scaler.conv, nn.Conv2d) and scaler.norm is None and getattr(scaler, "padding", 0) == 0


def _shortcut(block: ResnetBlock2D) -> nn.Module | None:
    return cast("nn.Module | None", block.conv_shortcut)


def _plain(block: Any) -> bool:
    """A residual block without time embedding and without change of size."""
    return (
        isinstance(block, ResnetBlock2D)
        and block.time_emb_proj is None
        and block.time_embedding_norm in ("default", "group")  # without an embedding, both mean a plain norm
        and block.upsample is None
        and block.downsample is None
        and isinstance(block.nonlinearity, nn.SiLU)
        and block.dropout.p == 0
    )
