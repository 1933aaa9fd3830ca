"""Photos in: paths, PIL images, arrays and tensors become one float32 RGB array, upright and without alpha."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from . import plates
from .arrays import tensor_to_array
from .errors import LotusError
from .exif import focal_35mm
from .srgb import to_srgb

MAX_PIXELS = 80_000_000  # 10,000 × 8,000; as float32 RGB that is 0.96 GB
MIN_EDGE = 16  # pixels; below this there is no scene to see
MAX_ASPECT = 20  # longer to shorter edge; the widest panoramas stay below it
OPAQUE = 0.5  # pixels with more alpha than this are part of the picture
RANGE_SLACK = 1e-3  # rounding outside [0, 1] that is clipped without a word
NEUTRAL_GREY = (0.5, 0.5, 0.5)
# What cameras, phones, scanners and paint programs write. Formats that run other programs to be read (EPS) stay out.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "TGA", "JPEG2000", "AVIF", "PSD", "DDS", "ICO",
           "HEIF")  # fmt: skip
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


@dataclass(frozen=True)
class LoadedImage:
    """A picture as the network wants it.

    rgb:        float32 H×W×3 in [0, 1], sRGB (display-referred, no linearisation), upright, composited.
    alpha:      float32 H×W in [0, 1], or None where every pixel is opaque.
    focal_35mm: 35 mm equivalent focal length from EXIF, millimetres, or None.
    name:       file name without suffix, "image" for anything that is no file.
    exposure:   stops that made scene-linear light display-referred, or None for a picture that was so already.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None
    focal_35mm: float | None
    name: str
    exposure: float | None = None

    @property
    def valid(self) -> np.ndarray | None:
        """bool H×W, False where the picture is transparent; None where it is not transparent anywhere."""
        return None if self.alpha is None else self.alpha > OPAQUE

    def mirrored(self) -> LoadedImage:
        """With left and right swapped."""
        alpha = None if self.alpha is None else np.ascontiguousarray(self.alpha[:, ::-1])
        return replace(self, rgb=np.ascontiguousarray(self.rgb[:, ::-1]), alpha=alpha)


def load_image(
    source: Any, *, background: tuple[float, float, float] = NEUTRAL_GREY, exposure: float | None = None
) -> LoadedImage:
    """Read one image.

    Args:
        source: a path; a PIL image; a numpy array H×W, H×W×1, H×W×3 or H×W×4 of bool, uint8, uint16 or floats in
            [0, 1]; a torch tensor of the same kinds, channels first or last, optionally with a leading 1.
        background: RGB in [0, 1] that transparent pixels are composited over.
        exposure: stops for scene-linear files (OpenEXR, Radiance HDR); None: log-average luminance at 18 % grey.

    Of animations and multi-page files the first picture is taken, of a PIL image the frame that it is at; the EXIF
    orientation is applied; files and PIL images with an ICC profile of another colour space become sRGB (`to_srgb`).
    Arrays and tensors are sRGB.

    Raises LotusError for what is missing, damaged, no image, or outside MIN_EDGE, MAX_ASPECT, MAX_PIXELS.
    """
    if exposure is not None and not (isinstance(exposure, Real) and -31 < float(exposure) < 31):
        raise LotusError(f"An exposure is None for automatic, or stops between -31 and 31, not {exposure!r}.")
    exposure = None if exposure is None else float(exposure)
    background = _checked_background(background)
    if isinstance(source, LoadedImage):
        if exposure is not None or background != NEUTRAL_GREY:
            raise LotusError("This image is loaded already: give background and exposure where it is loaded.")
        return source
    if isinstance(source, str | os.PathLike | Image.Image):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of bombs and broken EXIF; what matters is raised below
            return _load_pillow(source, background, exposure)
    if isinstance(source, np.ndarray):
        return _from_array(source, background)
    if hasattr(source, "detach"):  # a torch tensor, told without importing torch
        return _from_array(_channels_last(tensor_to_array(source)), background)
    raise LotusError(f"An image is a path, a PIL image, an array or a tensor, not {type(source).__name__}.")


