"""What normals say about depth and depth about normals.

Everything here is written for the logarithm of the distance in perspective, and for the distance itself (in pixels) in
orthographic pictures: in both cases a normal fixes the slope linearly (Cao et al., "Bilateral Normal Integration", ECCV
2022, eqs. 3–7). With the OpenGL normal n (x right, y up, z toward the camera) and pixel coordinates (u, v) from the
centre, v down:

    slope = (n_x, −n_y) / facing,   facing = n_z f − n_x u + n_y v   (perspective, per pixel of log z)
    slope = (n_x, −n_y) / facing,   facing = n_z                     (orthographic, per pixel of z in pixels)
"""

from __future__ import annotations

import numpy as np

from ..maps.normals import Normals, normalize
from .camera import Camera
from .inputs import as_mask

_GRAZING = 0.02  # of the ray's cosine: a surface seen at less than about 1° gives no usable slope


def facing(normals: np.ndarray, camera: Camera | None) -> np.ndarray:
    """The factor between normals (OpenGL, H×W×3) and slopes, H×W; positive where the surface looks at the camera."""
    if camera is None:
        return normals[..., 2]
    dtype = normals.dtype
    u = (np.arange(camera.width) + 0.5 - camera.width / 2).astype(dtype)
    v = (np.arange(camera.height) + 0.5 - camera.height / 2).astype(dtype)[:, None]
    return normals[..., 2] * dtype.type(camera.focal_px) - normals[..., 0] * u + normals[..., 1] * v


def slopes(normals: np.ndarray, camera: Camera | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope across and down, float32 H×W each, and where they are known (bool): facing the camera and not grazing."""
    factor = facing(normals, camera)
    length = 1.0 if camera is None else camera.focal_px
    known = factor > _GRAZING * length
    safe = np.where(known, factor, np.float32(length)).astype(np.float32)
    return normals[..., 0] / safe * known, -normals[..., 1] / safe * known, known


def normals_from_depth(z: np.ndarray, camera: Camera, valid: np.ndarray | None = None, cut: float = 0.04) -> Normals:
    """Normals of the surface through the pixel centres, OpenGL axes; zero where a pixel has no neighbour on its
    surface.

    z: H×W distance along the axis. Differences are central inside a surface and one-sided at its border (a neighbour
    whose distance differs by more than `cut` is on another one).
    """
    camera.check_size(z)
    z = np.asarray(z, np.float64)
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(z) & (z > 0) & as_mask(valid, z.shape)
    log_z = np.log(np.where(usable, z, 1.0))
    p, known_p = _one_axis(log_z, usable, cut)
    q, known_q = _one_axis(log_z.T, usable.T, cut)
    q, known_q = q.T, known_q.T
    return normals_of_slopes(p, q, known_p & known_q, camera)


def normals_of_slopes(p: np.ndarray, q: np.ndarray, known: np.ndarray, camera: Camera) -> Normals:
    """Normals, OpenGL axes, of slopes of log z across and down (H×W each); zero where they are not known."""
    u = np.arange(camera.width) + 0.5 - camera.width / 2
    v = (np.arange(camera.height) + 0.5 - camera.height / 2)[:, None]
    vectors = np.dstack([p * camera.focal_px, -q * camera.focal_px, 1 + u * p + v * q])
    vectors[~known] = 0
    return Normals(normalize(vectors), "opengl")


def _one_axis(log_z: np.ndarray, usable: np.ndarray, cut: float) -> tuple[np.ndarray, np.ndarray]:
    """Slope along axis 1 from the neighbours on the same surface, and where there is one."""
    step = np.diff(log_z, axis=1)
    same = (np.abs(step) <= np.log1p(cut)) & usable[:, 1:] & usable[:, :-1]
    total = np.zeros(log_z.shape)
    count = np.zeros(log_z.shape)
    for side in (np.s_[:, 1:], np.s_[:, :-1]):
        total[side] += np.where(same, step, 0)
        count[side] += same
    return total / np.maximum(count, 1), count > 0
