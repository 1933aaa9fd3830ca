"""Whatever people have on disk becomes one kind of array, or one sentence."""

from __future__ import annotations

import contextlib
import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import lotus_core as lotus
from lotus_core.images import MAX_PIXELS, LoadedImage, load_image

RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def refusal(source: Any) -> str:
    with pytest.raises(lotus.LotusError) as caught:
        load_image(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def saved(folder: Path, name: str, image: Image.Image, **options: Any) -> LoadedImage:
    image.save(folder / name, **options)
    return load_image(folder / name)


def assert_close(image: LoadedImage, expected: np.ndarray, tolerance: float = 1e-6) -> None:
    assert image.rgb.dtype == np.float32
    assert image.rgb.shape == expected.shape
    np.testing.assert_allclose(image.rgb, expected, atol=tolerance)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.webp", "a.tga", "a.ppm"])
def test_lossless_files_keep_every_pixel(tmp_path: Path, name: str) -> None:
    image = saved(tmp_path, name, Image.fromarray(PIXELS), **({"lossless": True} if name == "a.webp" else {}))
    assert_close(image, PIXELS / 255)
    assert (image.name, image.alpha, image.valid, image.focal_35mm) == ("a", None, None, None)


def test_path_pil_numpy_and_torch_give_the_same(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    floats = PIXELS.astype(np.float32) / 255
    tensor = torch.from_numpy(floats)
    for source in (
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        Image.fromarray(PIXELS),
        PIXELS,
        PIXELS.astype(np.uint16) * 257,
        floats,
        floats.astype(np.float64),
        tensor,
        tensor.permute(2, 0, 1),
        tensor.permute(2, 0, 1)[None],
        torch.from_numpy(PIXELS).permute(2, 0, 1),
        tensor.clone().requires_grad_(),
    ):
        assert_close(load_image(source), PIXELS / 255)
    assert_close(load_image(tensor.bfloat16()), PIXELS / 255, tolerance=1 / 256)


def test_the_callers_array_and_image_are_left_as_they_are() -> None:
    floats = PIXELS.astype(np.float32) / 255
    before = floats.copy()
    load_image(floats).rgb[:] = 0
    np.testing.assert_array_equal(floats, before)
    image = Image.fromarray(PIXELS)
    load_image(image).rgb[:] = 0
    np.testing.assert_array_equal(np.asarray(image), PIXELS)


def test_grey_in_eight_sixteen_and_thirty_two_bits(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 600).reshape(20, 30)
    three = np.repeat(ramp[..., None], 3, axis=2)
    sixteen = (ramp * 65535).round().astype(np.uint16)
    assert_close(saved(tmp_path, "a.png", Image.fromarray(sixteen)), three, 1 / 65535)
    assert_close(saved(tmp_path, "a.tif", Image.fromarray(sixteen)), three, 1 / 65535)
    assert_close(saved(tmp_path, "f.tif", Image.fromarray(ramp.astype(np.float32))), three, 1e-6)
    assert_close(saved(tmp_path, "b.png", Image.fromarray((ramp * 255).round().astype(np.uint8))), three, 1 / 255)
    assert_close(saved(tmp_path, "c.png", Image.fromarray(ramp > 0.5)), (three > 0.5).astype(float))
    assert_close(load_image(ramp[..., None]), three, 1e-6)


def test_cmyk_and_palette_files_keep_their_colours(tmp_path: Path) -> None:
    smooth = np.dstack([*np.meshgrid(np.linspace(0, 255, 64), np.linspace(0, 255, 48)), np.full((48, 64), 99.0)])
    picture = Image.fromarray(smooth.astype(np.uint8))
    cmyk = saved(tmp_path, "cmyk.jpg", picture.convert("CMYK"), quality=95)
    assert np.abs(cmyk.rgb - smooth / 255).mean() < 0.01
    palette = saved(tmp_path, "p.png", picture.quantize(256))
    assert np.abs(palette.rgb - smooth / 255).mean() < 0.05


def test_transparency_is_composited_and_kept_as_a_mask(tmp_path: Path) -> None:
    alpha = np.zeros((20, 30), np.uint8)
    alpha[:, 10:20], alpha[:, 20:] = 128, 255
    image = saved(tmp_path, "a.png", Image.fromarray(np.dstack([PIXELS, alpha])))
    weight = alpha[..., None] / 255
    assert_close(image, PIXELS / 255 * weight + 0.5 * (1 - weight))
    assert image.alpha is not None
    np.testing.assert_allclose(image.alpha, alpha / 255, atol=1e-6)
    np.testing.assert_array_equal(image.valid, alpha >= 128)
    white = load_image(tmp_path / "a.png", background=(1, 1, 1))
    assert (white.rgb[:, :10] == 1).all()


def test_opaque_alpha_is_no_mask_and_palette_transparency_is_one(tmp_path: Path) -> None:
    opaque = np.full((20, 30, 1), 255, np.uint8)
    assert load_image(np.dstack([PIXELS, opaque])).alpha is None
    two = Image.fromarray((PIXELS[..., 0] > 127).astype(np.uint8), "P")
    two.putpalette([255, 0, 0, 0, 0, 255])
    image = saved(tmp_path, "p.png", two, transparency=0)
    np.testing.assert_array_equal(image.valid, PIXELS[..., 0] > 127)
    assert (image.rgb[~image.valid] == 0.5).all()
    grey = saved(tmp_path, "la.png", Image.fromarray(PIXELS[..., 0]).convert("LA"))
    assert_close(grey, np.repeat(PIXELS[..., :1], 3, axis=2) / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_upright_in_all_eight_exif_orientations(tmp_path: Path, orientation: int) -> None:
    # What a camera stores so that the viewer, undoing the orientation, sees `PIXELS` (EXIF 2.3, tag 0x0112).
    store = {
        1: PIXELS,
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS.transpose(1, 0, 2),
        6: np.rot90(PIXELS),
        7: PIXELS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PIXELS, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_close(saved(tmp_path, "a.png", Image.fromarray(np.ascontiguousarray(store)), exif=exif), PIXELS / 255)


def test_of_an_animation_the_first_picture_is_taken(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((20, 30, 3), grey, np.uint8)) for grey in (255, 0, 128)]
    for name in ("a.gif", "a.webp", "a.tif"):
        image = saved(tmp_path, name, frames[0], save_all=True, append_images=frames[1:])
        assert image.rgb.min() > 0.99


def test_a_48_megapixel_photo_loads(tmp_path: Path) -> None:
    Image.new("L", (8000, 6000), 128).save(tmp_path / "large.png")
    assert load_image(tmp_path / "large.png").rgb.shape == (6000, 8000, 3)


def test_what_is_no_image_is_refused_with_its_reason(tmp_path: Path) -> None:
    def made(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    assert refusal(tmp_path / "missing.jpg") == f"There is no file {tmp_path / 'missing.jpg'}."
    assert "is a folder" in refusal(tmp_path)
    assert "is an empty file" in refusal(made("empty.jpg", b""))
    assert "not an image that can be read" in refusal(made("text.png", b"These are words.\n" * 50))
    assert "not an image that can be read" in refusal(made("p.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)))
    assert "not a readable EXR file" in refusal(made("render.exr", b"\x76\x2f\x31\x01" + bytes(99)))
    assert "not an image that can be read" in refusal(made("vector.eps", b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n"))
    assert "not a file name" in refusal("nul\0byte.png")
    assert "not int" in refusal(7)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.gif", "a.bmp"])
def test_truncated_files_are_refused(tmp_path: Path, name: str) -> None:
    picture = Image.fromarray(RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8))
    path = tmp_path / name
    picture.save(path)
    whole = path.read_bytes()
    for part in (0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * part)])
        assert str(path) in refusal(path)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(["jpeg", "png", "webp", "tiff", "gif", "bmp"]), data=st.data())
def test_damaged_files_give_an_image_or_a_sentence(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, name)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / f"a.{name}"
    path.write_bytes(content)
    with contextlib.suppress(lotus.LotusError):
        rgb = load_image(path).rgb
        assert rgb.ndim == 3
        assert rgb.shape[2] == 3
        assert 0 <= rgb.min() <= rgb.max() <= 1


def test_sizes_out_of_bounds_are_refused_before_their_pixels_are_read(tmp_path: Path) -> None:
    for size, complaint in (
        ((1, 1), "at least 16 pixels"),
        ((20_000, 10), "at least 16 pixels"),
        ((20_000, 20), "at most 20 times the other"),
        ((12_000, 8_000), f"at most {MAX_PIXELS:,} pixels"),
    ):
        path = tmp_path / f"{size[0]}.png"
        Image.new("1", size).save(path)
        assert complaint in refusal(path)
    # A few bytes that claim 60,000 × 60,000 pixels.
    bomb = bytearray((tmp_path / "1.png").read_bytes())
    bomb[16:24] = (60_000).to_bytes(4) * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4)
    (tmp_path / "bomb.png").write_bytes(bomb)
    assert f"{MAX_PIXELS:,}" in refusal(tmp_path / "bomb.png")
    assert load_image(np.zeros((16, 320, 3), np.uint8)).rgb.shape == (16, 320, 3)


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros((20, 20, 3), np.int64), "holds int64"),
        (np.full((20, 20, 3), 255.0), "values from 255 to 255"),
        (np.full((20, 20, 3), np.nan), "NaN"),
        (np.zeros((20, 20, 2)), "the shape (20, 20, 2)"),
        (np.zeros(20), "the shape (20,)"),
        (np.zeros((0, 5, 3)), "at least 16"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array: np.ndarray, complaint: str) -> None:
    assert complaint in refusal(array)
