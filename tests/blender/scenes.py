"""Photos with maps, made up so that the truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from lotus_core.maps import Depth, Normals, Uncertainty

MODULE = "bl_ext.dev.lotus_geometry"


def part(name: str) -> Any:
    """A module of the extension as Blender loaded it."""
    import importlib

    return importlib.import_module(f"{MODULE}.{name}")


def add_photo(bpy: Any, pixels: np.ndarray, name: str = "photo") -> Any:
    """A new image of float or uint8 H×W×3 pixels, top row first, chosen as the scene's photo."""
    height, width = pixels.shape[:2]
    image = bpy.data.images.new(name, width, height)
    rgba = np.ones((height, width, 4), np.float32)
    rgba[..., :3] = pixels[::-1] / 255 if pixels.dtype == np.uint8 else pixels[::-1]
    image.pixels.foreach_set(rgba.ravel())
    image.pack()
    bpy.context.scene.lotus.image = image
    return image


def put(photo: Any, kind: str, value: Depth | Normals | Uncertainty) -> Any:
    """Give a photo a map, packed; returns its image."""
    part("attaching").put_map(photo, kind, value)
    return getattr(photo.lotus, kind)


def checks(height: int, width: int) -> np.ndarray:
    """A colourful picture with detail at several scales, uint8."""
    rows, columns = np.mgrid[:height, :width]
    rng = np.random.default_rng(0)
    out = np.zeros((height, width, 3))
    for size in (64, 24, 9):
        colours = rng.random((height // size + 1, width // size + 1, 3))
        out += colours[rows // size, columns // size]
    return np.rint(out / 3 * 255).astype(np.uint8)


def hills(height: int, width: int) -> np.ndarray:
    """A smooth disparity with a step, float32 in [0, 1]."""
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    values = 0.4 + 0.2 * np.sin(5 * columns) * np.cos(4 * rows)
    values[np.hypot(columns - 0.5, rows - 0.4) < 0.2] = 0.95
    return values.astype(np.float32)


def positions(mesh: Any) -> np.ndarray:
    """Vertices, float64 N×3."""
    flat = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", flat)
    return flat.reshape(-1, 3).astype(np.float64)
