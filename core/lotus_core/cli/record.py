"""What the records beside results say, and where it comes from."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..files import json_or_nothing

if TYPE_CHECKING:
    import numpy as np

    from ..geometry import Camera
    from ..images import LoadedImage


def choose_camera(image: LoadedImage, fov: float | None = None) -> tuple[Camera, str]:
    """The camera of a photo and where it comes from: "--fov" (horizontal, degrees), "EXIF" or "default"."""
    from ..geometry import Camera

    height, width = image.rgb.shape[:2]
    if fov is not None:
        return Camera.from_fov(width, height, fov), "--fov"
    if image.focal_35mm is not None:
        return Camera.from_exif(width, height, image.focal_35mm), "EXIF"
    return Camera.default(width, height), "default"


def photo_pixels(image: LoadedImage) -> np.ndarray:
    """The photo as uint8 H×W×3."""
    import numpy as np

    return np.rint(image.rgb * 255).astype(np.uint8)


def versions() -> dict[str, str]:
    """Of Python and the packages that decide the numbers."""
    from importlib.metadata import version

    packages = {name: version(name) for name in ("torch", "diffusers", "numpy", "safetensors")}
    return {"lotus-geometry": __version__, "python": sys.version.split()[0], **packages}


def with_earlier_maps(record: dict[str, Any], path: Path, written: Collection[str]) -> dict[str, Any]:
    """`record`, and in its "maps" those of the record at `path` whose files are still beside it.

    written: names of the files that are about to be replaced; what these held is forgotten. An earlier map keeps, in
    its own entry, what was said of it and is said otherwise now: photo, seed, command and the like. Where its name is
    taken by a new map, which then is in another format, it is called after its own: "depth.png".
    """
    earlier = json_or_nothing(path)
    entries = earlier.get("maps")
    said = record.keys() & earlier.keys() - {"maps"}  # records of earlier versions lack some
    then = {key: earlier[key] for key in record if key in said and earlier[key] != record[key]}
    maps = dict(record["maps"])
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        file = entry.get("file") if isinstance(entry, dict) else None
        if not isinstance(file, str) or file in written or not (path.parent / file).is_file():
            continue
        kept = {key: value for key, value in entry.items() if key != "preview" or value not in written}
        maps[name if name not in maps else name + Path(file).suffix] = {**then, **kept}
    return {**record, "maps": maps}
