"""From the maps of a photo to distances, remembered so that only the sliders that change them cost time."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import bpy
import numpy as np

from lotus_core.geometry import SceneOptions, Surface, build_surface
from lotus_core.maps import Depth, Normals, Uncertainty

from . import images

Key = TypeVar("Key")
Value = TypeVar("Value")

_REMEMBERED = 2
_surfaces: OrderedDict[tuple[object, ...], Surface] = OrderedDict()
_normals: OrderedDict[tuple[object, ...], Normals] = OrderedDict()


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
    return _remember(_surfaces, key, lambda: build_surface(depth, normals, std, options))


def forget() -> None:
    """Free what is remembered."""
    _surfaces.clear()
    _normals.clear()


def resized_maps(
    photo: bpy.types.Image, *, normals: bool, uncertainty: bool
) -> tuple[Depth, Normals | None, Uncertainty | None]:
    """The maps of a photo. Raises LotusError where there is no depth."""
    depth = images.depth_of(photo)
    return (
        depth,
        _normals_of(photo) if normals else None,
        images.uncertainty_of(photo) if uncertainty else None,
    )


def _normals_of(photo: bpy.types.Image) -> Normals | None:
    """The normals of a photo; decoding them takes longer than telling that they are the same as before."""
    image = photo.lotus.normal
    if image is None:
        return None
    pixels = images.pixels_of(image)
    return _remember(_normals, _digest(pixels[::-1]), lambda: images.normals_in(pixels))


def _remember(store: OrderedDict[Key, Value], key: Key, make: Callable[[], Value]) -> Value:
    """The value of a key, made where it is not among the last ones."""
    value = store.pop(key) if key in store else make()
    store[key] = value
    while len(store) > _REMEMBERED:
        store.popitem(last=False)
    return value


def _digest(values: np.ndarray) -> tuple[tuple[int, ...], int]:
    return values.shape, zlib.adler32(np.ascontiguousarray(values).data.cast("B"))
