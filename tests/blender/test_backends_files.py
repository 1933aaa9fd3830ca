"""Maps made elsewhere, found by name and read without loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blender_lotus.backends import Job
from blender_lotus.backends.files import FilesBackend, find_maps
from blender_lotus.backends.words import read_words
from lotus_core.errors import LotusError
from lotus_core.maps import Depth, Normals, Uncertainty
from lotus_core.maps.exr import write_exr

RNG = np.random.default_rng(3)
MASK = RNG.random((9, 13)) > 0.2
MAPS: dict[str, Any] = {
    "depth": Depth(RNG.random((9, 13), np.float32), "depth", MASK),
    "normal": Normals.from_vectors(RNG.normal(size=(9, 13, 3)), "directx"),
    "uncertainty": Uncertainty(RNG.random((9, 13), np.float32) * 90, None, 7, "degrees"),
}
SMALLEST = {".npy": 0.0, ".exr": 0.0, ".png": 1.0 / 65535}  # allowed error, of full scale


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    folder = tmp_path / "Fotos – été 世界"
    folder.mkdir()
    path = folder / "my photo ä.png"
    Image.new("RGB", (13, 9), "red").save(path)
    return path


def values(value: Any) -> np.ndarray:
    array = value.std if isinstance(value, Uncertainty) else value.values
    assert isinstance(array, np.ndarray)
    return array


@pytest.fixture(params=["core", "blender"])
def backend(request: pytest.FixtureRequest) -> FilesBackend:
    """Reads with Pillow and OpenEXR, and with Blender."""
    if request.param == "core":
        return FilesBackend()
    request.getfixturevalue("blender")
    from blender_lotus.backends.blender_pixels import read_pixels

    return FilesBackend(read_pixels)


@pytest.mark.parametrize("suffix", SMALLEST)
def test_maps_come_back_as_they_were_saved(backend: FilesBackend, suffix: str, photo: Path) -> None:
    for kind, value in MAPS.items():
        value.save(photo.with_name(f"{photo.stem}_{kind}{suffix}"))
    task = backend.start(Job(photo, photo.parent / "unused", tuple(MAPS)))
    assert not task.poll()
    assert task.state == "done", task.message
    assert task.prediction is not None
    loaded = task.prediction.load()
    assert list(loaded) == list(MAPS)
    for kind, scale in (("depth", 1.0), ("normal", 2.0), ("uncertainty", 180.0)):
        error = np.abs(values(loaded[kind]) - values(MAPS[kind])).max()
        assert error <= SMALLEST[suffix] * scale, kind
    depth, normals, uncertainty = loaded["depth"], loaded["normal"], loaded["uncertainty"]
    assert isinstance(depth, Depth)
    assert depth.space == "depth"
    np.testing.assert_array_equal(depth.mask, MASK)
    assert isinstance(normals, Normals)
    assert normals.convention == "directx"
    assert isinstance(uncertainty, Uncertainty)
    assert (uncertainty.unit, uncertainty.samples) == ("degrees", 7)


def test_a_file_of_another_program_needs_one_word(backend: FilesBackend, photo: Path) -> None:
    codes = RNG.integers(0, 65536, (9, 13), dtype=np.uint16)
    path = photo.with_name(f"{photo.stem}_depth.png")
    Image.fromarray(codes).save(path)
    with pytest.raises(LotusError, match="does not say whether 1 is near"):
        backend.read(path, "depth")
    depth = backend.read(path, "depth", space="disparity")
    np.testing.assert_array_equal(np.rint(values(depth).astype(np.float64) * 65535), codes)
    record = {"maps": {"depth": {"space": "depth"}}}
    photo.with_name(f"{photo.stem}.json").write_text(json.dumps(record), encoding="utf-8")
    told = backend.read(path, "depth")
    assert isinstance(told, Depth)
    assert told.space == "depth"
    path.rename(photo.with_name(f"{photo.stem}_disparity.png"))
    photo.with_name(f"{photo.stem}.json").unlink()
    task = backend.start(Job(photo, photo.parent, ("depth",)))
    assert task.prediction is not None
    named = task.prediction.load()["depth"]
    assert isinstance(named, Depth)
    assert named.space == "disparity"


@pytest.mark.parametrize("suffix", [".exr", ".npy"])
@pytest.mark.parametrize("facing", ["anywhere", "upper right"])
def test_normals_of_another_program_are_vectors_or_a_texture(
    backend: FilesBackend, photo: Path, suffix: str, facing: str
) -> None:
    """Files that say nothing: float files hold either."""
    vectors = RNG.normal(size=(9, 13, 3)) + np.array([0, 0, 1])
    normals = Normals.from_vectors(np.abs(vectors) if facing == "upper right" else vectors, "opengl")
    for held in (normals.values, 0.5 * normals.values + 0.5):
        path = photo.with_name(f"wall_normal{suffix}")
        if suffix == ".exr":
            write_exr(path, {name: held[..., i] for i, name in enumerate("RGB")}, {})
        else:
            np.save(path, held)
        read = backend.read(path, "normal", convention="opengl")
        assert isinstance(read, Normals)
        assert read.angle_to(normals).max() < 0.01


def test_names_places_and_order(photo: Path) -> None:
    (photo.parent / "maps").mkdir()
    (photo.parent / "lotus_maps").mkdir()
    names = ["{}_depth.png", "{}_depth.exr", "maps/{}_depth.npy", "{}_normals.png", "{}_depth_preview.png"]
    names.append("lotus_maps/{}_uncertainty.exr")  # belongs to a .blend
    for name in [*(name.format(photo.stem) for name in names), "other_uncertainty.png"]:
        (photo.parent / name).write_bytes(b"")
    found = find_maps(photo)
    assert {kind: path.name for kind, path in found.items()} == {
        "depth": f"{photo.stem}_depth.exr",
        "normal": f"{photo.stem}_normals.png",
    }


def test_what_cannot_be_read_is_one_sentence(backend: FilesBackend, photo: Path) -> None:
    task = backend.start(Job(photo, photo.parent, ("depth", "normal")))
    assert task.state == "failed"
    assert f"no maps of {photo.name}" in task.message
    for name, content, kind, expected in (
        ("a_depth.png", b"no picture", "depth", "a_depth.png"),
        ("a_depth.exr", b"\x76\x2f\x31\x01 cut off", "depth", "a_depth.exr"),
        ("a_depth.npy", b"\x93NUMPY", "depth", "a_depth.npy"),
        ("a_depth.tif", b"II*", "depth", "maps are .png, .exr, .npy"),
    ):
        path = photo.with_name(name)
        path.write_bytes(content)
        with pytest.raises(LotusError, match=expected):
            backend.read(path, kind)
    with pytest.raises(LotusError, match="does not exist"):
        backend.read(photo.with_name("gone.png"), "depth")
    with pytest.raises(LotusError, match="colour picture"):
        backend.read(photo, "depth", space="depth")


@pytest.mark.parametrize("suffix", [".png", ".exr"])
def test_words_of_damaged_files_raise_nothing(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    MAPS["depth"].save(path)
    whole = path.read_bytes()
    words = read_words(path)
    assert words["lotus:space"] == "depth"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        read_words(path)  # raises nothing
    damaged = bytearray(whole)
    for at in range(8, 120):
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        read_words(path)
