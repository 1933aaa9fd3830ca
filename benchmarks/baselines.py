"""What a prediction has to beat: fits to the truth of one picture that have not looked at the picture."""

from __future__ import annotations

import numpy as np

from lotus_core.evaluation.alignment import aligned_depth
from lotus_core.evaluation.metrics import angular_error, depth_metrics


def ramp_error(truth: np.ndarray, mask: np.ndarray, near: float, far: float) -> dict[str, float]:
    """AbsRel of the best vertical ramp a + b · row, least squares in "disparity" and in "depth", over the mask.

    truth: H×W metres, mask: bool H×W; near, far: range that depth is clipped to.
    """
    ramp = np.broadcast_to(np.arange(1, mask.shape[0] + 1, dtype=np.float32)[:, None], mask.shape)
    return {
        space: depth_metrics(aligned_depth(ramp, space, truth, mask, near, far), truth, mask)["abs_rel"]
        for space in ("disparity", "depth")
    }


def best_direction(truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """H×W×3: one normal everywhere, the mean direction of the truth, which makes the sum of cosines greatest."""
    return np.broadcast_to(_mean_direction(truth[mask]), truth.shape)


def floor_and_wall(truth: np.ndarray, mask: np.ndarray, rows: int = 8) -> np.ndarray:
    """H×W×3: two normals, one above and one below a row; row and normals are those of the least mean angle.

    rows: how many rows are tried, evenly spaced.
    """
    found, least = best_direction(truth, mask), np.inf
    for row in np.linspace(0, len(truth), rows + 2)[1:-1].astype(int):
        guess = np.empty_like(truth)
        for part in (slice(None, row), slice(row, None)):
            inside = mask[part]
            guess[part] = _mean_direction(truth[part][inside]) if inside.any() else (0, 0, 1)
        error = float(angular_error(guess, truth, mask).mean())
        if error < least:
            found, least = guess, error
    return found


def _mean_direction(normals: np.ndarray) -> np.ndarray:
    mean = normals.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(mean)
    return mean / length if length > 0 else np.array([0.0, 0.0, 1.0])
