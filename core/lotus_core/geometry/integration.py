"""A surface from normals alone, torn where it must be.

Bilateral normal integration: X. Cao, H. Santo, B. Shi, F. Okura, Y. Matsushita, "Bilateral Normal Integration", ECCV
2022. The surface is only assumed to be continuous on one side of each pixel: of the two differences of an axis the
smaller one is trusted (eq. 15, weights eq. 16), and the weighted least-squares problem is solved again and again
until the energy settles. Written from the paper for pixel grids: the two one-sided equations at either end of an edge
add up to one edge weight, so that each step is a Poisson equation with edge weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import Cancelled, LotusError
from ..maps.normals import Normals
from .camera import Camera
from .inputs import as_mask
from .poisson import solve_constant, solve_weighted
from .slopes import facing

SHARPNESS = 2.0  # k of eq. 16; the authors' value
_ROUNDS = 30
_SETTLED = 1e-3  # relative change of the energy
_STEPS = 12  # conjugate-gradient steps per round; the rounds start where the last one stopped


def integrate_normals(
    normals: Normals,
    camera: Camera | None = None,
    valid: np.ndarray | None = None,
    *,
    depth: np.ndarray | None = None,
    depth_weight: float | np.ndarray = 1e-2,
    sharpness: float = SHARPNESS,
    cancel: Callable[[], bool] | None = None,
) -> np.ndarray:
    """Integrate a normal map, keeping its discontinuities. float32 H×W; NaN-free, pixels outside the mask hold the
    median.

    camera given: distance along the axis; its scale is free and set so that the median is 1 (or that of `depth`).
    camera None: orthographic, distance in pixels (larger = farther), mean 0 (or that of `depth`).
    depth: H×W, a coarse surface in the same units that holds what normals cannot know (the height of a step whose
    riser is not seen), with `depth_weight` (scalar or H×W, per pixel, relative to the weight of the normals).
    Raises LotusError when no pixel has a normal that faces the camera; Cancelled.
    """
    vectors = normals.to("opengl").values.astype(np.float32)
    if camera is not None:
        camera.check_size(vectors)
    mask = normals.valid & as_mask(valid, vectors.shape[:2])
    if not mask.any():
        raise LotusError("There are no normals to integrate: every pixel is masked or unknown.")
    # Equations in units of pixels: facing · (difference to the neighbour) = normal component.
    length = 1.0 if camera is None else camera.focal_px
    slant = np.where(mask, np.maximum(facing(vectors, camera) / np.float32(length), 0), 0).astype(np.float32)
    if not (slant > 0).any():
        raise LotusError("No normal faces the camera; check the convention of the normal map.")
    wanted = (vectors[..., 0] * mask, -vectors[..., 1] * mask)
    joined = (mask[:, 1:] & mask[:, :-1], mask[1:] & mask[:-1])

    # The unknown is the distance in pixels, or in perspective focal_px · log z.
    target = np.zeros(mask.shape, np.float32)
    screen = np.zeros(mask.shape, np.float32)
    if depth is not None:
        known = mask & np.isfinite(depth) & ((depth > 0) if camera is not None else True)
        safe = np.where(known, depth, 1.0)
        target = (safe if camera is None else np.log(safe) * length).astype(np.float32)
        middle = float(np.median(target[known])) if known.any() else 0.0
        target = np.where(known, target - np.float32(middle), 0).astype(np.float32)
        screen = np.where(known, depth_weight, 0).astype(np.float32)
    x = _first_guess(slant, wanted, mask) if depth is None else target.copy()

    def check() -> None:
        if cancel is not None and cancel():
            raise Cancelled

    energy = np.inf
    for _ in range(_ROUNDS):
        weights, flows, new_energy = _equations(x, slant, wanted, joined, mask, sharpness)
        if abs(energy - new_energy) <= _SETTLED * new_energy:
            break
        energy = new_energy
        steps = _divide(flows[0], weights[0]), _divide(flows[1], weights[1])
        x = solve_weighted(steps, weights, screen, target, x, iterations=_STEPS, tolerance=1e-3, check=check)
    if depth is not None:
        x = x + np.float32(middle)
    elif camera is None:
        x = x - x[mask].mean()
    else:
        x = x - np.median(x[mask])
    out = x if camera is None else np.exp(x / np.float32(length))
    return np.where(mask, out, np.median(out[mask])).astype(np.float32)


def _equations(
    x: np.ndarray,
    slant: np.ndarray,
    wanted: tuple[np.ndarray, np.ndarray],
    joined: tuple[np.ndarray, np.ndarray],
    mask: np.ndarray,
    sharpness: float,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], float]:
    """Edge weights, edge weight × wanted difference, and the energy at x: the two axes."""
    weights, flows, energy = [], [], 0.0
    for axis in (1, 0):
        step = np.diff(x, axis=axis) * joined[1 - axis]
        first, second = _sides(axis)
        forward, backward = np.zeros_like(x), np.zeros_like(x)
        forward[first] = slant[first] * step
        backward[second] = slant[second] * step
        # eq. 16: the weight of the difference ahead grows with the size of the one behind
        ahead = 1 / (1 + np.exp(np.clip(sharpness * (forward**2 - backward**2), -60, 60)))
        to_next = np.where(mask, ahead, 0)[first] * joined[1 - axis]
        to_last = np.where(mask, 1 - ahead, 0)[second] * joined[1 - axis]
        n = wanted[1 - axis]
        weights.append((to_next * slant[first] ** 2 + to_last * slant[second] ** 2).astype(np.float32))
        flows.append((to_next * slant[first] * n[first] + to_last * slant[second] * n[second]).astype(np.float32))
        energy += float((to_next * (forward[first] - n[first]) ** 2).sum(dtype=np.float64))
        energy += float((to_last * (backward[second] - n[second]) ** 2).sum(dtype=np.float64))
    return (weights[0], weights[1]), (flows[0], flows[1]), energy


def _divide(flow: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return flow / np.where(weight > 0, weight, np.float32(1))


def _first_guess(slant: np.ndarray, wanted: tuple[np.ndarray, np.ndarray], mask: np.ndarray) -> np.ndarray:
    """The smooth surface of all slopes, steep ones held back."""
    safe = np.maximum(slant, np.float32(0.1))
    p, q = (n / safe * mask for n in wanted)
    return solve_constant((p[:, 1:] + p[:, :-1]) / 2, (q[1:] + q[:-1]) / 2, 0.0)


def _sides(axis: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    everything = slice(None)
    first, second = slice(None, -1), slice(1, None)
    return ((everything, first), (everything, second)) if axis == 1 else ((first, everything), (second, everything))
