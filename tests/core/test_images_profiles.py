"""Photos in other colour spaces than sRGB look as they did to who took them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from lotus_core.images import load_image

from .icc_profiles import (
    ADOBE_RGB,
    DISPLAY_P3,
    PROPHOTO,
    SRGB,
    grey_profile,
    ink_profile,
    lab_to_srgb,
    rgb_profile,
    to_srgb,
)

# Skin, foliage, sky, greys, and one that lies outside sRGB in all three.
COLOURS = np.array(
    [(200, 150, 130), (90, 120, 60), (110, 150, 200), (20, 20, 20), (128, 128, 128), (250, 250, 250), (40, 230, 40)]
)
WITHIN = 2 / 255
SPACES = {"P3": (DISPLAY_P3, None), "Adobe RGB": (ADOBE_RGB, 2.19921875), "ProPhoto": (PROPHOTO, 1.8)}


def patches(colours: np.ndarray) -> np.ndarray:
    """A column of 16×16 pixels of each, so that JPEG keeps them."""
    return np.repeat(np.repeat(colours.astype(np.uint8)[None], 16, axis=0), 16, axis=1)


def middles(rgb: np.ndarray) -> np.ndarray:
    """The colour in the middle of each column."""
    return rgb[8, 8::16]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_photos_in_wide_colour_spaces_become_srgb(tmp_path: Path, space: str, name: str) -> None:
    primaries, gamma = SPACES[space]
    options = {"quality": 100, "subsampling": 0} if name == "a.jpg" else {"lossless": True} if name == "a.webp" else {}
    image = Image.fromarray(patches(COLOURS))
    image.save(tmp_path / name, icc_profile=rgb_profile(primaries, gamma), **options)
    with Image.open(tmp_path / name) as file:
        stored = np.asarray(file.convert("RGB"))[8, 8::16]
    expected = to_srgb(stored, primaries, gamma) / 255
    assert np.abs(expected - stored / 255).max() > 20 / 255, "a picture that is taken as sRGB is wrong"
    np.testing.assert_allclose(middles(load_image(tmp_path / name).rgb), expected, atol=WITHIN)


def test_transparency_stays_as_it_is_beside_converted_colours(tmp_path: Path) -> None:
    pixels = patches(COLOURS)
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    alpha[:, :16] = 100
    profile = rgb_profile(DISPLAY_P3, None)
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "a.png", icc_profile=profile)
    loaded = load_image(tmp_path / "a.png", background=(0, 0, 0))
    assert loaded.alpha is not None
    np.testing.assert_allclose(loaded.alpha, alpha / 255, atol=1e-6)
    expected = to_srgb(COLOURS, DISPLAY_P3, None) / 255
    expected[0] *= 100 / 255
    np.testing.assert_allclose(middles(loaded.rgb), expected, atol=WITHIN)
    palette = Image.fromarray(pixels).quantize(16, dither=Image.Dither.NONE)
    palette.save(tmp_path / "p.png", icc_profile=profile)
    stored = np.asarray(palette.convert("RGB"))[8, 8::16]
    found = middles(load_image(tmp_path / "p.png").rgb)
    np.testing.assert_allclose(found, to_srgb(stored, DISPLAY_P3, None) / 255, atol=WITHIN)


def test_pictures_in_srgb_keep_every_bit(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    builtin = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (None, builtin, rgb_profile(SRGB, None)):
        for image in (Image.fromarray(pixels), Image.fromarray(pixels[..., 0])):
            image.save(tmp_path / "a.png", icc_profile=profile)
            expected = np.asarray(image.convert("RGB")).astype(np.float32) / np.float32(255)
            np.testing.assert_array_equal(load_image(tmp_path / "a.png").rgb, expected)


def test_a_profile_that_says_nothing_about_the_picture_is_ignored(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = rgb_profile(ADOBE_RGB, 2.2)
    for profile in (b"junk", whole[:100], whole[:200], whole[:128] + bytes(len(whole) - 128), grey_profile(1.0)):
        Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile)
        np.testing.assert_allclose(load_image(tmp_path / "a.png").rgb, pixels / 255, atol=1e-6)


def test_grey_pictures_have_profiles_too(tmp_path: Path) -> None:
    grey = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    Image.fromarray(grey).save(tmp_path / "a.png", icc_profile=grey_profile(1.8))  # the Macintosh's until 2009
    expected = to_srgb(np.repeat(grey[..., None], 3, axis=2), SRGB, 1.8) / 255
    assert np.abs(expected[..., 0] - grey / 255).max() > 10 / 255
    np.testing.assert_allclose(load_image(tmp_path / "a.png").rgb, expected, atol=WITHIN)
    sixteen = grey.astype(np.uint16) * 200
    Image.fromarray(sixteen).save(tmp_path / "b.png", icc_profile=grey_profile(1.8))
    np.testing.assert_allclose(load_image(tmp_path / "b.png").rgb[..., 0], sixteen / 65535, atol=1e-6)


def test_printers_colours_are_those_of_their_profile(tmp_path: Path) -> None:
    lab = np.full((2, 2, 2, 2, 3), (0, 128, 128))  # by cyan, magenta, yellow, black; all dark but for:
    lab[0, 0, 0, 0], lab[1, 0, 0, 0], lab[0, 1, 0, 0], lab[0, 0, 1, 0] = (
        (255, 128, 128),
        (160, 108, 98),
        (150, 168, 128),
        (220, 128, 188),
    )
    inks = np.array([(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)])
    image = Image.fromarray(patches(inks), "CMYK")
    image.save(tmp_path / "a.tif", icc_profile=ink_profile(lab.reshape(16, 3)))
    corners = lab[tuple((inks // 255).T)]
    expected = lab_to_srgb(corners * [100 / 255, 1, 1] - [0, 128, 128]) / 255
    np.testing.assert_allclose(middles(load_image(tmp_path / "a.tif").rgb), expected, atol=WITHIN)
