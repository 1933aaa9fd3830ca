"""The image filters that geometry needs, from scipy where it is installed and in numpy where it is not.

Blender's own Python has numpy only. There the functions below give the same results as scipy's, more slowly; the
 exception is `fill_outside`, which takes a value from the surroundings instead of the nearest pixel's.
"""

from __future__ import annotations

import numpy as np

try:
    from scipy import fft, ndimage
except ImportError:
    HAVE_SCIPY = False
else:
    HAVE_SCIPY = True


def minimum_filter(values: np.ndarray, size: int) -> np.ndarray:
    """The least value of the square window of odd `size` around each pixel; at the border of what lies inside."""
    if HAVE_SCIPY:
        return ndimage.minimum_filter(values, size)
    return _window(values, size, np.minimum)


def maximum_filter(values: np.ndarray, size: int) -> np.ndarray:
    """The greatest value of the square window of odd `size` around each pixel."""
    if HAVE_SCIPY:
        return ndimage.maximum_filter(values, size)
    return _window(values, size, np.maximum)


def gaussian_filter(values: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of an H×W map, sigma in pixels, cut off at 4 sigma, mirrored at the border; the dtype is kept."""
    if HAVE_SCIPY:
        return ndimage.gaussian_filter(values, sigma)
    radius = int(4 * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(values.dtype)
    out = values
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius, radius)
        padded = np.pad(out, pad, mode="symmetric")
        size = values.shape[axis]
        out = np.zeros_like(values)
        for i, tap in enumerate(taps):
            out += tap * (padded[i : i + size] if axis == 0 else padded[:, i : i + size])
    return out


def label(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Connected pieces (sharing an edge) of a bool H×W mask: their numbers from 1 in reading order, and how many."""
    if HAVE_SCIPY:
        numbers, count = ndimage.label(mask)
        return numbers, int(count)
    return _label(mask)


def fill_outside(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The map with every pixel outside the mask taken from pixels near it inside. The mask is not empty."""
    if inside.all():
        return values
    if HAVE_SCIPY:
        nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
        filled = values[tuple(nearest)]
        assert isinstance(filled, np.ndarray)
        return filled
    return _fill_outside(values, inside)


def dctn(values: np.ndarray) -> np.ndarray:
    """Orthonormal two-dimensional cosine transform (DCT-II), in the dtype of the values."""
    if HAVE_SCIPY:
        return fft.dctn(values, type=2, norm="ortho", workers=2)
    return _dct(_dct(values.astype(np.float64)).T).T.astype(values.dtype)


def idctn(spectrum: np.ndarray) -> np.ndarray:
    """The inverse of `dctn`. The spectrum may be overwritten."""
    if HAVE_SCIPY:
        return fft.idctn(spectrum, type=2, norm="ortho", workers=2, overwrite_x=True)
    return _idct(_idct(spectrum.astype(np.float64)).T).T.astype(spectrum.dtype)


def _window(values: np.ndarray, size: int, better: np.ufunc) -> np.ndarray:
    """Windows of 1, 2, 4 … pixels, each the better of two shorter ones: log2(size) passes along either axis."""
    radius = size // 2
    out = values
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius, radius)
        out = np.pad(out, pad, mode="edge")  # the border's own value, which its windows hold anyway
        span = 1
        while span < size:
            step = min(span, size - span)
            out = better(out[:-step], out[step:]) if axis == 0 else better(out[:, :-step], out[:, step:])
            span += step
    return out


def _label(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Runs along rows, joined with the runs they touch in the next row by hooking and pointer jumping."""
    start = mask.copy()
    start[:, 1:] &= ~mask[:, :-1]
    run = np.cumsum(start).reshape(mask.shape) - 1
    touch = mask[1:] & mask[:-1]
    first = touch.copy()
    first[:, 1:] &= ~touch[:, :-1] | start[1:, 1:] | start[:-1, 1:]
    above, below = run[:-1][first], run[1:][first]
    parent = np.arange(int(start.sum()))
    while True:
        a, b = parent[above], parent[below]
        apart = a != b
        if not apart.any():
            break
        above, below, a, b = above[apart], below[apart], a[apart], b[apart]
        np.minimum.at(parent, np.maximum(a, b), np.minimum(a, b))
        while True:
            grand = parent[parent]
            if np.array_equal(grand, parent):
                break
            parent = grand
    roots, number = np.unique(parent, return_inverse=True)
    out = np.zeros(mask.shape, np.int32)
    out[mask] = number[run[mask]] + 1
    return out, len(roots)


def _fill_outside(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Means of the inside pixels at ever coarser levels, handed down to where the finer level knows nothing."""
    if inside.all():
        return values
    height, width = values.shape
    even = ((0, height % 2), (0, width % 2))
    weight = np.pad(inside, even).astype(np.float64)
    total = np.pad(np.where(inside, values, 0), even).astype(np.float64)
    weight = weight.reshape(weight.shape[0] // 2, 2, -1, 2).sum((1, 3))
    total = total.reshape(total.shape[0] // 2, 2, -1, 2).sum((1, 3))
    known = weight > 0
    coarse = _fill_outside(np.where(known, total / np.where(known, weight, 1), 0), known)
    spread = coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.where(inside, values, spread).astype(values.dtype)


def _dct(x: np.ndarray) -> np.ndarray:
    """DCT-II along the last axis by one real FFT of the same length (Makhoul, "A fast cosine transform", 1980)."""
    n = x.shape[-1]
    half = np.fft.rfft(np.concatenate([x[..., ::2], x[..., 1::2][..., ::-1]], axis=-1), axis=-1)
    half *= np.exp(-0.5j * np.pi * np.arange(half.shape[-1]) / n) * np.sqrt(2 / n)
    out = np.empty(x.shape)
    out[..., : half.shape[-1]] = half.real
    out[..., half.shape[-1] :] = -half.imag[..., (n - 1) // 2 : 0 : -1]
    out[..., 0] *= np.sqrt(0.5)
    return out


def _idct(y: np.ndarray) -> np.ndarray:
    n = y.shape[-1]
    middle = n // 2 + 1
    half = np.zeros((*y.shape[:-1], middle), np.complex128)
    half.real = y[..., :middle]
    half.imag[..., 1:] = -y[..., : n - middle : -1]
    half[..., 0] *= np.sqrt(2)
    half *= np.exp(0.5j * np.pi * np.arange(middle) / n) * np.sqrt(n / 2)
    turned = np.fft.irfft(half, n, axis=-1)
    out = np.empty(y.shape)
    out[..., ::2] = turned[..., : (n + 1) // 2]
    out[..., 1::2] = turned[..., : (n - 1) // 2 : -1]
    return out
