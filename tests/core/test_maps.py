"""Maps: conventions on a known sphere and plane, files, colours."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from lotus_core.errors import LotusError
from lotus_core.maps import Depth, Normals, Uncertainty
from lotus_core.maps.colormap import NAMES, colorize
from lotus_core.maps.exr import write_exr

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
UNIT_FLOAT = st.floats(0, 1, width=32)
SPACES = ["disparity", "depth"]


def sphere_normals(size: int = 65) -> Normals:
    """A ball from the front, in the model's axes: x to the left of the picture, y up, z toward the camera."""
    y, x = np.mgrid[0:size, 0:size] * (2 / (size - 1)) - 1
    inside = x**2 + y**2 < 0.98
    z = np.sqrt(np.maximum(0, 1 - x**2 - y**2))
    return Normals.from_vectors(np.where(inside[..., None], np.dstack([-x, -y, z]), 0), "lotus")


def test_conventions_on_a_ball() -> None:
    ball, middle = sphere_normals(), 32
    right, top = (middle, 60), (4, middle)
    assert ball.values[right][0] < -0.8
    assert ball.values[top][1] > 0.8
    opengl, directx, opencv = ball.to("opengl"), ball.to("directx"), ball.to("opencv")
    assert opengl.values[right][0] > 0.8
    assert opengl.values[top][1] > 0.8
    assert directx.values[right][0] > 0.8
    assert directx.values[top][1] < -0.8
    assert np.array_equal(opencv.values, -ball.values)
    for convention in ("lotus", "opengl", "directx", "opencv"):
        facing = ball.to(convention).values[middle, middle]  # type: ignore[arg-type]
        assert np.allclose(facing, [0, 0, -1 if convention == "opencv" else 1])
        assert np.array_equal(ball.to(convention).to("lotus").values, ball.values)  # type: ignore[arg-type]
        assert ball.angle_to(ball.to(convention))[ball.valid].max() == 0  # type: ignore[arg-type]
    with pytest.raises(LotusError, match="no normal convention 'vulkan'"):
        ball.to("vulkan")  # type: ignore[arg-type]


def test_angle_is_exact_for_tiny_and_large_angles() -> None:
    for degrees in (1e-4, 0.1, 90.0, 179.9):
        a = np.zeros((1, 1, 3), np.float32)
        a[..., 2] = 1
        b = np.array([[[np.sin(np.radians(degrees)), 0, np.cos(np.radians(degrees))]]], np.float32)
        assert Normals(a).angle_to(Normals(b))[0, 0] == pytest.approx(degrees, rel=1e-3)


def test_disparity_and_depth_give_the_same_z() -> None:
    z = np.linspace(1, 10, 30, dtype=np.float32).reshape(5, 6)
    depth = Depth(np.clip((z - 1) / 9, 0, 1), "depth")
    disparity = Depth(np.clip((1 / z - 0.1) / 0.9, 0, 1), "disparity")
    assert np.allclose(depth.to_z(), z, rtol=1e-5)
    assert np.allclose(disparity.to_z(), z, rtol=1e-5)
    assert np.allclose(depth.to_space("disparity").values, disparity.values, atol=1e-6)
    assert disparity.near_white()[0, 0] == 1
    assert depth.near_white()[0, 0] == 1
    with pytest.raises(LotusError, match="near < far"):
        depth.to_z(5, 5)


@pytest.mark.parametrize("bad", [np.zeros((2, 2, 2)), np.zeros((0, 4)), np.full((2, 2), np.nan), np.full((2, 2), 1.5)])
def test_bad_depth_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(LotusError):
        Depth(bad, "depth")


def test_nan_under_the_mask_is_fine_and_becomes_zero() -> None:
    values = np.array([[np.nan, 0.5]], np.float32)
    assert Depth(values, "depth", np.array([[False, True]])).values.tolist() == [[0.0, 0.5]]


