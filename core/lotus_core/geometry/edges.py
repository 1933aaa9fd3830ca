"""Soft depth edges made sharp: networks and resizing leave a ramp of in-between distances at silhouettes."""

from __future__ import annotations

import numpy as np

from .filters import fill_outside, gaussian_filter, label, maximum_filter, minimum_filter
from .inputs import check_picture

_REACH, _LEAST = 150, 3  # the radius is the longer side over this, and at least so many pixels
_RANGE, _STRONG = 0.2, 0.4  # relative range of distances within the window; an edge reaches the second somewhere
_RAMP = 1.7  # a plane's range doubles with the window, an edge's hardly grows
_BETWEEN = 0.1  # of that range: closer to one of the sides, a pixel is already on it
_TAIL, _STEEP = 0.02, 0.04  # unless the ramp goes on: by so much of that range from one neighbour to the other
_SHARP = 0.9  # of that range from one neighbour to the other: no ramp at all
_COLOUR_NOISE = 0.05  # difference of colours (0 … 1) that says nothing


def edge_radius(shape: tuple[int, ...]) -> int:
    """How far a soft edge reaches to either side, pixels: networks see a photo at about 600 to 800 pixels and are
    some pixels unsure there, so the ramp grows with the photo.
    """
    return max(_LEAST, round(max(shape[:2]) / _REACH))


def sharpen_edges(
    z: np.ndarray, radius: int | None = None, where: np.ndarray | None = None, photo: np.ndarray | None = None
) -> np.ndarray:
    """Put the pixels of a soft depth edge on its near or its far side, float32 H×W.

    A mesh would show the ramp as a skirt, or fray where it is cut. Within `radius` pixels (None: `edge_radius`) of a
    strong edge, a pixel that lies between both sides takes the distance of the closest pixel that is on one of them: of
    the side whose disparity is closer (a blur in disparity crosses the middle where the edge was) and, with a photo,
    whose colour is. Sharp edges and slanted surfaces stay as they are. z: H×W > 0. where: bool H×W, the pixels that may
    move; without it, those whose surroundings are no plane. photo: uint8 H×W×3. Returns an array of its own. Raises
    LotusError for another photo.
    """
    if photo is not None:
        check_picture(photo)
    z = np.asarray(z, np.float32)
    radius = edge_radius(z.shape) if radius is None else radius
    disparity = 1 / z
    window = 2 * radius + 1
    far, near = minimum_filter(disparity, window), maximum_filter(disparity, window)
    jump, span = near / far - 1, near - far
    if where is None:
        wide = 4 * radius + 1
        where = maximum_filter(disparity, wide) - minimum_filter(disparity, wide) <= _RAMP * span
    place = (disparity - far) / np.maximum(span, np.float32(1e-20))
    slope = maximum_filter(disparity, 3) - minimum_filter(disparity, 3)
    from_side = np.minimum(place, 1 - place)
    soft = (jump > _RANGE) & where & (maximum_filter(slope, window - 2) < _SHARP * span)
    soft &= (from_side > _BETWEEN) | ((slope > _STEEP * span) & (from_side > _TAIL))
    soft = _pieces_that_reach(soft, jump, _STRONG)
    beside = maximum_filter(soft.view(np.uint8), window).astype(bool) & ~soft
    nearer, farther = beside & (place >= 0.5), beside & (place < 0.5)
    if not (nearer.any() and farther.any()):
        return z.copy()
    side = 2 * place - 1  # 1: near, -1: far
    if photo is not None:
        side = gaussian_filter(side + _colour_side(photo, nearer, farther, radius), max(radius / 4, 0.7))
    return np.where(soft, 1 / np.where(side > 0, fill_outside(disparity, nearer), fill_outside(disparity, farther)), z)


def _pieces_that_reach(mask: np.ndarray, values: np.ndarray, least: float) -> np.ndarray:
    """The connected pieces of a mask in which some value exceeds `least`."""
    piece, count = label(mask)
    reached = np.zeros(count + 1, bool)
    reached[piece[mask & (values > least)]] = True
    return reached[piece]


def _colour_side(photo: np.ndarray, nearer: np.ndarray, farther: np.ndarray, radius: int) -> np.ndarray:
    """Whether a pixel looks like the near (1) or the far side (−1) around it; 0 where both look the same. float32."""
    step = max(1, radius // 4)  # means over `radius` pixels need no finer grid
    pixels = photo.astype(np.float32) / 255
    rows, columns = (np.arange(size) // step for size in photo.shape[:2])
    means = []
    for mask in (nearer[::step, ::step], farther[::step, ::step]):
        weight = gaussian_filter(mask.astype(np.float32), radius / step) + np.float32(1e-6)
        colours = [gaussian_filter(pixels[::step, ::step, i] * mask, radius / step) / weight for i in range(3)]
        means.append(np.dstack(colours)[rows][:, columns])
    to_near, to_far = (np.square(pixels - mean).sum(axis=2) for mean in means)
    apart = np.square(means[0] - means[1]).sum(axis=2)
    noise = np.float32(_COLOUR_NOISE**2)
    return (to_far - to_near) / (to_near + to_far + noise) * (apart / (apart + noise))
