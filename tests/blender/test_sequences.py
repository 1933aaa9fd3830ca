"""Sequences: maps that are found after moving the .blend, exported as shown, and replaced all at once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lotus_core.maps import Depth

from .driving import begin, drive, files_in, preferences, settings
from .scenes import checks, part
from .test_predict import save_blend

NUMBERS = (7, 8, 9)


@pytest.fixture
def predicted(bpy: Any, tmp_path: Path) -> Any:
    """A sequence of three photos with depth maps, of a .blend that was saved."""
    save_blend(bpy, tmp_path / "b")
    preferences(bpy).place = "BESIDE"
    for shift, number in enumerate(NUMBERS):
        Image.fromarray(np.roll(checks(48, 64), 20 * shift, axis=1)).save(tmp_path / f"shot {number:03d}.png")
    bpy.ops.lotus.open_photo(filepath=str(tmp_path / "shot 007.png"), sequence=True)
    settings(bpy)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    bpy.ops.wm.save_mainfile()
    return bpy.context.scene.lotus.image


def maps(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "lotus_maps" / name).read_bytes() for name in files_in(folder / "lotus_maps")}


def test_the_maps_move_with_the_blend(bpy: Any, predicted: Any, tmp_path: Path) -> None:
    before = part("images").depth_of(predicted).values
    shutil.move(tmp_path / "b", tmp_path / "c")
    bpy.ops.wm.open_mainfile(filepath=str(next((tmp_path / "c").glob("*.blend"))))
    photo = bpy.context.scene.lotus.image
    assert photo.lotus.depth.filepath_raw.startswith("//lotus_maps")
    np.testing.assert_array_equal(part("images").depth_of(photo).values, before)


@pytest.mark.parametrize("frame", [2, 3, 1])
def test_export_saves_the_frame_of_the_timeline(bpy: Any, predicted: Any, tmp_path: Path, frame: int) -> None:
    """Right after predicting, when Blender has not shown any frame yet."""
    bpy.context.scene.frame_set(frame)
    assert bpy.ops.lotus.export_map(filepath=str(tmp_path / "out.exr"), kind="DEPTH") == {"FINISHED"}
    (stored,) = (tmp_path / "b" / "lotus_maps").glob(f"*_{NUMBERS[frame - 1]:04d}.exr")
    exported, expected = (Depth.load(path, "disparity").values for path in (tmp_path / "out.exr", stored))
    np.testing.assert_array_equal(exported, expected)


def test_cancelling_keeps_the_maps_of_all_frames(bpy: Any, predicted: Any, tmp_path: Path) -> None:
    before = maps(tmp_path / "b")
    assert len(before) == 3
    settings(bpy, resolution=96)
    begin(bpy)
    drive(lambda run: (run.fraction or 0) > 0.4)  # the first frame is done
    bpy.ops.lotus.cancel()
    drive()
    assert part("jobs").jobs.message == ""
    assert maps(tmp_path / "b") == before


def test_predicting_again_writes_beside_the_maps_that_were_saved(bpy: Any, predicted: Any, tmp_path: Path) -> None:
    before = maps(tmp_path / "b")
    old = part("images").depth_of(predicted).values
    settings(bpy, resolution=96)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    after = maps(tmp_path / "b")
    assert len(after) == 6
    assert {name: after[name] for name in before} == before
    assert np.abs(part("images").depth_of(predicted).values - old).max() > 0.01
    bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)  # without saving
    np.testing.assert_array_equal(part("images").depth_of(bpy.context.scene.lotus.image).values, old)
