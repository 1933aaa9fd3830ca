"""How a scene is to be built, with a check of every value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np

from ..arguments import check_choice, check_flag, check_whole
from ..errors import LotusError
from ..maps.depth import DEFAULT_FAR
from .grid import DEFAULT_CUT

Mode = Literal["perspective", "relief", "points"]
Fusion = Literal["poisson", "bilateral"]
Shape = Literal["depth", "normals"]


@dataclass(frozen=True)
class SceneOptions:
    """How to build a scene. The defaults are what `lotus mesh` does without options.

    A field without a note counts in every mode; the others only in those named, and are ignored elsewhere, so that a
    host can hand on all of its settings. Of several photos (`build_fused_scene`) only mode, sky, max_std, min_faces and
    target_faces count.

    Raises LotusError for a value that has no meaning in any mode. A far of at most 1, a field of view below 1° and a
    cut of 0 are refused only where they are used, by what uses them.
    """

    mode: Mode = "perspective"
    fov_deg: float | None = None  # perspective, points; horizontal; None: from focal_35mm, else 55° on the longer side
    focal_35mm: float | None = None  # perspective, points without fov_deg; mm, from EXIF
    # perspective, points, of shape "depth": distance of the map's far end, the near end being 1; None: from the normals
    far: float | None = DEFAULT_FAR
    # perspective, points: pixels x, y, x, y and the metres between them; kept as a tuple
    known_length: tuple[float, float, float, float, float] | None = None
    cut: float = DEFAULT_CUT  # perspective, and smooth_px: relative jump of depth at which the surface tears
    stride: int | None = None  # a vertex on every n-th pixel; None: 1, more where > 2 million would be left
    quads: bool = False  # perspective without target_faces
    min_faces: int = 64  # perspective: smaller islands are dropped
    fill_holes: int = 0  # perspective, points; pixels: larger holes stay open
    sky: float | None = None  # nearness (0 far … 1 near) below which a pixel is sky and is removed
    max_std: float | None = None  # of the depth, 0 … 1; less certain pixels are removed; needs an uncertainty
    # perspective, points, of shape "depth": sharpen soft edges, and let the normals sharpen the surface
    refine: bool = True
    fusion: Fusion = "poisson"  # of refine with normals: how they do; "bilateral" keeps more edges and takes seconds
    shape: Shape = "depth"  # "normals": the surface is integrated from them alone, the depth map says nothing
    smooth_px: float = 0.0  # perspective, points: smoothing where the depth is uncertain; needs an uncertainty
    target_faces: int | None = None  # perspective, relief; triangles, at least 4
    width_mm: float = 100.0  # relief
    relief_mm: float = 10.0  # relief, from its farthest to its nearest point
    base_mm: float | None = None  # relief: a closed solid with a base of this thickness

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, np.generic):  # which JSON does not know
                value = value.item()
                object.__setattr__(self, each.name, value)
            if value is not None or "None" not in str(each.type):
                _check(each.name, value)
        if self.known_length is not None:
            object.__setattr__(self, "known_length", tuple(map(float, self.known_length)))


_CHOICES: dict[str, Any] = {"mode": Mode, "fusion": Fusion, "shape": Shape}
_LEAST = {"stride": 1, "min_faces": 0, "fill_holes": 0, "target_faces": 4}  # whole numbers
# What the numbers are, and whether one is. As wide as the sliders of the hosts, whose values come in whatever the mode.
_NUMBERS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "fov_deg": ("a field of view in 1…170 degrees", lambda value: 0 < value < 171),
    "focal_35mm": ("a focal length in millimetres above 0", lambda value: 0 < value < math.inf),
    "far": ("the distance of the far end, above 1, where the near end is", lambda value: 0 < value < math.inf),
    "cut": ("a relative depth jump above 0, for example 0.04", lambda value: value >= 0),
    "sky": ("a nearness in 0…1", lambda value: 0 <= value <= 1),
    "max_std": ("a share of the depth's range in 0…1", lambda value: 0 <= value <= 1),
    "smooth_px": ("a number of pixels, 0 or more", lambda value: 0 <= value < math.inf),
    "width_mm": ("a number of millimetres above 0", lambda value: 0 < value < math.inf),
    "relief_mm": ("a number of millimetres above 0", lambda value: 0 < value < math.inf),
    "base_mm": ("a number of millimetres above 0", lambda value: 0 < value < math.inf),
}


def _check(name: str, value: Any) -> None:
    if name in _CHOICES:
        check_choice(name, value, get_args(_CHOICES[name]))
    elif name in _LEAST:
        check_whole(name, value, _LEAST[name])
    elif name in _NUMBERS:
        meaning, allowed = _NUMBERS[name]
        if not (_is_number(value) and allowed(value)):
            raise LotusError(f"{name} is {meaning}; it is {value!r}.")
    elif name == "known_length":
        numbers = list(value) if hasattr(value, "__iter__") else []
        if len(numbers) != 5 or not all(_is_number(each) and math.isfinite(each) for each in numbers):
            raise LotusError(f"known_length is five numbers, x, y, x, y and the metres between; it is {value!r}.")
        if not numbers[4] > 0:
            raise LotusError(f"The known distance is a number of metres above 0; it is {numbers[4]}.")
    else:
        check_flag(name, value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