def _checked_background(background: Sequence[float]) -> tuple[float, float, float]:
    try:
        red, green, blue = map(float, background)
    except (TypeError, ValueError):
        raise LotusError(f"A background is three numbers in [0, 1], red, green and blue, not {background!r}.") from None
    if not all(0 <= value <= 1 for value in (red, green, blue)):
        raise LotusError(f"A background is three numbers in [0, 1], not {background!r}: divide 8-bit colours by 255.")
    return red, green, blue


def check_size(height: int, width: int, what: str) -> None:
    """Raise LotusError for images too small, too long and thin, or too big to work on. `what` begins the sentence."""
    size = f"{width:,}×{height:,} pixels"
    if min(height, width) < MIN_EDGE:
        raise LotusError(f"{what} is {size}, but both edges must be at least {MIN_EDGE} pixels long.")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise LotusError(f"{what} is {size}, but one edge may be at most {MAX_ASPECT} times the other: crop it.")
    if height * width > MAX_PIXELS:
        raise LotusError(f"{what} is {size}, but at most {MAX_PIXELS:,} pixels are supported: scale it down.")


def _load_pillow(
    source: str | os.PathLike[str] | Image.Image, background: tuple[float, float, float], exposure: float | None
) -> LoadedImage:
    if isinstance(source, Image.Image):
        return _from_pil(source, "image", "The image", background)
    path = Path(source)
    if path.is_fifo():
        raise LotusError(f"{path} is a pipe, which cannot be read twice: save the image as a file first.")
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except FileNotFoundError:
        raise LotusError(f"There is no file {path}.") from None
    except IsADirectoryError:
        raise LotusError(f"{path} is a folder, not an image.") from None
    except OSError as error:
        raise LotusError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError:
        raise LotusError(f"{str(path)!r} is not a file name.") from None
    if not start:
        raise LotusError(f"{path} is an empty file: export or copy it again.")
    if plates.begins_plate(start):
        return _load_plate(path, background, exposure)
    Image.init()
    if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS:
        _register_heif(path)
    try:
        image = Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
    except Image.DecompressionBombError:
        raise LotusError(f"{path} has far more than {MAX_PIXELS:,} pixels: scale it down.") from None
    except (UnidentifiedImageError, OSError):
        message = f"{path} is not an image that can be read: use JPEG, PNG, WebP, TIFF, HEIC, OpenEXR or Radiance HDR."
        raise LotusError(message) from None
    except Exception:  # decoders raise anything on hostile files
        raise LotusError(f"{path} is damaged and cannot be read: export or copy it again.") from None
    with image:
        # A file opens at its first picture, HEIF at the primary one, which need not be the first.
        return _from_pil(image, path.stem, str(path), background)


def _load_plate(path: Path, background: tuple[float, float, float], exposure: float | None) -> LoadedImage:
    try:
        plate = plates.read_plate(path)
        check_size(plate.shape[0], plate.shape[1], str(path))
        stops = plates.automatic_exposure([plate]) if exposure is None else exposure
        image = _compose(plates.to_display(plate, stops), None, path.stem, str(path), background)
    except MemoryError:
        raise LotusError(f"{path} does not fit into memory: scale it down.") from None
    return replace(image, exposure=stops)


def _register_heif(path: Path) -> None:
    try:
        import pillow_heif
    except ImportError:
        raise LotusError(
            f"{path} is a HEIC image, which needs pillow-heif: pip install pillow-heif, or save it as JPEG."
        ) from None
    pillow_heif.register_heif_opener()


