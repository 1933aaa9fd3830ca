"""The noise of the frames of a clip: one field for all, or one that moves with the picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..sampling import draw_noise


class FreshNoise:
    """New noise for every frame, as if each were a photo: what makes a generative model flicker."""

    def __init__(self) -> None:
        self.frame = 0

    def __call__(self, seed: int, index: int, sample: int, shape: Sequence[int]) -> torch.Tensor:
        return draw_noise(seed, self.frame, sample, shape)


class MovingNoise:
    """Noise that moves with the picture, and is standard normal and white in every frame.

    Every cell of the noise is a particle with a value of its own, which moves by the picture's motion. A cell's noise
    is the value of the particle nearest to its centre; a cell that lost all its particles gets a new one with a fresh
    value, and of several in a cell the others are dropped. Which particles are shown depends on where they are and not
    on their values, so these stay independent draws of N(0, 1): the field keeps its variance and is white, where
    warping a field by interpolation would blur it (cf. Chang et al. 2024, "How I Warped Your Noise").

    What it gives is a function of the seed and the motions up to `frame`, which is set as the clip goes on, and never
    back. Of the frames before, only where each particle was born is kept. scale: cells per pixel of the motion,
    horizontally and vertically. flow_of: the motion of a frame (from 1) to the one before, h×w×2 in its own pixels.
    """

    def __init__(self, scale: tuple[float, float], flow_of: Callable[[int], np.ndarray]) -> None:
        self._scale, self._flow_of = np.array(scale), flow_of
        self.frame = 0
        self._particles: dict[tuple[int, int], _Particles] = {}
        self._fields: dict[tuple[int, tuple[int, ...]], tuple[int, torch.Tensor]] = {}

    def __call__(self, seed: int, index: int, sample: int, shape: Sequence[int]) -> torch.Tensor:
        size = (int(shape[-2]), int(shape[-1]))
        particles = self._particles.setdefault(size, _Particles(size))
        while particles.frame < self.frame:
            particles.step(self._flow_of(particles.frame + 1), self._scale)
        key = (sample, tuple(shape))
        at, before = self._fields.get(key, (-1, None))
        if before is not None and at == self.frame:
            return before
        field = torch.empty(tuple(shape))
        values, left = field.flatten(-2), np.ones(len(particles.source), bool)
        if before is not None and at == self.frame - 1:
            left = particles.source < 0
            values[..., ~left] = before.flatten(-2)[..., particles.source[~left]]
        for born in np.unique(particles.born[left]).tolist():
            cells = left & (particles.born == born)
            values[..., cells] = draw_noise(seed, born, sample, shape).flatten(-2)[..., particles.birthplace[cells]]
        self._fields[key] = (self.frame, field)
        return field


class _Particles:
    """One for each cell, int h·w. source: the cell of the frame before that it was in, −1 for a new one. born,
    birthplace: the frame and the cell that it began in, which its value is drawn for."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.frame, self._size, self._positions = 0, size, _centres(size)
        self.source = np.full(len(self._positions), -1)
        self.born, self.birthplace = np.zeros_like(self.source), np.arange(len(self.source))

    def step(self, flow: np.ndarray, scale: np.ndarray) -> None:
        self.frame += 1
        self.source, self._positions = _advance(self._positions, flow, scale, self._size)
        new = self.source < 0
        self.born = np.where(new, self.frame, self.born[self.source])
        self.birthplace = np.where(new, np.arange(len(new)), self.birthplace[self.source])


def _centres(size: tuple[int, int]) -> np.ndarray:
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    return np.stack([columns.ravel(), rows.ravel()], -1)


def _advance(
    positions: np.ndarray, flow: np.ndarray, scale: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Move one particle per cell; returns where each cell's new particle was, and the new positions (N×2, x and y)."""
    height, width = size
    column = np.clip((positions[:, 0] / scale[0]).astype(np.intp), 0, flow.shape[1] - 1)
    row = np.clip((positions[:, 1] / scale[1]).astype(np.intp), 0, flow.shape[0] - 1)
    moved = positions - flow[row, column] * scale  # the flow points back
    cell = np.floor(moved).astype(np.intp)
    inside = (cell[:, 0] >= 0) & (cell[:, 0] < width) & (cell[:, 1] >= 0) & (cell[:, 1] < height)
    off_centre = ((moved - cell - 0.5) ** 2).sum(-1)
    order = np.argsort(-off_centre, kind="stable")  # the nearest last: it overwrites the others
    order = order[inside[order]]
    source = np.full(height * width, -1, np.int32)
    source[cell[order, 1] * width + cell[order, 0]] = order
    return source, np.where((source >= 0)[:, None], moved[source.clip(0)], _centres(size))
