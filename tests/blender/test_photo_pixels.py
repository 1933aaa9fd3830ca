"""What the network sees of a photo is what its file shows, however Blender keeps the pixels."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lotus_core.maps.exr import write_exr
from lotus_core.maps.png import write_png

from .scenes import checks, part


def seen(bpy: Any, path: Path, space: str = "", alpha_mode: str = "") -> np.ndarray:
    """The pixels that the network gets of a file, int H×W×C."""
    image = bpy.data.images.load(str(path), check_existing=False)
    image.colorspace_settings.name = space or image.colorspace_settings.name
    image.alpha_mode = alpha_mode or image.alpha_mode
    pixels: np.ndarray = part("images").photo_pixels(image)
    assert pixels.dtype == np.uint8
    return pixels.astype(int)


def linear(srgb: np.ndarray) -> np.ndarray:
    """The values of an EXR file that shows uint8 sRGB pixels (IEC 61966-2-1)."""
    code = srgb / 255
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)


def write_tiff(path: Path, codes: np.ndarray) -> None:
    """An uncompressed RGB TIFF of uint16 H×W×3, which Pillow cannot write."""
    height, width, _ = codes.shape
    data = codes.astype("<u2").tobytes()
    entries = (
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 14),
        (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(data)),
    )  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<I3H", 14 + len(data), 16, 16, 16)
    path.write_bytes(head + data + directory + bytes(4))


@pytest.mark.parametrize("suffix", [".png", ".exr"])
def test_frames_are_seen_as_stills_are(bpy: Any, tmp_path: Path, suffix: str) -> None:
    """Linear light goes to the network as Blender shows it, not as a file that a server reads in its own way."""
    pixels = checks(40, 60)
    for number in (1, 2):
        path = tmp_path / f"f{number}{suffix}"
        if suffix == ".exr":
            write_exr(path, {name: linear(pixels[..., i]) for i, name in enumerate("RGB")}, {})
        else:
            Image.fromarray(pixels).save(path)
    bpy.ops.lotus.open_photo(filepath=str(tmp_path / f"f1{suffix}"), sequence=True)
    picture = part("pictures").picture_of_frame(bpy.context.scene.lotus.image, path, tmp_path / "pixels.npy")
    assert picture.file.suffix == (".npy" if suffix == ".exr" else ".png")
    shown = np.load(picture.file) if suffix == ".exr" else np.asarray(Image.open(picture.file))
    assert np.abs(shown[..., :3].astype(int) - pixels).max() <= 1


@pytest.mark.parametrize("kind", ["8-bit PNG", "16-bit PNG", "16-bit TIFF", "EXR", "data"])
def test_the_same_photo_is_the_same_picture_in_every_format(bpy: Any, tmp_path: Path, kind: str) -> None:
    pixels, space = checks(40, 60), ""
    path = tmp_path / "photo.png"
    if kind == "8-bit PNG":
        Image.fromarray(pixels).save(path)
    elif kind == "16-bit TIFF":
        path = path.with_suffix(".tif")
        write_tiff(path, pixels.astype(np.uint16) * 257)
    elif kind == "EXR":
        path = path.with_suffix(".exr")
        write_exr(path, {name: linear(pixels[..., i]) for i, name in enumerate("RGB")}, {})
    else:
        write_png(path, pixels.astype(np.uint16) * 257)
        space = "Non-Color" if kind == "data" else ""
    found = seen(bpy, path, space)
    assert found.shape == pixels.shape
    assert np.abs(found - pixels).max() <= 1


@pytest.mark.parametrize("alpha_mode", ["STRAIGHT", "CHANNEL_PACKED"])
def test_transparent_photos_of_16_bits_keep_their_colours(bpy: Any, tmp_path: Path, alpha_mode: str) -> None:
    rgba = np.dstack([checks(40, 60), np.full((40, 60), 128, np.uint8)])
    rgba[:8, :, 3] = 0
    write_png(tmp_path / "sixteen.png", rgba.astype(np.uint16) * 257)
    Image.fromarray(rgba).save(tmp_path / "eight.png")
    sixteen = seen(bpy, tmp_path / "sixteen.png", alpha_mode=alpha_mode)
    eight = seen(bpy, tmp_path / "eight.png", alpha_mode=alpha_mode)
    assert np.abs(sixteen - eight)[8:].max() <= 1
    np.testing.assert_array_equal(sixteen[..., 3], eight[..., 3])


def test_rendered_pixels_are_encoded(bpy: Any) -> None:
    """A new float image is linear: a middle grey of 0.2140 is the code 127.5 of 255."""
    image = bpy.data.images.new("render", 4, 2, float_buffer=True)
    image.pixels.foreach_set(np.tile(np.float32([0.2140, 1.5, 0.0, 1.0]), 8))
    found = part("images").photo_pixels(image)
    assert found.shape == (2, 4, 3)
    assert np.abs(found[0, 0].astype(int) - [128, 255, 0]).max() <= 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("space", ["", "Non-Color"])
def test_light_without_bounds_is_white_and_not_black(bpy: Any, tmp_path: Path, space: str) -> None:
    """Renders and merged exposures hold infinities where the sun is, and NaN where a division failed."""
    inf, nan = np.inf, np.nan
    colours = np.float32([[inf, inf, inf], [inf, 0.2, 0.2], [1e38, 0.2, -inf], [0.2, nan, 0.2]])
    write_exr(tmp_path / "sun.exr", {name: colours[None, :, i] for i, name in enumerate("RGB")}, {})
    dim = 51 if space else 124  # 0.2 as it is, and as sRGB
    expected = [[255, 255, 255], [255, dim, dim], [255, dim, 0], [dim, 0, dim]]
    assert np.abs(seen(bpy, tmp_path / "sun.exr", space)[0] - expected).max() <= 1


def test_the_working_space_of_the_blend_changes_nothing(bpy: Any, tmp_path: Path) -> None:
    if bpy.app.version < (5, 0, 0):
        pytest.skip("the working space can be chosen from 5.0 on")
    pixels = checks(40, 60)
    write_png(tmp_path / "photo.png", pixels.astype(np.uint16) * 257)
    bpy.ops.wm.set_working_color_space(working_space="Linear Rec.2020")
    assert np.abs(seen(bpy, tmp_path / "photo.png") - pixels).max() <= 1
