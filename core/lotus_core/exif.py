"""The focal length of a photo, from what its camera wrote into the file (EXIF 2.32)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image

_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}  # FocalPlaneResolutionUnit: inch, cm, mm, µm
_FILM_MM = math.hypot(36, 24)
_FIRMWARE = re.compile(r"(v(er(sion)?)?[.\s]*)?\d[\w.]*", re.IGNORECASE)  # such as "Ver.1.01", "Version 1.1", "1.00"
# Bounds of sensors: diagonals from telephones to 54×40 mm backs; DSLRs of 2000 had pixels of 11.8 µm, but what is
# smaller than Four Thirds never had any above 4 µm; fewer than 3 million pixels have not been sold since 2003.
_DIAGONAL_MM = (4.0, 70.0)
_SMALL_MM = 20.0
_SMALL_PITCH_MM, _LARGE_PITCH_MM = 0.005, 0.012
_PIXELS = 2_900_000


def focal_35mm(image: Image.Image) -> float | None:
    """The 35 mm equivalent focal length, by the diagonal, in millimetres; None where the file does not say it.

    As the camera wrote it; else from the focal length and the size of the sensor, which is the photo's pixels by those
    per inch of the sensor. Editors that scale a photo rewrite the former and leave the latter, and the sensor shrinks:
    such a sensor is believed only of a file that names no other program than its camera's, and if it is one that has
    been built.
    """
    try:
        exif = image.getexif()
        tags = exif.get_ifd(ExifTags.IFD.Exif)
        focal = float(tags.get(ExifTags.Base.FocalLengthIn35mmFilm, 0))
        if focal == 0 and _written_by_camera(exif):
            sensor = _sensor_diagonal(tags, image.size)
            focal = 0.0 if sensor is None else float(tags[ExifTags.Base.FocalLength]) * _FILM_MM / sensor
    except Exception:  # EXIF is free-form; a focal length that cannot be read is one that is not there
        return None
    return focal if focal > 0 and math.isfinite(focal) else None


def _written_by_camera(exif: Mapping[int, Any]) -> bool:
    """Whether the entry Software is absent, the version of a firmware, or names the camera."""
    software = str(exif.get(ExifTags.Base.Software, "")).strip("\0 ").lower()
    model = str(exif.get(ExifTags.Base.Model, "")).strip("\0 ").lower()
    if not software or "firmware" in software or _FIRMWARE.fullmatch(software):
        return True
    return len(model) > 3 and model in software


def _sensor_diagonal(tags: Mapping[int, Any], size: tuple[int, int]) -> float | None:
    """Of the sensor that the entries tell of, in millimetres; None for one that no camera has."""
    unit = _UNIT_MM[int(tags.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))]
    across = float(tags.get(ExifTags.Base.ExifImageWidth, size[0]))
    down = float(tags.get(ExifTags.Base.ExifImageHeight, size[1]))
    width = across / float(tags[ExifTags.Base.FocalPlaneXResolution]) * unit
    height = down / float(tags[ExifTags.Base.FocalPlaneYResolution]) * unit
    diagonal = math.hypot(width, height)
    coarsest = _SMALL_PITCH_MM if diagonal < _SMALL_MM else _LARGE_PITCH_MM
    built = _DIAGONAL_MM[0] <= diagonal <= _DIAGONAL_MM[1] and max(width / across, height / down) <= coarsest
    return diagonal if built and across * down >= _PIXELS else None
