"""How a frame's picture moved since the frame before: optical flow at a small size, and where it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import LotusError
from ..maps.resample import resize, resize_valid
from ..plates import LUMINANCE

ANALYSIS_EDGE = 192  # longest edge in pixels of the frames that motion is found in
# TV-L1 (Zach et al. 2007). Against the exact motion of six filmed synthetic scenes these settings err by 0.2 to 0.4
# pixels in the median at half the time of scikit-image's defaults; its Lucas-Kanade flow errs by 0.3 to 0.5.
_TVL1 = {"attachment": 10, "num_warp": 3, "num_iter": 6}
CHANGED = 0.05  # difference of brightness, of 1, at which a pixel counts as another point of the scene


@dataclass(frozen=True)
class Motion:
    """From a frame to the frame before it.

    flow: float32 h×w×2 at the analysis size: how many of its pixels further right and down each point was. difference:
    float32 h×w ≥ 0: how much brightness, of 1, differs between a pixel and where it came from; 1 from outside the
    picture.
    """

    flow: np.ndarray
    difference: np.ndarray


def small_grey(rgb: np.ndarray) -> np.ndarray:
    """Luminance of a float32 H×W×3 picture in [0, 1] at the analysis size, float32 h×w."""
    height, width = rgb.shape[:2]
    scale = min(1.0, ANALYSIS_EDGE / max(height, width))
    return resize(rgb @ LUMINANCE, max(1, round(height * scale)), max(1, round(width * scale)))


def find_motion(grey: np.ndarray, before: np.ndarray) -> Motion:
    """The motion between two frames of `small_grey`. Raises LotusError where scikit-image is not installed."""
    try:
        from skimage.registration import optical_flow_tvl1
    except ImportError:
        raise LotusError("Following the motion of a video needs scikit-image: pip install scikit-image.") from None
    down, right = optical_flow_tvl1(grey, before, **_TVL1)
    flow = _as_kept(np.dstack([right, down]))
    warped, inside = warp(before, flow)
    return Motion(flow, _as_kept(np.where(inside, np.abs(grey - warped), np.float32(1))))


def _as_kept(values: np.ndarray) -> np.ndarray:
    """float32 with the digits that are kept on disk, so that a resumed clip goes on with the same numbers."""
    return values.astype(np.float16).astype(np.float32)


def warp(values: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring the frame before to this one: float32 H×W or H×W×C sampled bilinearly at pixel + flow (H×W×2).

    Returns the values and, bool H×W, which of them come from inside the picture.
    """
    height, width = values.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    left, top = np.minimum(x.astype(np.intp), max(width - 2, 0)), np.minimum(y.astype(np.intp), max(height - 2, 0))
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = x - left, y - top
    if values.ndim == 3:
        across, down = across[..., None], down[..., None]
    upper = values[top, left] * (1 - across) + values[top, right] * across
    lower = values[bottom, left] * (1 - across) + values[bottom, right] * across
    return (upper * (1 - down) + lower * down).astype(np.float32), inside


def warp_valid(valid: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Bring a mask of the frame before, bool H×W, to this one: True where all that `warp` mixes is valid."""
    return valid if valid.all() else warp(valid.astype(np.float32), flow)[0] > 0.99


def seen_in_both(
    values: np.ndarray,
    before: np.ndarray,
    motion: Motion,
    valid: np.ndarray | None = None,
    valid_before: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The values of two frames' maps, float32 H×W, at the pixels of the motion's size that both show.

    These are valid in both (bool H×W; None: all) and of the brightness of the place they came from. Returns float32 N
    of this frame and of the frame before, pixel by pixel the same; N may be 0.
    """
    height, width = motion.difference.shape
    now, mask = _resize_valid(values, valid, height, width)
    then, mask_before = _resize_valid(before, valid_before, height, width)
    warped, common = warp(then, motion.flow)
    common &= motion.difference < CHANGED
    if mask is not None:
        common &= mask
    if mask_before is not None:
        common &= warp_valid(mask_before, motion.flow)
    return now[common], warped[common]


def _resize_valid(
    values: np.ndarray, valid: np.ndarray | None, height: int, width: int
) -> tuple[np.ndarray, np.ndarray | None]:
    return (resize(values, height, width), None) if valid is None else resize_valid(values, valid, height, width)


def flow_at(flow: np.ndarray, height: int, width: int) -> np.ndarray:
    """A flow field at another size, in that size's pixels."""
    scale = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    return resize(flow, height, width) * scale