@settings(deadline=None, max_examples=25)
@given(values=hnp.arrays(np.float32, SHAPES, elements=UNIT_FLOAT), space=st.sampled_from(SPACES), data=st.data())
def test_depth_files_round_trip(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, space: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("depth")
    valid = data.draw(st.none() | hnp.arrays(bool, values.shape))
    depth = Depth(values, space, valid)  # type: ignore[arg-type]
    for suffix, error in ((".png", 0.5001 / 65535), (".exr", 0), (".npy", 0)):
        depth.save(folder / f"a{suffix}")
        again = Depth.load(folder / f"a{suffix}")
        assert np.abs(again.values - depth.values).max() <= error
        assert again.space == space
        assert np.array_equal(again.mask, depth.mask)


@settings(deadline=None, max_examples=25)
@given(
    vectors=hnp.arrays(np.float32, SHAPES.map(lambda shape: (*shape, 3)), elements=st.floats(-1, 1, width=32)),
    convention=st.sampled_from(["lotus", "opengl", "directx", "opencv"]),
)
def test_normal_files_round_trip(
    tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray, convention: str
) -> None:
    folder = tmp_path_factory.mktemp("normal")
    normals = Normals.from_vectors(vectors, convention)  # type: ignore[arg-type]
    for suffix, degrees in ((".png", 0.002), (".exr", 0), (".npy", 0)):
        normals.save(folder / f"a{suffix}")
        again = Normals.load(folder / f"a{suffix}")
        assert again.convention == convention
        assert np.array_equal(again.valid, normals.valid)
        angle = again.angle_to(normals)[normals.valid]
        assert angle.size == 0 or angle.max() <= degrees


@pytest.mark.parametrize(("unit", "full"), [("depth", 1.0), ("degrees", 180.0)])
def test_uncertainty_files_round_trip(tmp_path: Path, unit: str, full: float) -> None:
    std = np.random.default_rng(0).uniform(0, full / 2, (7, 5)).astype(np.float32)
    mean = Depth(np.zeros((7, 5)), "depth") if unit == "depth" else Normals(np.full((7, 5, 3), (0, 0, 1)))
    uncertainty = Uncertainty(std, mean, 10, unit)  # type: ignore[arg-type]
    for suffix, error in ((".png", full * 0.5001 / 65535), (".exr", 0), (".npy", 0)):
        uncertainty.save(tmp_path / f"u{suffix}")
        again = Uncertainty.load(tmp_path / f"u{suffix}")
        assert np.abs(again.std - std).max() <= error
        assert (again.unit, again.samples) == (unit, 10)
    assert np.array_equal(uncertainty.mask(full / 4), std <= full / 4)


def test_a_file_that_does_not_say_its_convention_needs_an_argument(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "foreign.png")
    with pytest.raises(LotusError, match="does not say whether 1 is near or far"):
        Depth.load(tmp_path / "foreign.png")
    assert Depth.load(tmp_path / "foreign.png", "depth").values[0, 0] == pytest.approx(40000 / 65535)
    np.save(tmp_path / "n.npy", np.ones((2, 2, 3), np.float32))
    with pytest.raises(LotusError, match="does not say how its normals point"):
        Normals.load(tmp_path / "n.npy")
    assert Normals.load(tmp_path / "n.npy", "opengl").values[0, 0, 0] == pytest.approx(3**-0.5)


@pytest.mark.parametrize("suffix", [".exr", ".npy"])
@pytest.mark.parametrize("what", ["any way", "into the positive octant", "mostly holes"])
def test_float_normals_without_words_are_vectors_or_a_texture(tmp_path: Path, suffix: str, what: str) -> None:
    """Blender, Substance and others bake 0.5 n + 0.5 into float files too; renderers' passes hold the vectors."""
    vectors = np.random.default_rng(0).normal(size=(20, 30, 3)) + np.array([0, 0, 1])
    if what == "into the positive octant":
        vectors = np.abs(vectors)
    normals = Normals.from_vectors(vectors, "opengl")
    known = np.ones((20, 30), bool)
    if what == "mostly holes":
        known[5:] = False
    for name, stored in (("vectors", normals.values), ("texture", 0.5 * normals.values + 0.5)):
        path = tmp_path / f"{name}{suffix}"
        stored = np.where(known[..., None], stored, 0).astype(np.float32)
        if suffix == ".npy":
            np.save(path, stored)
        else:
            write_exr(path, dict(zip("RGB", np.moveaxis(stored, 2, 0), strict=True)), {})
        found = Normals.load(path, "opengl")
        assert found.angle_to(normals)[known].max() < 0.001, name


def test_a_map_that_a_compositor_cropped_keeps_its_size_and_place(tmp_path: Path) -> None:
    whole, cropped = tmp_path / "whole.exr", tmp_path / "cropped.exr"
    values = np.random.default_rng(0).random((24, 40), np.float32) * 0.9 + 0.1
    valid = np.ones((24, 40), bool)
    valid[6, 9] = False
    Depth(values, "disparity", valid).save(whole)
    inside = np.zeros((24, 40), bool)
    inside[5:12, 8:30] = True
    with OpenEXR.File(str(whole), separate_channels=True) as file:
        pixels = file.channels()["Y"].pixels[5:12, 8:30]
        header = file.header() | {"dataWindow": ((8, 5), (29, 11))}
    with OpenEXR.File(header, {"Y": np.ascontiguousarray(pixels)}) as file:
        file.write(str(cropped))
    depth = Depth.load(cropped)
    assert depth.space == "disparity"
    np.testing.assert_array_equal(depth.valid, inside & valid)
    np.testing.assert_array_equal(depth.values, np.where(inside & valid, values, 0))


def test_mixed_up_files_are_named(tmp_path: Path) -> None:
    ball = sphere_normals(9)
    ball.save(tmp_path / "n.png")
    with pytest.raises(LotusError, match="is a normal map, not a depth map"):
        Depth.load(tmp_path / "n.png")
    with pytest.raises(LotusError, match="holds lotus normals, not opengl"):
        Normals.load(tmp_path / "n.png", "opengl")
    ball.save_preview(tmp_path / "preview.png")
    with pytest.raises(LotusError, match="colour picture"):
        Depth.load(tmp_path / "preview.png", "depth")


@pytest.mark.parametrize("suffix", [".png", ".exr", ".npy"])
@pytest.mark.parametrize("content", [b"", b"just text", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\x93NUMPY\x01\x00"])
def test_damaged_files_give_one_sentence(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(LotusError, match="not a readable"):
        Depth.load(path, "depth")


def test_missing_file_and_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(LotusError, match="does not exist"):
        Depth.load(tmp_path / "no.png", "depth")
    with pytest.raises(LotusError, match=r"\.png, \.exr, \.npy"):
        Depth(np.zeros((2, 2)), "depth").save(tmp_path / "a.jpg")


def test_pillow_reads_our_sixteen_bit_files_and_we_read_filtered_ones(tmp_path: Path) -> None:
    values = np.random.default_rng(1).uniform(size=(33, 21)).astype(np.float32)
    Depth(values, "disparity").save(tmp_path / "d.png")
    with Image.open(tmp_path / "d.png") as image:
        assert image.mode == "I;16"
        assert np.array_equal(np.asarray(image), np.rint(values * 65535).astype(np.uint16))
        assert image.text["lotus:space"] == "disparity"  # type: ignore[attr-defined]
        image.save(tmp_path / "again.png", optimize=True)  # Pillow chooses the filters
    assert np.abs(Depth.load(tmp_path / "again.png", "disparity").values - values).max() <= 0.5001 / 65535
    sphere_normals().save_preview(tmp_path / "p.png", "opengl")
    with Image.open(tmp_path / "p.png") as image:
        assert np.array_equal(np.asarray(image), sphere_normals().preview("opengl"))


def test_sixteen_bit_colours_are_read_by_older_pillows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Pillow 11 the tiles of an image are plain tuples, without names for their parts."""
    normals = Normals.from_vectors(np.random.default_rng(0).normal(size=(20, 30, 3)), "opengl")
    normals.save(tmp_path / "a.png")
    opened = Image.open

    def with_plain_tiles(*args: Any, **options: Any) -> Any:
        image: Any = opened(*args, **options)
        image.tile = [tuple(tile) for tile in image.tile]
        return image

    monkeypatch.setattr(Image, "open", with_plain_tiles)
    assert Normals.load(tmp_path / "a.png").angle_to(normals).max() < 0.002


def test_resizing_does_not_shift_and_keeps_masks_apart() -> None:
    ramp = np.tile((np.arange(64, dtype=np.float32) + 0.5) / 64, (8, 1))
    for width in (16, 48, 100, 256):
        out = Depth(ramp, "depth").resize((8, width)).values
        inner = slice(width // 8, -width // 8)
        assert np.abs(out[0, inner] - ((np.arange(width) + 0.5) / width)[inner]).max() < 2e-3
    half = np.zeros((8, 8), bool)
    half[:, :4] = True
    out = Depth(np.where(half, 0.9, 0.1).astype(np.float32), "depth", half).resize((4, 6))
    assert np.allclose(out.values[out.mask], 0.9, atol=1e-6)
    assert out.mask.sum() == 12
    shrunk = sphere_normals(65).resize((20, 31))
    assert np.allclose(np.linalg.norm(shrunk.values[shrunk.valid], axis=1), 1, atol=1e-5)


def test_colours() -> None:
    ends = {name: (colorize(np.float32(0), name).tolist(), colorize(np.float32(1), name).tolist()) for name in NAMES}
    assert ends["gray"] == ([0, 0, 0], [255, 255, 255])
    assert ends["spectral"] == ([0x5E, 0x4F, 0xA2], [0x9E, 0x01, 0x42])
    near_left = Depth(np.array([[1.0, 0.5, 0.0]], np.float32), "disparity")
    assert near_left.preview()[0, 0].tolist() == [0x9E, 0x01, 0x42]
    assert near_left.preview("gray")[0].tolist() == [[255] * 3, [128] * 3, [0] * 3]
    assert Depth(np.full((2, 2), 0.4), "depth").preview().shape == (2, 2, 3)
    with pytest.raises(LotusError, match="no colour map 'jet'"):
        near_left.preview("jet")
    assert Normals(np.array([[[0, 0, 1]]], np.float32)).preview().tolist() == [[[128, 128, 255]]]
    shown = Uncertainty(np.array([[0.0, 0.2]], np.float32), None, 4, "depth").preview(0.1)
    assert shown[0, 0].max() <= 4
    assert shown[0, 1].tolist() == [0xFC, 0xFF, 0xA4]


def test_saving_is_quick(tmp_path: Path) -> None:
    y, x = np.mgrid[0:1024, 0:1024] / 1024
    normals = Normals.from_vectors(np.dstack([np.sin(9 * x), np.cos(7 * y), 1 + x]))
    start = time.perf_counter()
    normals.save(tmp_path / "n.png")
    assert time.perf_counter() - start < 5  # 0.2 s on a free core; the bound only catches a fall back to Python loops


@pytest.mark.parametrize("suffix", [".png", ".exr", ".npy"])
def test_further_words_travel_under_their_own_names_and_change_nothing(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    depth = Depth(np.linspace(0, 1, 12).reshape(3, 4), "depth")
    depth.save(path, {"workflow": '{"a": "\\u00e9"}'})
    loaded = Depth.load(path)
    assert loaded.space == "depth"
    assert np.abs(loaded.values - depth.values).max() <= 0.5 / 65535
    if suffix == ".png":
        with Image.open(path) as image:
            assert image.text["workflow"] == '{"a": "\\u00e9"}'
