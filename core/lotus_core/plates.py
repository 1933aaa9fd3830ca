"""Scene-linear pictures (EXR, Radiance HDR) made display-referred, which is what the network was trained on.

    display = sRGB curve(clip(linear · 2^exposure, 0, 1))

The automatic exposure puts the picture's log-average luminance at 18 % grey (Reinhard et al. 2002, Eq. 1 and 2).
Colours are taken as Rec. 709 primaries: other working spaces come out a little less saturated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from .errors import LotusError
from .maps.openexr import read_openexr

SUFFIXES = (".exr", ".hdr")
_MAGIC = (b"\x76\x2f\x31\x01", b"#?RADIANCE", b"#?RGBE")  # what such files begin with, whatever their name
MIDDLE_GREY = 0.18
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec. 709
_BLACK = 1e-4  # what counts as black in the log-average, so that a black border does not decide the exposure
MAX_STOPS = 30.0
EXPOSURE_FRAMES = 9  # of a sequence, evenly spaced, whose light decides its automatic exposure


def is_plate(path: Path) -> bool:
    """Whether a file holds scene-linear light, by its name or its first bytes."""
    if path.suffix.lower() in SUFFIXES:
        return True
    return _start(path).startswith(_MAGIC)


def read_plate(path: Path) -> np.ndarray:
    """Linear float32 H×W×3, or H×W×4 with straight colour under its alpha; NaN and negative light are 0.

    H×W is the display window of an EXR; outside its data window it is transparent. Raises LotusError for damaged
    files, and for .hdr without PyAV.
    """
    is_hdr = path.suffix.lower() == ".hdr" or _start(path).startswith(b"#?")
    values = _read_hdr(path) if is_hdr else _read_exr(path)
    return np.nan_to_num(values, nan=0.0, posinf=65504.0, neginf=0.0).clip(0, None)


def automatic_exposure(plates: Iterable[np.ndarray]) -> float:
    """Stops, rounded to hundredths, that put the plates' common log-average luminance at MIDDLE_GREY."""
    total, count = 0.0, 0
    for plate in plates:
        light = plate[..., :3] @ LUMINANCE
        lit = light[light > _BLACK]
        total += float(np.log2(lit, dtype=np.float64).sum())
        count += lit.size
    stops = np.log2(MIDDLE_GREY) - total / count if count else 0.0
    return round(float(np.clip(stops, -MAX_STOPS, MAX_STOPS)), 2)


def common_exposure(files: Sequence[str]) -> float | None:
    """The automatic exposure of pictures that belong together, one for all; None where they are not scene-linear."""
    if not is_plate(Path(files[0])):
        return None
    step = max(1, -(-len(files) // EXPOSURE_FRAMES))
    return automatic_exposure(read_plate(Path(file)) for file in files[::step])


def to_display(plate: np.ndarray, stops: float) -> np.ndarray:
    """Linear H×W×3 or 4 → display-referred float32 of the same shape in [0, 1]; alpha stays as it is."""
    light = np.clip(plate[..., :3] * np.float32(2.0**stops), 0, 1)
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** np.float32(1 / 2.4) - np.float32(0.055))
    display = curved.astype(np.float32)
    return display if plate.shape[2] == 3 else np.dstack([display, np.clip(plate[..., 3:], 0, 1)])


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16)
    except (OSError, ValueError):  # whoever reads all of it says what is wrong
        return b""


def _read_exr(path: Path) -> np.ndarray:
    picture = read_openexr(path)
    planes = picture.planes
    layers = [name[:-1] for name in planes if name.endswith("R") and {name[:-1] + c for c in "GB"} <= planes.keys()]
    if layers:
        layer = min(layers, key=lambda name: (name != "", name))
        colour = np.dstack([planes[layer + c] for c in "RGB"])
        alpha = planes.get(layer + "A")
    elif "Y" in planes:
        colour, alpha = np.repeat(planes["Y"][..., None], 3, axis=2), planes.get("A")
    else:
        raise LotusError(f"{path} has no R, G, B (it has: {', '.join(planes) or 'nothing'}): export a colour layer.")
    if alpha is None and picture.covered is not None:
        alpha = picture.covered.astype(np.float32)
    if alpha is None:
        return colour
    # OpenEXR colour is premultiplied (its specification, "Alpha"); under zero alpha there is nothing to divide.
    solid = alpha[..., None] > 0
    return np.dstack([np.where(solid, colour / np.where(solid, alpha[..., None], 1), 0), alpha])


def _read_hdr(path: Path) -> np.ndarray:
    from .batch.video import open_container

    with open_container(path) as container:
        try:
            frame = next(container.decode(video=0))
            planes = frame.to_ndarray(format="gbrpf32le")
        except Exception:  # what FFmpeg raises on damaged files depends on the decoder
            raise LotusError(f"{path} is damaged or no Radiance HDR file: export or copy it again.") from None
    return np.ascontiguousarray(planes, np.float32)
