"""From the maps of a photo to distances, remembered so that only the sliders that change them cost time."""

from __future__ import annotations

import zlib
from collections import OrderedDict

import bpy
import numpy as np

from lotus_core.geometry import SceneOptions, Surface, build_surface
from lotus_core.maps import Depth, Normals, Uncertainty

from . import images

_REMEMBERED = 2
_surfaces: OrderedDict[tuple[object, ...], Surface] = OrderedDict()


def surface_of(depth: Depth, normals: Normals | None, std: Uncertainty | None, options: SceneOptions) -> Surface:
    """`build_surface`, kept for the last two combinations of maps and options. Raises LotusError."""
    key = (
        _digest(depth.values),
        depth.space,
        None if depth.valid is None else _digest(depth.valid),
        None if normals is None else _digest(normals.values),
        None if std is None else _digest(std.std),
        options,
    )
    surface = _surfaces.pop(key, None)
    if surface is None:
        surface = build_surface(depth, normals, std, options)
    _surfaces[key] = surface
    while len(_surfaces) > _REMEMBERED:
        _surfaces.popitem(last=False)
    return surface


def forget() -> None:
    """Free what is remembered."""
    _surfaces.clear()


def resized_maps(
    photo: bpy.types.Image, *, normals: bool, uncertainty: bool
) -> tuple[Depth, Normals | None, Uncertainty | None]:
    """The maps of a photo. Raises LotusError where there is no depth."""
    depth = images.depth_of(photo)
    return (
        depth,
        images.normals_of(photo) if normals else None,
        images.uncertainty_of(photo) if uncertainty else None,
    )


def _digest(values: np.ndarray) -> tuple[tuple[int, ...], int]:
    return values.shape, zlib.adler32(np.ascontiguousarray(values).data.cast("B"))
