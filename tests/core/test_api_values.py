"""Arrays that programs hand over and get: nothing aliases, and what is no map is refused instead of misread."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

import lotus_core as lotus
from lotus_core.errors import LotusError
from lotus_core.images import load_image
from lotus_core.maps import Depth, Normals, Uncertainty
from lotus_core.maps.png import read_png, write_png
from lotus_core.maps.storage import read_map

RAMP = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
LEFT = np.arange(100).reshape(10, 10) % 10 < 5


def test_maps_keep_their_values_when_the_callers_buffer_is_used_again() -> None:
    buffer, normal = np.zeros((6, 8), np.float32), np.zeros((6, 8, 3), np.float32)
    depths, valid = [], np.ones((6, 8), bool)
    for step in range(3):
        buffer[:] = step / 2
        depths.append(Depth(buffer, "disparity"))
    assert [depth.values.max() for depth in depths] == [0, 0.5, 1]
    normals, masked = Normals(normal), Depth(buffer, "disparity", valid)
    uncertainty = Uncertainty(buffer, None, 3, "depth")
    normal[:], valid[:], buffer[:] = (0, 0, 1), False, 0
    assert not normals.values.any()
    assert masked.mask.all()
    assert uncertainty.std.min() == 1


@pytest.mark.parametrize("space", ["disparity", "depth"])
@pytest.mark.parametrize("valid", [None, LEFT])
def test_what_a_map_gives_out_can_be_written_to(space: Any, valid: np.ndarray | None) -> None:
    depth = Depth(RAMP, space, valid)
    before = depth.values.copy()
    near, mask = depth.near_white(), depth.mask
    near *= 0
    mask[:] = False
    assert np.array_equal(depth.values, before)
    assert depth.mask.sum() == (100 if valid is None else 50)


def test_maps_take_tensors_with_gradients_and_half_precision() -> None:
    tensor = torch.rand(4, 6, requires_grad=True)
    assert np.array_equal(Depth(tensor, "depth").values, tensor.detach().numpy())  # type: ignore[arg-type]
    half = Depth(tensor.bfloat16(), "depth", torch.ones(4, 6, dtype=torch.uint8))  # type: ignore[arg-type]
    assert np.abs(half.values - tensor.detach().numpy()).max() < 0.004
    for wrong in (np.full((4, 6), 0.5 + 1j), [["near"] * 6] * 4, [[1], [1, 2]]):
        with pytest.raises(LotusError, match=r"A depth map is an array of (real )?numbers"):
            Depth(wrong, "depth")  # type: ignore[arg-type]


def test_normals_that_are_no_unit_vectors_are_refused() -> None:
    texture = np.full((4, 6, 3), (128, 128, 255), np.uint8)
    with pytest.raises(LotusError, match=r"24 of 24 are neither: decode textures to 2 t - 1 first"):
        Normals(texture)
    with pytest.raises(LotusError, match="are neither"):
        Normals(np.full((4, 6, 3), (0, 0, 0.52)))
    half = Normals.from_vectors(np.random.default_rng(0).normal(size=(4, 6, 3))).values.astype(np.float16)
    assert Normals(half).valid.all()


def test_normals_in_a_float_file_that_was_resized_are_unit_vectors_again(tmp_path: Path) -> None:
    wall = np.zeros((8, 8, 3), np.float32)
    wall[:, :4, 0] = wall[:, 4:, 2] = 1
    Normals(wall, "opengl").save(tmp_path / "n.npy")
    np.save(tmp_path / "n.npy", wall.reshape(4, 2, 8, 3)[:, :, ::2].mean(1) * 0.7)
    again = Normals.load(tmp_path / "n.npy")
    np.testing.assert_allclose(np.linalg.norm(again.values, axis=2), 1, atol=1e-6)


def test_uncertainty_says_nothing_of_what_is_not_valid() -> None:
    std = np.where(LEFT, 0.1, 5).astype(np.float32)
    found = Uncertainty(std, Depth(RAMP, "depth", LEFT), 4, "depth")
    assert found.scale() == pytest.approx(0.1)
    assert np.array_equal(found.mask(9), LEFT)
    smaller = found.resize((5, 5))
    assert smaller.std[:, :2] == pytest.approx(0.1)  # what is invalid does not bleed in
    assert smaller.mean is not None
    assert np.array_equal(smaller.mask(9), smaller.mean.valid)
    known = np.dstack([np.zeros((10, 10)), np.zeros((10, 10)), LEFT])
    assert np.array_equal(Uncertainty(std, Normals(known), 4, "degrees").mask(9), LEFT)


@pytest.mark.parametrize(
    ("mean", "samples", "unit"),
    [
        (Depth(RAMP[:5], "depth"), 4, "depth"),
        (Depth(RAMP, "depth"), 4, "degrees"),
        (Normals(np.zeros((10, 10, 3))), 4, "depth"),
        (Depth(RAMP, "depth"), -1, "depth"),
    ],
)
def test_an_uncertainty_of_another_map_is_refused(mean: Any, samples: int, unit: Any) -> None:
    with pytest.raises(LotusError, match=r"belongs to|0 samples"):
        Uncertainty(RAMP, mean, samples, unit)


@pytest.mark.parametrize("size", [(0, 10), (-1, 10), (5.5, 10), ("5", 10)])
def test_sizes_that_are_none_are_refused(size: Any) -> None:
    for value in (Depth(RAMP, "depth"), Depth(RAMP, "depth", LEFT), Uncertainty(RAMP, None, 3, "depth")):
        with pytest.raises(LotusError, match="whole pixels, at least 1"):
            value.resize(size)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_a_preview_needs_a_scale(scale: float) -> None:
    with pytest.raises(LotusError, match="above 0"):
        Uncertainty(np.zeros((4, 4)), None, 3, "depth").preview(scale)


@pytest.mark.parametrize("suffix", [".png", ".exr", ".npy"])
def test_a_mask_of_another_size_is_refused(suffix: str, tmp_path: Path) -> None:
    """Programs that resize or crop a picture keep its words."""
    Depth(RAMP, "disparity", LEFT).save(tmp_path / f"whole{suffix}")
    said = {f"lotus:{key}": value for key, value in read_map(tmp_path / f"whole{suffix}").words.items()}
    for number, size in enumerate(((5, 5), (20, 20), (4, 25), (10, 5))):  # 4×25: as many pixels as 10×10
        path = tmp_path / f"{number}{suffix}"
        values = np.full(size, 0.5, np.float32)
        if suffix == ".png":
            write_png(path, (values * 65535).astype(np.uint16), said)
        elif suffix == ".exr":
            from lotus_core.maps.openexr import write_openexr

            write_openexr(path, {"Y": values}, said)
        else:
            np.save(path, values)
            path.with_name(path.name + ".json").write_text(json.dumps(said))
        with pytest.raises(LotusError, match="is of another size than its picture"):
            Depth.load(path)
    earlier = {key: value for key, value in said.items() if key != "lotus:valid_size"}
    write_png(tmp_path / "earlier.png", (RAMP * 65535).astype(np.uint16), earlier)
    assert np.array_equal(Depth.load(tmp_path / "earlier.png").mask, LEFT)


def test_an_npy_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    Depth(np.full((8, 8), 0.9), "disparity").save(path)
    full = OSError(28, "No space left on device")
    with mock.patch("numpy.save", side_effect=full), pytest.raises(LotusError, match="No space left"):
        Depth(np.full((8, 8), 0.1), "depth").save(path)
    again = Depth.load(path)
    assert (again.space, again.values.max()) == ("disparity", np.float32(0.9))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npy", "a.npy.json"]


def test_capital_letters_in_the_end_of_a_name(tmp_path: Path) -> None:
    for name in ("a.NPY", "b.Npy", "c.PNG", "d.EXR"):
        Depth(RAMP, "disparity").save(tmp_path / name)
        assert np.abs(Depth.load(tmp_path / name).values - RAMP).max() < 1e-5
    assert len(list(tmp_path.iterdir())) == 6


@pytest.mark.parametrize("interlaced", [False, True])
def test_grey_with_alpha_keeps_its_sixteen_bits(interlaced: bool, tmp_path: Path) -> None:
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    path = tmp_path / "grey-alpha.png"
    write_grey_alpha(path, ramp, interlaced)
    pixels, words = read_png(path)
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels, ramp)
    assert words == {"lotus:space": "depth"}
    assert np.unique(Depth.load(path).values).size == 4096


def write_grey_alpha(path: Path, grey: np.ndarray, interlaced: bool) -> None:
    """A PNG of colour type 4 with 16 bits, written by hand: Pillow writes none."""
    both = np.dstack([grey, np.full_like(grey, 65535)]).astype(">u2")
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]  # Adam7
    parts = [both[y::dy, x::dx] for y, x, dy, dx in passes] if interlaced else [both]
    rows = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    header = b"".join(int(size).to_bytes(4, "big") for size in grey.shape[::-1]) + bytes([16, 4, 0, 0, interlaced])
    chunks = [(b"IHDR", header), (b"tEXt", b"lotus:space\0depth"), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    written = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        written += len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
    path.write_bytes(written)


def test_files_with_more_than_memory_holds_are_one_sentence(tmp_path: Path) -> None:
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    with pytest.raises(LotusError, match="too many pixels"):
        Depth.load(tmp_path / "bomb.png", "depth")
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3000000, 3000000), }"
    (tmp_path / "bomb.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(LotusError, match="not a readable NPY file"):
        Depth.load(tmp_path / "bomb.npy", "depth")


@pytest.mark.parametrize("suffix", ["gif", "tif"])
def test_a_pil_image_is_taken_at_its_own_frame(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"frames.{suffix}"
    frames = [Image.new("L", (32, 24), grey) for grey in (0, 100, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with Image.open(path) as image:
        found = [(round(load_image(frame).rgb.mean() * 255), image.tell()) for frame in ImageSequence.Iterator(image)]
    assert found == [(0, 0), (100, 1), (200, 2)]
    assert load_image(path).rgb.max() == 0  # of a file the first


def test_grey_of_thirty_two_bits_says_what_is_white_or_is_refused(tmp_path: Path) -> None:
    light = Image.new("L", (32, 24), 200)
    with pytest.raises(LotusError, match="mode I does not say what is white"):
        load_image(light.convert("I"))
    sixteen = Image.fromarray(np.full((24, 32), 51400, np.int32))
    assert load_image(sixteen).rgb.mean() == pytest.approx(200 / 255, abs=1e-4)
    Image.fromarray(np.full((24, 32), 51400, np.uint16)).save(tmp_path / "sixteen.png")
    assert load_image(tmp_path / "sixteen.png").rgb.mean() == pytest.approx(200 / 255, abs=1e-4)


def test_arrays_of_either_byte_order_are_alike() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (24, 32, 3), dtype=np.uint16)
    assert np.array_equal(load_image(values.astype(">u2")).rgb, load_image(values).rgb)


@pytest.mark.parametrize("background", [(255, 255, 255), (0.5, 0.5, float("nan")), (1, 1), "white", None])
def test_a_background_is_three_numbers_in_0_to_1(background: Any) -> None:
    with pytest.raises(LotusError, match="A background is three numbers in"):
        load_image(np.zeros((24, 32, 4), np.uint8), background=background)


def test_exposures_of_numpy_are_numbers_too_and_come_too_late_for_a_loaded_image() -> None:
    loaded = load_image(np.zeros((24, 32, 3), np.uint8), exposure=np.float32(1))  # type: ignore[arg-type]
    assert load_image(loaded) is loaded
    for options in ({"exposure": 3}, {"background": (1, 1, 1)}):
        with pytest.raises(LotusError, match="loaded already"):
            load_image(loaded, **options)


def test_checkpoints_are_saved_in_kinds_that_hold_weights(tmp_path: Path) -> None:
    from lotus_core.checkpoints.single_file import save_model

    model = lotus.load_model("lotus-tiny-depth-d", "cpu")
    for dtype in (torch.int32, torch.float64, "float16"):
        with pytest.raises(LotusError, match=r"Weights are saved as torch\.float16"):
            save_model(model, tmp_path / "a.safetensors", dtype)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    for dtype in (torch.int8, torch.int32, "int8"):
        with pytest.raises(LotusError, match="There is no precision 'int"):
            lotus.load_model("lotus-tiny-depth-d", "cpu", dtype)
    for source in (None, 3):
        with pytest.raises(LotusError, match="A model is a name"):
            lotus.load_model(source)  # type: ignore[arg-type]
    with pytest.raises(LotusError, match="There is no device 'None'"):
        lotus.load_model("lotus-tiny-depth-d", None)  # type: ignore[arg-type]
