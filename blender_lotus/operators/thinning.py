"""How many faces a mesh of a photo gets: the step between pixels, and a budget that raises it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from bpy.props import IntProperty

from lotus_core.geometry import grid


@dataclass(frozen=True)
class Thin:
    """A grid of every `stride`-th row and column of pixels, and which of its cells are faces."""

    cells: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    stride: int

    @classmethod
    def of(cls, cells: np.ndarray, stride: int) -> Thin:
        """Of the cells between all pixels."""
        rows, columns = (grid.strided(size + 1, stride) for size in cells.shape)
        return cls(cells if stride == 1 else grid.stride_cells(cells, rows, columns), rows, columns, stride)


class Thinning:
    """Mixin: the two options and what they do."""

    stride: IntProperty(name="Step", description="Use every n-th pixel", default=1, min=1, soft_max=16)
    max_faces: IntProperty(
        name="Face budget",
        description="Raise the step until there are no more quads than this; 0: no limit",
        default=grid.MOST_VERTICES,
        min=0,
        soft_max=10_000_000,
        step=1000,
    )

    def thinned(self, cells: np.ndarray) -> Thin:
        """At a step that keeps the budget and leaves a face, if there is any."""
        budget = self.max_faces or cells.size
        thin = Thin.of(cells, max(self.stride, math.isqrt(int(np.count_nonzero(cells)) // budget)))
        while np.count_nonzero(thin.cells) > budget:
            thin = Thin.of(cells, thin.stride + 1)
        while thin.stride > 1 and not thin.cells.any():
            thin = Thin.of(cells, thin.stride - 1)
        return thin

    def told(self, faces: int, thin: Thin) -> str:
        """What was made, for the report."""
        if thin.stride == self.stride:
            return f"{faces:,} faces"
        why = "for the face budget" if thin.stride > self.stride else "since a larger one leaves none"
        return f"{faces:,} faces, with a step of {thin.stride} {why}"
