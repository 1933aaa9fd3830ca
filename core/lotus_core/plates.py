"""Scene-linear pictures (EXR, Radiance HDR) made display-referred, which is what the network was trained on.

    display = sRGB curve(clip(linear · 2^exposure, 0, 1))

The automatic exposure puts the picture's log-average luminance at 18 % grey (Reinhard et al. 2002, Eq. 1 and 2).
Colours are taken as Rec. 709 primaries: other working spaces come out a little less saturated.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from .errors import LotusError
from .maps.openexr import read_openexr

MIDDLE_GREY = 0.18
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec. 709
MAX_STOPS = 30.0
EXPOSURE_FRAMES = 9  # of a sequence, evenly spaced, whose light decides its automatic exposure
_BLACK = 13.3  # stops below the brightest hundredth: darker is black (a border, say), and decides nothing
_BINS_A_STOP, _DARKEST, _BRIGHTEST = 10, -150, 150
_OPENEXR, _RADIANCE = b"\x76\x2f\x31\x01", (b"#?RADIANCE", b"#?RGBE")
_UPRIGHT = re.compile(rb"-Y (\d{1,9}) \+X (\d{1,9})\n")
_CHANNELS = {"r": "R", "red": "R", "g": "G", "green": "G", "b": "B", "blue": "B", "a": "A", "alpha": "A"}
_PICTURE_LAYERS = ("combined", "composite", "beauty", "rgba", "c", "color")  # Blender, Nuke, V-Ray, Arnold, Karma


def begins_plate(start: bytes) -> bool:
    """Whether a file that begins so, 16 bytes or more, holds scene-linear light, whatever its name."""
    return start.startswith((_OPENEXR, *_RADIANCE))


def is_plate(path: Path) -> bool:
    """Whether a file holds scene-linear light, by its first bytes; False for what cannot be read."""
    return begins_plate(_start(path))


def read_plate(path: Path) -> np.ndarray:
    """Linear float32 H×W×3, or H×W×4 with straight colour under its alpha; NaN and negative light are 0.

    H×W is the display window of an EXR; outside its data window it is transparent. Raises LotusError for damaged
    files, EXR without colours or with several layers none of which is known to be the picture, and for Radiance HDR
    without PyAV.
    """
    values = _read_hdr(path) if _start(path).startswith(_RADIANCE) else _read_exr(path)
    np.nan_to_num(values, copy=False, nan=0.0, posinf=65504.0, neginf=0.0)
    return np.clip(values, 0, None, out=values)


def automatic_exposure(plates: Iterable[np.ndarray]) -> float:
    """Stops, rounded to hundredths, that put the plates' common log-average luminance at MIDDLE_GREY.

    Of what is neither transparent nor black next to the rest; 0 where there is no light.
    """
    bins = (_BRIGHTEST - _DARKEST) * _BINS_A_STOP + 1
    counts, sums = np.zeros(bins), np.zeros(bins)
    for plate in plates:
        light = plate[..., :3] @ LUMINANCE
        lit = light > 0 if plate.shape[2] == 3 else (light > 0) & (plate[..., 3] > 0.5)
        stops = np.log2(light[lit], dtype=np.float64)
        which = ((stops - _DARKEST) * _BINS_A_STOP).astype(int).clip(0, bins - 1)
        counts += np.bincount(which, minlength=bins)
        sums += np.bincount(which, weights=stops, minlength=bins)
    if not counts.any():
        return 0.0
    bright = int(np.searchsorted(np.cumsum(counts), 0.99 * counts.sum()))
    first = max(0, bright - round(_BLACK * _BINS_A_STOP))
    average = sums[first:].sum() / counts[first:].sum()
    return round(float(np.clip(np.log2(MIDDLE_GREY) - average, -MAX_STOPS, MAX_STOPS)), 2)


def common_exposure(files: Sequence[str]) -> float | None:
    """The automatic exposure of pictures that belong together, one for all; None where they are not scene-linear."""
    found = plates_of(files)
    return automatic_exposure(map(read_plate, found)) if found else None


def plates_of(files: Sequence[str]) -> list[Path]:
    """The scene-linear ones of at most EXPOSURE_FRAMES files, evenly spaced."""
    step = max(1, -(-len(files) // EXPOSURE_FRAMES))
    return [path for path in map(Path, files[::step]) if is_plate(path)]


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
    picture = read_openexr(path, lambda names: set(_picture_channels(names, path).values()))
    planes, covered = picture.planes, picture.covered
    if not planes:
        found = ", ".join(picture.channels[:8]) or "nothing"
        raise LotusError(f"{path} has no R, G, B (it has: {found}): export a colour layer.")
    roles = _picture_channels(list(planes), path)
    with_alpha = "A" in roles or covered is not None
    values = np.empty((*planes[roles["R"]].shape, 4 if with_alpha else 3), np.float32)
    for place, role in enumerate("RGB"):
        values[..., place] = planes[roles[role]]
    if not with_alpha:
        return values
    values[..., 3] = planes[roles["A"]] if "A" in roles else covered
    # OpenEXR colour is premultiplied (its specification, "Alpha"); under zero alpha there is nothing to divide.
    alpha, colour = values[..., 3:], values[..., :3]
    solid = alpha > 0
    np.divide(colour, alpha, out=colour, where=solid)
    colour *= solid
    return values


def _picture_channels(names: Sequence[str], path: Path) -> dict[str, str]:
    """Which channels are R, G, B, and A if there is one, of the picture; none where nothing can be that."""
    layers: dict[str, dict[str, str]] = {}
    for name in names:
        layer, _, channel = name.rpartition(".")
        role = _CHANNELS.get(channel.lower())
        if role is not None:
            layers.setdefault(layer, {})[role] = name
    coloured = {layer: roles for layer, roles in layers.items() if {"R", "G", "B"} <= roles.keys()}
    if "" in coloured:
        return coloured[""]
    known = [layer for layer in coloured if layer.rpartition(".")[2].lower() in _PICTURE_LAYERS]
    if known:
        return coloured[min(known, key=lambda layer: ("composite" not in layer.lower(), layer))]
    if "Y" in names:
        return dict.fromkeys("RGB", "Y") | ({"A": "A"} if "A" in names else {})
    if len(coloured) > 1:
        listed = ", ".join(list(coloured)[:6]) + (" …" if len(coloured) > 6 else "")
        raise LotusError(
            f"{path} has several layers ({listed}) and none is called Combined, beauty or rgba: export the one to see."
        )
    return next(iter(coloured.values()), {})


def _read_hdr(path: Path) -> np.ndarray:
    from .batch.video import require_av
    from .images import check_size

    av = require_av()
    content = path.read_bytes()
    header, _, pixels = content.partition(b"\n\n")
    size = _UPRIGHT.match(pixels)
    if size is None or b"xyze" in header:
        raise LotusError(
            f"{path} is damaged, or a Radiance HDR file that is turned or in XYZ: save it again, upright and as RGBE."
        )
    check_size(int(size[1]), int(size[2]), str(path))
    _, _, lines = content.partition(b"\n")
    try:  # from memory: FFmpeg would take a name with a colon for a protocol, and knows one of the signatures
        with av.open(io.BytesIO(_RADIANCE[0] + b"\n" + lines), format="hdr_pipe") as container:
            planes = next(container.decode(video=0)).to_ndarray(format="gbrpf32le")
    except Exception:  # what FFmpeg raises on damaged files depends on the decoder
        raise LotusError(f"{path} is damaged or no Radiance HDR file: export or copy it again.") from None
    return np.ascontiguousarray(planes, np.float32)
