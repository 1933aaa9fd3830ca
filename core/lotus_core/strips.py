"""Feature maps computed a strip of rows at a time: what is needed of them, when it is needed, is all that is in memory.

A `Rows` gives any of its rows on request. Those of a `Stored` lie in memory, in strips that can be let go one by one;
those of the other functions here are computed from another `Rows`, with the rows above and below that a convolution
reaches, so that a result does not depend on where strips begin (up to the rounding of the convolution).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from .upsampling import FoldedUpsample2D

STRIP = 2**23  # numbers of a strip: 32 MiB in float32
LEAST_ROWS = 16  # of a strip: with fewer, the rows computed twice at its edges would weigh

Activation = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Rows:
    """A feature map of `channels`×`height`×`width`.

    rows(top, bottom): B×channels×(bottom − top)×width, 0 ≤ top < bottom ≤ height.
    release(before): rows above `before` will not be asked for again.
    through: channels that a strip passes through while it is computed, where they are more than `channels`.
    """

    channels: int
    height: int
    width: int
    rows: Callable[[int, int], torch.Tensor]
    release: Callable[[int], None]
    through: int = 0

    def strips(self) -> Iterator[tuple[int, int]]:
        """Top and bottom of one strip after another."""
        step = max(LEAST_ROWS, STRIP // (max(self.channels, self.through) * self.width))
        for top in range(0, self.height, step):
            yield top, min(top + step, self.height)


class Moments:
    """Mean and variance of the groups of a GroupNorm over a whole feature map, from its strips (Chan et al., 1979)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = torch.zeros(())
        self._squares = torch.zeros(())  # summed squared deviations from the mean, per image and channel

    def add(self, strip: torch.Tensor) -> None:
        count = strip.shape[2] * strip.shape[3]
        variance, mean = torch.var_mean(strip.float(), dim=(2, 3), correction=0)
        # Few numbers; float64 on the CPU, because Metal has none.
        variance, mean = variance.cpu().double(), mean.cpu().double()
        total = self._count + count
        apart = mean - self._mean
        self._squares = self._squares + variance * count + apart.square() * (self._count * count / total)
        self._mean = self._mean + apart * (count / total)
        self._count = total

    def activation(self, norm: nn.GroupNorm) -> Activation:
        """`norm` with these statistics, then SiLU, in float32, rounded to the dtype of the strip."""
        batch, channels = self._mean.shape
        grouped = self._mean.view(batch, norm.num_groups, -1)
        mean = grouped.mean(dim=2, keepdim=True)
        within = (self._squares / self._count).view_as(grouped).mean(dim=2, keepdim=True)
        variance = within + (grouped - mean).square().mean(dim=2, keepdim=True)
        scale = (variance + norm.eps).rsqrt().expand_as(grouped).reshape(batch, channels)
        scale = scale * norm.weight.detach().cpu().double()
        shift = norm.bias.detach().cpu().double() - mean.expand_as(grouped).reshape(batch, channels) * scale
        factor = scale.float().to(norm.weight.device)[:, :, None, None]
        offset = shift.float().to(norm.weight.device)[:, :, None, None]

        def apply(strip: torch.Tensor) -> torch.Tensor:
            return functional.silu(torch.addcmul(offset, strip.float(), factor), inplace=True).to(strip.dtype)

        return apply


def moments(source: Rows) -> Moments:
    """Statistics of a feature map that is not kept."""
    found = Moments()
    for top, bottom in source.strips():
        found.add(source.rows(top, bottom))
    return found


def stored(source: Rows, *, found: Moments | None = None) -> Rows:
    """Compute a feature map for good and let go of what it is computed from; `found` receives its statistics."""
    strips: list[tuple[int, int, torch.Tensor]] = []
    for top, bottom in source.strips():
        strip = source.rows(top, bottom)
        if found is not None:
            found.add(strip)
        strips.append((top, bottom, strip))
        source.release(bottom)
    return held(source, strips)


def held(like: Rows, strips: list[tuple[int, int, torch.Tensor]]) -> Rows:
    """A feature map in memory: (top, bottom, rows) in order, which are let go when they are released."""

    def rows(top: int, bottom: int) -> torch.Tensor:
        parts = [
            strip[:, :, max(top, start) - start : min(bottom, end) - start]
            for start, end, strip in strips
            if start < bottom and end > top
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    def release(before: int) -> None:
        while strips and strips[0][1] <= before:
            del strips[0]

    return Rows(like.channels, like.height, like.width, rows, release)


def whole(features: torch.Tensor) -> Rows:
    """A feature map B×C×H×W that is in memory as one tensor."""
    shape = features.shape
    kept = [features]

    def release(before: int) -> None:
        if before >= shape[2]:
            kept.clear()

    return Rows(shape[1], shape[2], shape[3], lambda top, bottom: kept[0][:, :, top:bottom], release)


def convolved(source: Rows, weight: torch.Tensor, bias: torch.Tensor | None, before: Activation | None = None) -> Rows:
    """3×3 convolution, zero padding 1, of `before` of the source."""

    def rows(top: int, bottom: int) -> torch.Tensor:
        strip, missing = _reach(source, top - 1, bottom + 1, before)
        if any(missing):
            strip = functional.pad(strip, (0, 0, *missing))
        return functional.conv2d(strip, weight, bias, padding=(0, 1))

    wide, deep = weight.shape[:2]
    return Rows(wide, source.height, source.width, rows, lambda row: source.release(row - 1), through=deep)


def downsampled(source: Rows, convolution: nn.Conv2d) -> Rows:
    """3×3 convolution at every other pixel, zero padding below and on the right alone (Downsample2D of the encoder)."""

    def rows(top: int, bottom: int) -> torch.Tensor:
        strip, missing = _reach(source, 2 * top, 2 * bottom + 1, None)
        strip = functional.pad(strip, (0, 1, *missing))
        return functional.conv2d(strip, convolution.weight, convolution.bias, stride=2)

    height, width = source.height // 2, source.width // 2
    return Rows(convolution.out_channels, height, width, rows, lambda row: source.release(2 * row))


def upsampled(source: Rows, upsampler: FoldedUpsample2D) -> Rows:
    """Every pixel twice in both directions, then a 3×3 convolution, zero padding 1."""
    channels = upsampler.kernel_00.shape[0]

    def rows(top: int, bottom: int) -> torch.Tensor:
        first = max(top // 2 - 1, 0)
        last = min(-(-bottom // 2) + 1, source.height)
        return upsampler(source.rows(first, last))[:, :, top - 2 * first : bottom - 2 * first]

    return Rows(channels, 2 * source.height, 2 * source.width, rows, lambda row: source.release(row // 2 - 1))


def _reach(source: Rows, top: int, bottom: int, before: Activation | None) -> tuple[torch.Tensor, tuple[int, int]]:
    """Rows top…bottom as far as there are any, and how many are missing above and below."""
    first, last = max(top, 0), min(bottom, source.height)
    strip = source.rows(first, last)
    return strip if before is None else before(strip), (first - top, bottom - last)
