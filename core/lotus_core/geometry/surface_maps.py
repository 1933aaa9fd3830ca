"""The maps of a surface as files for texturing and compositing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import LotusError
from ..maps import storage
from ..maps.normals import Convention, Normals
from .baking import ambient_occlusion, curvature_map
from .slopes import normals_from_depth
from .surface import Surface

# Normal maps are textures, which every program takes as 0.5 n + 0.5; the others are numbers.
_SUFFIXES = {"distance": ".exr", "normal": ".png", "curvature": ".exr", "occlusion": ".exr", "tangent": ".png"}
_FAR_AWAY = np.float32(1e3)


def map_paths(folder: str | os.PathLike[str], stem: str) -> dict[str, Path]:
    """The file of each map."""
    return {name: Path(folder) / f"{stem}.{name}{suffix}" for name, suffix in _SUFFIXES.items()}


def save_surface_maps(
    surface: Surface,
    folder: str | os.PathLike[str],
    stem: str,
    normals: Normals | None = None,
    tangent_map: Normals | None = None,
    convention: Convention = "opengl",
) -> list[Path]:
    """Write files of the photo's size, `<stem>.<map>.exr` (float32) and of normals `.png` (16 bits, 0.5 n + 0.5, as a
    texture); returns their paths.

    distance: along the axis, 0 where there is no surface. normal: in object space, of the model where there are
    normals, else of the surface; grey (0.5, 0.5, 0.5) where it is unknown. curvature: −1 groove … 1 ridge; occlusion:
    0 … 1 open. tangent: what a lighter mesh lacks, where there is a tangent_map; (0.5, 0.5, 1) where it lacks nothing.
    convention: of both normal maps, "opengl" or "directx" (green down). Raises LotusError.
    """
    if convention not in ("opengl", "directx"):
        raise LotusError(f"Normal maps for textures are 'opengl' or 'directx', not {convention!r}.")
    z = np.where(surface.valid, surface.z, 0).astype(np.float32)
    own = normals_from_depth(z, surface.camera, surface.valid)
    shown = own if normals is None else normals
    # What is cut out must not stand as a wall around what is left: so far away that it blocks nothing.
    backdrop = np.where(surface.valid, z, _FAR_AWAY * z.max())
    grey = {
        "distance": z,
        "curvature": np.where(surface.valid, curvature_map(shown), 0),
        "occlusion": np.where(surface.valid, ambient_occlusion(backdrop, own, surface.camera), 1),
    }
    paths = map_paths(folder, stem)
    for name, values in grey.items():
        values = values.astype(np.float32)
        storage.write_map(paths[name], values, values, {"map": name})
    shown.to(convention).save(paths["normal"])
    if tangent_map is None:
        del paths["tangent"]
    else:
        tangent_map.to(convention).save(paths["tangent"])
    return list(paths.values())
