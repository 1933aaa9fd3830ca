"""Photos whose files say how the camera was held: Blender shows the stored pixels, the network sees them upright."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from lotus_core.maps import Depth, Normals, Uncertainty

from .driving import files_in, settings
from .scenes import checks, part
from .test_predict import save_blend

MAKER, ORIENTATION, EXIF_IFD, FOCAL_35MM = 0x010F, 0x0112, 0x8769, 0xA405
SUFFIXES = (".jpg", ".png", ".webp", ".tif")


def picture(path: Path, pixels: np.ndarray, orientation: int = 0, focal: int = 0, **more: Any) -> Path:
    """A file with EXIF data; 0: without that entry."""
    image = Image.fromarray(pixels)
    exif = TiffImagePlugin.ImageFileDirectory_v2() if path.suffix == ".tif" else image.getexif()
    exif[MAKER] = "A camera"  # Pillow writes no EXIF data into a PNG that has only those of the inner directory
    if orientation:
        exif[ORIENTATION] = orientation
    if focal and path.suffix == ".tif":
        exif[EXIF_IFD] = {FOCAL_35MM: focal}
    elif focal:
        exif.get_ifd(EXIF_IFD)[FOCAL_35MM] = focal
    if path.suffix == ".webp":
        more["lossless"] = True
    more["tiffinfo" if path.suffix == ".tif" else "exif"] = exif
    image.save(path, **more)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("orientation", [0, 1, 3, 6])
def test_every_format_tells_its_orientation_and_focal_length(
    bpy: Any, tmp_path: Path, suffix: str, orientation: int
) -> None:
    path = picture(tmp_path / f"a{suffix}", checks(48, 80), orientation, focal=35)
    read = part("exif").read_exif
    assert read(path) == read(path.read_bytes()) == (max(orientation, 1), 35.0)


def test_what_may_be_turned_otherwise_is_not_known_to_be_upright(bpy: Any, tmp_path: Path) -> None:
    """Pillow, which the backends read with, turns by XMP as well."""
    read = part("exif").read_exif
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'
    for suffix in (".jpg", ".webp"):
        assert read(picture(tmp_path / f"a{suffix}", checks(8, 8), xmp=xmp % 6)).orientation == 0
        assert read(picture(tmp_path / f"a{suffix}", checks(8, 8), xmp=xmp % 1)).orientation == 1
    path = picture(tmp_path / "a.jpg", checks(8, 8), 6)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert read(path).orientation in {0, 6}  # never taken for upright
    assert read(tmp_path / "gone.jpg") == (0, 0.0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_maps_of_upright_photos_turn_back(bpy: Any, orientation: int) -> None:
    """The truth by Pillow: a depth that is a picture, and normals that are its slopes."""
    turning = part("turning")
    rng = np.random.default_rng(orientation)
    stored = rng.random((6, 9)).astype(np.float32)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(stored)
    image.info["exif"] = exif.tobytes()
    upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(turning.upright(stored, orientation), upright)
    mask = upright > 0.2
    depth = turning.as_stored(Depth(upright, "depth", mask), orientation)
    np.testing.assert_array_equal(depth.values, np.where(stored > 0.2, stored, 0))
    np.testing.assert_array_equal(depth.mask, stored > 0.2)
    spread = turning.as_stored(Uncertainty(upright, None, 3, "depth"), orientation)
    np.testing.assert_array_equal(spread.std, stored)
    assert (spread.samples, spread.unit) == (3, "depth")

    def slopes(heights: np.ndarray) -> Normals:
        down, right = np.gradient(heights.astype(np.float64))
        return Normals.from_vectors(np.stack([-right, down, np.ones_like(down)], axis=2), "opengl")

    assert turning.as_stored(slopes(upright), orientation).angle_to(slopes(stored)).max() < 1e-3


@pytest.mark.parametrize(("suffix", "orientation"), [(".jpg", 6), (".png", 3), (".webp", 8), (".tif", 6)])
def test_turned_photos_get_the_maps_of_upright_ones(bpy: Any, tmp_path: Path, suffix: str, orientation: int) -> None:
    """The same picture, once stored upright and once stored on its side: the same maps, on the side."""
    turning = part("turning")
    straight = checks(80, 48) if orientation in (6, 8) else checks(48, 80)
    settings(bpy, use_normal=True)
    bpy.ops.lotus.open_photo(filepath=str(picture(tmp_path / "upright.png", straight)))
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    upright = bpy.context.scene.lotus.image
    back = {3: 3, 6: 8, 8: 6}[orientation]
    turned = np.ascontiguousarray(turning.upright(straight, back))
    quality = {"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}
    path = picture(tmp_path / f"turned{suffix}", turned, orientation, **quality)
    bpy.ops.lotus.open_photo(filepath=str(path))
    photo = bpy.context.scene.lotus.image
    assert tuple(photo.size) == (80, 48)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    images = part("images")
    allowed = 0.1 if suffix == ".jpg" else 1e-4
    expected = turning.as_stored(images.depth_of(upright), orientation).values
    assert np.abs(images.depth_of(photo).values - expected).max() < allowed
    normals = turning.as_stored(images.normals_of(upright), orientation)
    assert np.median(images.normals_of(photo).angle_to(normals)) < (3 if suffix == ".jpg" else 0.01)


def test_frames_of_a_sequence_are_turned_one_by_one(bpy: Any, tmp_path: Path) -> None:
    blend = save_blend(bpy, tmp_path / "b")
    for number, orientation in ((1, 0), (2, 6)):
        picture(tmp_path / f"shot {number}.png", checks(48, 80), orientation)
    bpy.ops.lotus.open_photo(filepath=str(tmp_path / "shot 1.png"), sequence=True)
    settings(bpy)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    assert len(files_in(blend.parent / "lotus_maps")) == 2
    for path in (blend.parent / "lotus_maps").iterdir():
        assert Depth.load(path, "disparity").values.shape == (48, 80)


def test_a_file_replaced_by_one_of_another_size_is_told(bpy: Any, tmp_path: Path) -> None:
    path = picture(tmp_path / "cup.png", checks(48, 80))
    bpy.ops.lotus.open_photo(filepath=str(path))
    photo = bpy.context.scene.lotus.image
    assert tuple(photo.size) == (80, 48)
    picture(path, checks(40, 40))
    settings(bpy)
    with pytest.raises(RuntimeError, match=r"cup\.png is 40×40 pixels now and was 80×48 .*: reload it"):
        bpy.ops.lotus.predict()
    assert photo.lotus.depth is None
    photo.reload()
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    assert tuple(photo.lotus.depth.size) == (40, 40)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_packing_a_photo_keeps_its_focal_length(bpy: Any, tmp_path: Path, suffix: str) -> None:
    bpy.ops.lotus.open_photo(filepath=str(picture(tmp_path / f"a{suffix}", checks(48, 80), focal=35)))
    photo = bpy.context.scene.lotus.image
    assert photo.lotus.focal_35mm == 35
    photo.pack()
    assert part("pictures").focal_35mm_of(photo) == 35
    settings(bpy)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    assert photo.lotus.focal_35mm == 35


def test_a_known_focal_length_is_not_forgotten(bpy: Any, tmp_path: Path) -> None:
    bpy.ops.lotus.open_photo(filepath=str(picture(tmp_path / "a.png", checks(48, 80))))
    photo = bpy.context.scene.lotus.image
    photo.lotus.focal_35mm = 50  # a script's
    settings(bpy)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    assert photo.lotus.focal_35mm == 50