def _from_pil(image: Image.Image, name: str, what: str, background: tuple[float, float, float]) -> LoadedImage:
    check_size(image.height, image.width, what)
    try:
        image.load()
        focal = focal_35mm(image)
        # A copy, so that a host's own image stays as it is.
        image = _upright(image)
        colour = _pixels(image)
    except LotusError:
        raise
    except MemoryError:
        raise LotusError(f"{what} does not fit into memory: scale it down.") from None
    except Exception:  # decoders raise OSError, SyntaxError, ValueError, struct.error, zlib.error … on damaged data
        raise LotusError(f"{what} is damaged or cut off and cannot be read: export or copy it again.") from None
    return _compose(colour, focal, name, what, background)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # an EXIF block that cannot be parsed says nothing about the orientation
        return image


def _pixels(image: Image.Image) -> np.ndarray:
    """float32 H×W, H×W×3 or H×W×4 in [0, 1] of any PIL mode.

    Grey of 16 bits keeps them, and its values, whatever its profile (LittleCMS in Pillow knows 8 bits only). Of colours
    Pillow reads the upper 8 bits.
    """
    if image.mode.startswith("I"):  # 16-bit grey is I;16 in any byte order, or I where Pillow widened it
        values = np.asarray(image)
        if image.mode == "I" and image.format is None and values.max() <= 255:
            raise LotusError("A PIL image of mode I does not say what is white: convert it to L, I;16 or RGB.")
        return _scaled(values, 65535)
    if image.mode == "F":
        return _scaled(np.asarray(image), 1)
    if image.mode == "La":  # Pillow converts premultiplied grey to straight grey only
        image = image.convert("LA")
    transparent = image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info
    return _scaled(np.asarray(to_srgb(image, "RGBA" if transparent else "RGB")), 255)


def _scaled(array: np.ndarray, white: int) -> np.ndarray:
    """A new float32 array in which `white` has become 1; one allocation, for photos can be large."""
    scaled = array.astype(np.float32)
    scaled /= white
    return scaled


def _from_array(array: np.ndarray, background: tuple[float, float, float]) -> LoadedImage:
    what = "The image array"
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise LotusError(f"{what} has the shape {array.shape}, but H×W, H×W×3 or H×W×4 is needed.")
    check_size(array.shape[0], array.shape[1], what)
    if array.dtype.newbyteorder("=") not in (np.uint8, np.uint16) and array.dtype.kind not in "fb":
        raise LotusError(f"{what} holds {array.dtype}, but bool, uint8, uint16 or floats in [0, 1] are needed.")
    white = int(np.iinfo(array.dtype).max) if array.dtype.kind == "u" else 1
    return _compose(_scaled(array, white), None, "image", what, background)


def _channels_last(array: np.ndarray) -> np.ndarray:
    """Tensors come channels first by habit of torch and channels last by habit of ComfyUI."""
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (3, 4):
        array = np.moveaxis(array, 0, -1)
    return array


def _compose(
    colour: np.ndarray, focal: float | None, name: str, what: str, background: tuple[float, float, float]
) -> LoadedImage:
    """Split off the alpha channel and composite. `colour` is a float32 array that nobody else holds."""
    low, high = float(colour.min()), float(colour.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise LotusError(f"{what} holds NaN or infinite values: replace them first.")
    if low < -RANGE_SLACK or high > 1 + RANGE_SLACK:
        raise LotusError(f"{what} holds values from {low:.3g} to {high:.3g}, but [0, 1] is needed: scale them first.")
    if low < 0 or high > 1:
        np.clip(colour, 0, 1, out=colour)
    if colour.ndim == 2:
        colour = np.repeat(colour[..., None], 3, axis=2)
    alpha = colour[..., 3] if colour.shape[2] == 4 else None
    rgb = colour[..., :3]
    if alpha is not None and bool((alpha < 1).any()):
        weight = alpha[..., None]
        rgb = rgb * weight + np.asarray(background, dtype=np.float32) * (1 - weight)
    else:
        alpha = None
    return LoadedImage(np.ascontiguousarray(rgb), alpha, focal, name)
