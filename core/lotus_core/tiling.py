"""Tiles of a large map: where they lie, how each is fitted to a pass over the whole image, how they blend.

A network that sees a tile does not know the rest of the scene: its depth has a scale and a shift of its own, and what
varies slowly across the tile is a guess. The pass over the whole image knows both, but no fine detail. So every tile
gets the scale and the shift that bring it to the whole (robust least squares), then what is left between them is
smoothed and added, and the tile keeps its detail alone. Neighbours blend over their overlap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from .geometry.alignment import Affine, fit_affine

OVERLAP = 0.25  # of a tile's edge that it shares with its neighbour, at least
COARSE = 96  # pixels along an edge of the grid on which a tile is compared with the whole, at most
MEDIAN = 9  # pixels of that grid; narrower differences, such as along edges that the whole shows soft, are left out
SMOOTH = 3.0  # pixels of that grid, standard deviation of the Gaussian after it
_HUBER = 1.345  # standard deviations; 95 % efficiency for normal noise (Huber, "Robust Statistics")
_ROUNDS = 10


@dataclass(frozen=True)
class Grid:
    """Overlapping tiles that cover height×width pixels: each tile_height×tile_width, at all of `tops` × `lefts`."""

    height: int
    width: int
    tile_height: int
    tile_width: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    @classmethod
    def of(cls, height: int, width: int, tile: int, step: int) -> Grid:
        """Tiles of `tile` pixels (less where the image is smaller) that begin at multiples of `step`.

        height, width and tile are multiples of `step`, and tile is at least 4 of them.
        """
        tall, wide = min(tile, height), min(tile, width)
        return cls(height, width, tall, wide, _starts(height, tall, step), _starts(width, wide, step))

    def corners(self) -> list[tuple[int, int]]:
        """Top and left of every tile, row after row."""
        return [(top, left) for top in self.tops for left in self.lefts]

    def weights(self, top: int, left: int) -> np.ndarray:
        """float32 tile_height×tile_width: the part that the tile at this corner has in every pixel of the result.

        Smooth, 0 at an edge beyond which another tile goes on; at every pixel all tiles' weights sum to 1.
        """
        down = _shares(self.tops, self.tile_height, self.height)[self.tops.index(top)]
        across = _shares(self.lefts, self.tile_width, self.width)[self.lefts.index(left)]
        return np.outer(down, across).astype(np.float32)


def _starts(size: int, tile: int, step: int) -> tuple[int, ...]:
    if tile >= size:
        return (0,)
    count = math.ceil((size - OVERLAP * tile) / ((1 - OVERLAP) * tile))
    even = np.linspace(0, size - tile, count) / step
    return tuple(int(start) * step for start in np.rint(even))


def _shares(starts: tuple[int, ...], tile: int, size: int) -> list[np.ndarray]:
    """Of each tile along one axis: float64 `tile` weights; where tiles overlap, they sum to 1."""
    position = np.arange(tile) + 0.5
    raw = []
    for number in range(len(starts)):
        weight = np.ones(tile)
        if number > 0:
            weight *= _ramp(position / (starts[number - 1] + tile - starts[number]))
        if number + 1 < len(starts):
            weight *= _ramp((tile - position) / (starts[number] + tile - starts[number + 1]))
        raw.append(weight)
    total = np.zeros(size)
    for start, weight in zip(starts, raw, strict=True):
        total[start : start + tile] += weight
    return [weight / total[start : start + tile] for start, weight in zip(starts, raw, strict=True)]


def _ramp(share: np.ndarray) -> np.ndarray:
    """0 to 1 with level ends. The first tenth stays 0: a network sees least around the rim of what it is shown."""
    inner = np.clip((share - 0.1) / 0.8, 0, 1)
    return inner * inner * (3 - 2 * inner)


def fitted(tile: torch.Tensor, whole: torch.Tensor, valid: np.ndarray | None, *, affine: bool) -> torch.Tensor:
    """A tile of a map, brought to the same window of the whole pass's map; both float32 C×h×w on the CPU.

    affine: find a scale and a shift first (depth); without, only what varies slowly is taken from `whole` (directions).
    valid: bool h×w, which pixels the fit may use, or None for all. Where the tile contradicts the whole altogether
    (no positive scale brings them together), the result is `whole`.
    """
    shrink = max(1.0, max(tile.shape[-2:]) / COARSE)
    coarse = [max(1, round(size / shrink)) for size in tile.shape[-2:]]
    small, target = (
        functional.interpolate(values[None], coarse, mode="bilinear", antialias=True)[0].numpy()
        for values in (tile, whole)
    )
    if affine:
        fit = fit_huber(small, target, _weights(valid, coarse))
        if fit.scale <= 0:
            return whole
        tile, small = tile * fit.scale + fit.shift, fit(small)
    apart = ndimage.median_filter(target - small, size=(1, MEDIAN, MEDIAN), mode="nearest")
    apart = ndimage.gaussian_filter(apart, sigma=(0, SMOOTH, SMOOTH), mode="nearest")
    missing = functional.interpolate(torch.from_numpy(apart)[None], tile.shape[-2:], mode="bicubic")[0]
    return tile + missing


def fit_huber(source: np.ndarray, target: np.ndarray, weights: np.ndarray | None) -> Affine:
    """Scale and shift by least squares, reweighted after Huber: outliers count with their distance, not its square.

    Not `fit_affine(robust=True)`: a tile often holds one large flat surface and a small one beside it. The large one
    alone decides no scale, and an estimator that may leave out half of the points could leave out the other.
    """
    base = np.ones(source.shape) if weights is None else np.broadcast_to(weights, source.shape)
    fit = fit_affine(source, target, base)
    for _ in range(_ROUNDS):
        residual = np.abs(fit(source) - target)
        limit = _HUBER * 1.4826 * float(np.median(residual[base > 0]))
        if limit <= 0:
            break
        last, fit = fit, fit_affine(source, target, base * np.minimum(1, limit / np.maximum(residual, 1e-12)))
        if abs(fit.scale - last.scale) <= 1e-5 * abs(last.scale):
            break
    return fit


def _weights(valid: np.ndarray | None, coarse: list[int]) -> np.ndarray | None:
    if valid is None:
        return None
    share = functional.interpolate(torch.from_numpy(valid).float()[None, None], coarse, mode="area")[0].numpy()
    return share if share.max() > 0 else None


def window(values: torch.Tensor, frame: tuple[int, int], top: int, left: int, height: int, width: int) -> torch.Tensor:
    """A window of C×h×w as it would be if enlarged to C×frame: bilinear, pixel centres at +0.5, edges repeated."""
    rows = (torch.arange(top, top + height, dtype=values.dtype, device=values.device) + 0.5) / frame[0] * 2 - 1
    columns = (torch.arange(left, left + width, dtype=values.dtype, device=values.device) + 0.5) / frame[1] * 2 - 1
    at = torch.stack(torch.broadcast_tensors(columns[None, :], rows[:, None]), dim=-1)
    return functional.grid_sample(values[None], at[None], padding_mode="border", align_corners=False)[0]
