"""Images of maps for programs that show them: what other readers find in the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotus_core.errors import LotusError
from lotus_core.maps import Depth, Normals, Uncertainty
from lotus_core.maps.exr import write_exr
from lotus_core.maps.png import read_png
from lotus_core.maps.storage import read_map
from lotus_core.maps.textures import Meaning, Texture, write_texture

RNG = np.random.default_rng(5)


def channels(path: Path) -> dict[str, np.ndarray]:
    """As the OpenEXR library reads them."""
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {name: np.array(channel.pixels) for name, channel in file.channels().items()}


@settings(deadline=None)
@given(height=st.integers(1, 50), width=st.integers(1, 40), names=st.sampled_from(["Y", "YA", "RGB", "RGBA"]))
def test_exr_files_hold_every_bit(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, names: str
) -> None:
    path = tmp_path_factory.mktemp("exr") / "ä.exr"
    planes = {name: RNG.random((height, width)).astype(np.float32) for name in names}
    planes[names[0]][0, 0] = 1e-42  # denormal
    write_exr(path, planes, {"lotus:map": "depth"})
    found = channels(path)
    assert sorted(found) == sorted(names)
    for name, plane in planes.items():
        np.testing.assert_array_equal(found[name], plane)
    with OpenEXR.File(str(path)) as file:
        assert file.header()["lotus:map"] == "depth"


def test_smooth_maps_are_packed_as_tightly_as_by_the_library(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:300, :400] / 400
    values = (0.5 + 0.3 * np.sin(5 * rows) * np.cos(3 * columns)).astype(np.float32)
    write_exr(tmp_path / "ours.exr", {"Y": values}, {})
    Depth(values, "depth").save(tmp_path / "library.exr")
    assert (tmp_path / "ours.exr").stat().st_size < 1.05 * (tmp_path / "library.exr").stat().st_size


def test_what_the_images_hold(tmp_path: Path) -> None:
    valid = RNG.random((20, 30)) > 0.3
    depth = Depth(RNG.random((20, 30)).astype(np.float32), "depth", valid)
    normals = Normals.from_vectors(RNG.normal(size=(20, 30, 3)))
    made = write_texture(depth, tmp_path / "d.exr")
    assert made == Texture(tmp_path / "d.exr", tmp_path / "d_thumbnail.npy", Meaning("depth", space="depth"))
    assert Texture.from_dict(made.to_dict()) == made
    found = channels(made.file)
    np.testing.assert_array_equal(found["Y"], np.where(valid, depth.values, 1), "far where nothing is known")
    np.testing.assert_array_equal(found["A"], valid.astype(np.float32))
    found = channels(write_texture(normals, tmp_path / "n.exr").file)
    vectors = 2 * np.dstack([found[name] for name in "RGB"]) - 1
    assert Normals(vectors, "opengl").angle_to(normals).max() < 1e-4
    codes = read_png(write_texture(normals, tmp_path / "n.png").file)[0]
    assert codes.dtype == np.uint16
    assert np.abs(codes / 65535 - (0.5 * normals.to("opengl").values + 0.5)).max() <= 0.51 / 65535
    thumbnail = np.load(made.thumbnail)
    assert thumbnail.shape == (20, 30, 3)
    np.testing.assert_array_equal(thumbnail, depth.preview())


@pytest.mark.parametrize("suffix", [".exr", ".png"])
def test_the_files_say_what_they_are(tmp_path: Path, suffix: str) -> None:
    valid = RNG.random((20, 30)) > 0.3
    depth = Depth(RNG.random((20, 30)).astype(np.float32), "depth", valid)
    found = Depth.load(write_texture(depth, tmp_path / f"d{suffix}").file)
    assert (found.space, np.array_equal(found.mask, valid)) == ("depth", True)
    assert np.abs(found.values - depth.values).max() <= 1 / 65535
    sure = Uncertainty(RNG.random((20, 30)).astype(np.float32), None, 8, "depth")
    uncertainty = Uncertainty.load(write_texture(sure, tmp_path / f"u{suffix}").file)
    assert (uncertainty.unit, uncertainty.samples) == ("depth", 8)
    normals = Normals.from_vectors(RNG.normal(size=(20, 30, 3)))
    file = write_texture(normals, tmp_path / f"n{suffix}", "directx").file
    words = read_map(file).words
    assert words == {"map": "normal", "texture" if suffix == ".exr" else "convention": "directx"}
    for convention in ("directx", None):
        loaded = Normals.load(file, convention)
        assert loaded.convention == "directx"
        assert loaded.angle_to(normals).max() < 0.01
    with pytest.raises(LotusError, match="holds directx normals, not opengl"):
        Normals.load(file, "opengl")


def test_angles_are_not_clipped_to_one(tmp_path: Path) -> None:
    """A PNG ends at 1; 40 degrees do not fit."""
    made = write_texture(Uncertainty(np.full((4, 5), 40, np.float32), None, 8, "degrees"), tmp_path / "u.png")
    assert made.file == tmp_path / "u.exr"
    assert channels(made.file)["Y"].max() == 40
    assert made.meaning == Meaning("uncertainty", unit="degrees", samples=8)


def test_other_files_are_refused(tmp_path: Path) -> None:
    depth = Depth(np.zeros((4, 5), np.float32), "depth")
    with pytest.raises(LotusError, match=r"saved as \.exr or \.png"):
        write_texture(depth, tmp_path / "d.jpg")
    with pytest.raises(LotusError, match="no folder"):
        write_texture(depth, tmp_path / "missing" / "d.exr")
    assert not list(tmp_path.iterdir())
