"""Surfaces from slopes: screened Poisson equations on a pixel grid with free (Neumann) borders.

The unknown x minimises  Σ_edges c (x_b − x_a − g)² + Σ_pixels s (x − t)²  over the edges between neighbouring pixels.
With constant c and s the cosine transform solves it at once; otherwise it preconditions conjugate gradients.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from .filters import dctn, idctn


def solve_constant(across: np.ndarray, down: np.ndarray, screen: float, target: np.ndarray | None = None) -> np.ndarray:
    """Minimise with c = 1 and a constant s, exactly, in O(n log n).

    across: H×(W−1), wanted differences x[i, j+1] − x[i, j]; down: (H−1)×W. screen: s ≥ 0. target: H×W, needed when s
    > 0; without it the result has mean 0. float32 in, float32 out (float64 likewise).
    """
    right = _divergence(across, down)
    if target is not None and screen > 0:
        right += right.dtype.type(screen) * target
    return _invert(right, screen)


def solve_weighted(
    steps: tuple[np.ndarray, np.ndarray],
    weights: tuple[np.ndarray, np.ndarray],
    screen: np.ndarray,
    target: np.ndarray,
    start: np.ndarray,
    *,
    iterations: int = 50,
    tolerance: float = 1e-4,
    check: Callable[[], None] | None = None,
) -> np.ndarray:
    """Minimise with weights c ≥ 0 per edge and s ≥ 0 per pixel, from `start`, by preconditioned conjugate gradients.

    steps, weights: wanted differences and weights, across H×(W−1) and down (H−1)×W; the rest is H×W.
    Stops after `iterations` or when the residual has fallen by `tolerance`. Pixels without any weight keep `start`.
    check: called once per iteration (to cancel).
    """
    (across, down), (across_weight, down_weight) = steps, weights
    diagonal = screen.copy()
    diagonal[:, :-1] += across_weight
    diagonal[:, 1:] += across_weight
    diagonal[:-1] += down_weight
    diagonal[1:] += down_weight
    active = diagonal > 0
    # The constant-coefficient inverse, scaled by the diagonal on both sides, is exact where the weights vary slowly.
    scale = np.where(active, 2 / np.sqrt(np.where(active, diagonal, 1)), 0).astype(start.dtype)
    mean_screen = float((screen * scale**2)[active].mean()) if active.any() else 0.0

    def apply(x: np.ndarray) -> np.ndarray:
        out = screen * x
        flow = across_weight * np.diff(x, axis=1)
        out[:, :-1] -= flow
        out[:, 1:] += flow
        flow = down_weight * np.diff(x, axis=0)
        out[:-1] -= flow
        out[1:] += flow
        return out

    def precondition(r: np.ndarray) -> np.ndarray:
        return scale * _invert(scale * r, max(mean_screen, 1e-7))

    x = start.copy()
    residual = _divergence(across_weight * across, down_weight * down) + screen * target - apply(x)
    residual *= active
    z = precondition(residual)
    direction = z.copy()
    rho = float(np.vdot(residual, z))
    first = rho
    for _ in range(iterations):
        if not rho > first * tolerance**2 or rho <= 1e-30:
            break
        if check is not None:
            check()
        image = apply(direction)
        step = rho / float(np.vdot(direction, image))
        x += start.dtype.type(step) * direction
        residual -= start.dtype.type(step) * image
        z = precondition(residual)
        rho, old = float(np.vdot(residual, z)), rho
        direction *= start.dtype.type(rho / old)
        direction += z
    return x


def _divergence(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The adjoint of the differences: what flows into each pixel, H×W."""
    out = np.zeros((across.shape[0], down.shape[1]), across.dtype)
    out[:, 1:] += across
    out[:, :-1] -= across
    out[1:] += down
    out[:-1] -= down
    return out


def _invert(right: np.ndarray, screen: float) -> np.ndarray:
    """Solve (s − Laplacian) x = right with free borders; for s = 0 the mean of x is 0."""
    height, width = right.shape
    denominator = screen + _eigenvalues(height)[:, None] + _eigenvalues(width)[None, :]
    if screen == 0:
        denominator[0, 0] = np.inf
    spectrum = dctn(right)
    spectrum /= denominator.astype(right.dtype)
    return idctn(spectrum)


@functools.lru_cache(maxsize=16)
def _eigenvalues(size: int) -> np.ndarray:
    """Of the negative second difference with free ends: 2 − 2 cos(π k / n)."""
    return 2 - 2 * np.cos(np.pi * np.arange(size) / size)
