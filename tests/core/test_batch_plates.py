"""Scene-linear pictures in `lotus batch`: their exposure, and which pixel of the picture each of theirs is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lotus_core as lotus
from lotus_core.batch.plates import read_plate, to_display
from lotus_core.cli import main

from .batches import command, manifest, results


def test_scene_linear_pictures_are_exposed(checkpoints: dict[str, str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scene = np.exp(rng.normal(-4, 1, (32, 48, 3))).astype(np.float32)  # dark: a few thousandths
    scene[0, 0] = np.nan
    source, out = tmp_path / "plates", tmp_path / "out"
    source.mkdir()
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": scene}) as file:
        file.write(str(source / "plate.exr"))
    assert main(command(source, out, checkpoints)) == 0
    facts = manifest(out)["items"]["plate.exr"]
    light = np.nan_to_num(scene) @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    expected = np.log2(0.18) - np.log2(light[light > 1e-4]).mean()
    assert facts["exposure_stops"] == pytest.approx(expected, abs=0.01)
    grey = to_display(np.full((1, 1, 3), 0.18 / 2**3, np.float32), 3)
    assert grey == pytest.approx(0.4613, abs=1e-3)  # 18 % grey on the sRGB curve
    assert main(command(source, tmp_path / "fixed", checkpoints, "--exposure", "2.5")) == 0
    assert manifest(tmp_path / "fixed")["items"]["plate.exr"]["exposure_stops"] == 2.5
    assert results(out)["plate_depth.png"] != results(tmp_path / "fixed")["plate_depth.png"]


@given(
    display=st.tuples(*[st.integers(-40, 40)] * 2, *[st.integers(16, 40)] * 2),
    data=st.tuples(*[st.integers(-60, 60)] * 2, *[st.integers(1, 60)] * 2),
    channels=st.sampled_from(["RGB", "RGBA", "Y"]),
)
@settings(max_examples=40, deadline=None)
def test_a_plate_fills_its_display_window(
    tmp_path_factory: pytest.TempPathFactory,
    display: tuple[int, int, int, int],
    data: tuple[int, int, int, int],
    channels: str,
) -> None:
    """Windows are left, top, width, height. Each pixel's light says where in the plane it lies."""
    path = tmp_path_factory.getbasetemp() / "window.exr"
    write_window(path, data, display, channels)
    plate = read_plate(path)
    left, top, width, height = display
    assert plate.shape[:2] == (height, width)
    y, x = np.mgrid[top : top + height, left : left + width]
    inside = (x >= data[0]) & (x < data[0] + data[2]) & (y >= data[1]) & (y < data[1] + data[3])
    np.testing.assert_array_equal(plate[..., 0], np.where(inside, light_at(x, y), 0))
    if plate.shape[2] == 4:
        np.testing.assert_array_equal(plate[..., 3], inside.astype(np.float32))
    else:
        assert inside.all()


def light_at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (1000 + x + 200 * y % 7919).astype(np.float32)


def write_window(path: Path, data: Sequence[int], display: Sequence[int], channels: str) -> None:
    def corners(window: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
        left, top, width, height = window
        return (left, top), (left + width - 1, top + height - 1)

    y, x = np.mgrid[data[1] : data[1] + data[3], data[0] : data[0] + data[2]]
    planes = {name: np.ones(x.shape, np.float32) if name == "A" else light_at(x, y) for name in channels}
    header = {"type": OpenEXR.scanlineimage, "dataWindow": corners(data), "displayWindow": corners(display)}
    with OpenEXR.File(header, planes) as file:
        file.write(str(path))


def test_frames_that_were_cropped_each_on_its_own_are_one_sequence(checkpoints: dict[str, str], tmp_path: Path) -> None:
    source, out = tmp_path / "plates", tmp_path / "out"
    source.mkdir()
    for number, data in enumerate([(5, 3, 30, 20), (0, 0, 48, 32), (-4, -4, 56, 40), (47, 31, 1, 1)]):
        write_window(source / f"shot.{number:04d}.exr", data, (0, 0, 48, 32), "RGBA")
    options = ("--format", "exr", "--no-previews")
    assert main(command(source, out, checkpoints, *options)) == 0
    assert manifest(out)["items"]["shot.####.exr"]["frames"] == 4
    for path in sorted((out / "shot").iterdir()):
        with OpenEXR.File(str(path)) as file:
            windows = [np.array(file.header()[name]).tolist() for name in ("dataWindow", "displayWindow")]
        assert windows == [[[0, 0], [47, 31]]] * 2  # as the plate in a compositor


def test_a_display_window_without_end_is_refused(tmp_path: Path) -> None:
    write_window(tmp_path / "huge.exr", (0, 0, 32, 32), (0, 0, 2_000_000, 1_000_000), "RGB")
    with pytest.raises(lotus.LotusError, match="2,000,000×1,000,000 pixels, but at most 80,000,000 are supported"):
        read_plate(tmp_path / "huge.exr")
