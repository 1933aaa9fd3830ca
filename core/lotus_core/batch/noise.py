"""The noise of the frames of a clip: one field for all, or one that moves with the picture."""

from __future__ import annotations

from collections.abc import Sequence

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

    Frames must be visited in order with `step`, from the first frame of a scene; what it gives is a function of the
    seed and the motions since then. scale: cells per pixel of the motion, horizontally and vertically.
    """

    def __init__(self, scale: tuple[float, float]) -> None:
        self._scale = np.array(scale)
        self.frame = 0
        self._flows: list[np.ndarray] = []
        self._sources: dict[tuple[int, int], list[np.ndarray]] = {}
        self._positions: dict[tuple[int, int], np.ndarray] = {}
        self._fields: dict[tuple[int, tuple[int, ...]], tuple[int, torch.Tensor]] = {}

    def step(self, flow: np.ndarray) -> None:
        """Go on to the next frame; `flow` is its motion to the frame before, h×w×2 in its own pixels."""
        self._flows.append(flow)
        self.frame += 1

    def __call__(self, seed: int, index: int, sample: int, shape: Sequence[int]) -> torch.Tensor:
        size = (int(shape[-2]), int(shape[-1]))
        sources = self._sources_of(size)
        key = (sample, tuple(shape))
        at, field = self._fields.get(key, (0, None))
        if field is None:
            field = draw_noise(seed, 0, sample, shape)
        for frame in range(at + 1, self.frame + 1):
            source = torch.from_numpy(sources[frame - 1]).to(torch.int64)
            fresh = draw_noise(seed, frame, sample, shape)
            moved = field.flatten(-2)[..., source.clamp_min(0)].view(field.shape)
            field = torch.where((source >= 0).view(size), moved, fresh)
        self._fields[key] = (self.frame, field)
        return field

    def _sources_of(self, size: tuple[int, int]) -> list[np.ndarray]:
        """For each step, the cell of the frame before that each cell has its value from, −1 for none: int32 h·w."""
        sources = self._sources.setdefault(size, [])
        positions = self._positions.get(size)
        if positions is None:
            rows, columns = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
            positions = np.stack([columns.ravel(), rows.ravel()], -1)
        for flow in self._flows[len(sources) :]:
            source, positions = _advance(positions, flow, self._scale, size)
            sources.append(source)
        self._positions[size] = positions
        return sources


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
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    fresh = np.stack([columns.ravel(), rows.ravel()], -1)
    return source, np.where((source >= 0)[:, None], moved[source.clip(0)], fresh)
