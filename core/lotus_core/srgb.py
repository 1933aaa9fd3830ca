"""Pictures that are not stored in sRGB, but in what their ICC profile says, become sRGB."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # colour space of a profile (ICC.1, 7.2.6): Pillow's mode of it
_GREY_MODES = ("1", "L", "LA")
_SAME = 2  # 8-bit steps; the many profiles named sRGB differ by less, other spaces by tens
_LATTICE = 9  # colours along each edge of the cube in which profiles are compared


def to_srgb(image: Image.Image, mode: str) -> Image.Image:
    """A copy of an 8-bit picture in `mode`, "RGB" or "RGBA", its colours in sRGB.

    By its profile, if it has one: relative colorimetric with black point compensation, what sRGB cannot hold is
    clipped. Left as they are: pictures without a profile, with one of sRGB (bit for bit), with a broken one, and with
    one of another kind of picture.
    """
    plain = image.convert(mode)
    profile = image.info.get("icc_profile")
    if not profile:
        return plain
    try:
        space, transform = _transform(profile)
    except Exception:  # profiles are as free-form as EXIF; one that cannot be read says nothing
        return plain
    stored = "CMYK" if image.mode == "CMYK" else "L" if image.mode in _GREY_MODES and space == "L" else "RGB"
    if stored != space or (space != "CMYK" and _is_identity(transform, space)):
        return plain
    colours = transform.apply(plain.convert("RGB") if space == "RGB" else image.convert(space))
    if mode == "RGBA":
        colours.putalpha(plain.getchannel("A"))
    return colours


def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform]:
    """Pillow's mode of the profile's colours, and what turns them into sRGB. Raises all kinds of errors."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = _SPACES[source.profile.xcolor_space.strip()]
    return space, ImageCms.ImageCmsTransform(
        source,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
        space,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _is_identity(transform: ImageCms.ImageCmsTransform, space: str) -> bool:
    """Whether it leaves colours as they are, but for rounding: no name in a profile says so reliably."""
    if space == "L":
        colours = np.arange(256, dtype=np.uint8)[None]
    else:
        edge = np.linspace(0, 255, _LATTICE).round().astype(np.uint8)
        colours = np.stack(np.meshgrid(edge, edge, edge), axis=-1).reshape(1, -1, 3)
    after = np.asarray(transform.apply(Image.fromarray(colours))).astype(int)
    before = colours[..., None] if space == "L" else colours
    return bool(np.abs(after - before).max() <= _SAME)
