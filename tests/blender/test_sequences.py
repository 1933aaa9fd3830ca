"""Sequences: maps that are found after moving the .blend, exported as shown, and replaced all at once."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lotus_core.maps import Depth

from .driving import begin, drive, files_in, preferences, settings
from .scenes import checks, part, positions
from .test_predict import save_blend

PLACES = ["BESIDE", "PACKED"]  # a sequence's maps are files with either

NUMBERS = (7, 8, 9)


@pytest.fixture
def opened(bpy: Any, tmp_path: Path) -> Any:
    """A sequence of three photos without maps, of a .blend that was saved."""
    save_blend(bpy, tmp_path / "b")
    preferences(bpy).place = "BESIDE"
    for shift, number in enumerate(NUMBERS):
        Image.fromarray(np.roll(checks(48, 64), 20 * shift, axis=1)).save(tmp_path / f"shot {number:03d}.png")
    bpy.ops.lotus.open_photo(filepath=str(tmp_path / "shot 007.png"), sequence=True)
    settings(bpy)
    return bpy.context.scene.lotus.image


@pytest.fixture
def predicted(bpy: Any, opened: Any) -> Any:
    """The same with depth maps, saved."""
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


def a_file(path: Path) -> None:
    path.write_text("in the way")


def a_folder_that_nobody_can_write(path: Path) -> None:
    if os.geteuid() == 0:  # may write everywhere, except where nobody can
        path.symlink_to("/proc/fs")
    else:
        path.mkdir(mode=0o555)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the rights of POSIX")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("make", [a_file, a_folder_that_nobody_can_write])
def test_where_no_map_can_be_kept_nothing_is_predicted(
    bpy: Any, opened: Any, tmp_path: Path, make: Callable[[Path], None], place: str
) -> None:
    preferences(bpy).place = place
    make(tmp_path / "b" / "lotus_maps")
    with pytest.raises(
        RuntimeError, match=r"lotus_maps cannot be written \(.+\), and .+ save the \.blend elsewhere\.$"
    ):
        bpy.ops.lotus.predict()
    assert opened.lotus.depth is None
    assert not part("jobs").jobs.running


@pytest.mark.parametrize("place", PLACES)
def test_frames_wait_on_the_disk_of_the_blend_and_come_one_at_a_step(
    bpy: Any, opened: Any, tmp_path: Path, place: str
) -> None:
    preferences(bpy).place = place
    elsewhere = {Path(tempfile.gettempdir()), Path(bpy.app.tempdir)}
    before = {path for folder in elsewhere for path in folder.glob("lotus-*")}
    begin(bpy)
    drive(lambda run: (run.fraction or 0) > 0.4)  # the first frame is done
    assert {path for folder in elsewhere for path in folder.glob("lotus-*")} == before
    assert len(list((tmp_path / "b" / "lotus_maps").rglob("depth_0007.exr"))) == 1
    assert list((tmp_path / "b" / "lotus_maps").rglob("shot 007*")) == []  # what else came with it
    there = [0]
    while part("jobs").jobs.step():
        there.append(len(list((tmp_path / "b" / "lotus_maps").glob("shot*"))))
        time.sleep(0.01)
    assert set(np.diff(there)) == {0, 1}
    assert len(maps(tmp_path / "b")) == 3
    assert opened.lotus.depth.filepath_raw == "//lotus_maps/shot_007_depth_0007.exr"


@pytest.mark.parametrize("what", ["cancelled", "photo deleted"])
def test_what_stops_the_last_moves_takes_them_back(bpy: Any, predicted: Any, tmp_path: Path, what: str) -> None:
    before = maps(tmp_path / "b")
    settings(bpy, resolution=96)
    begin(bpy)
    drive(lambda run: len(list((tmp_path / "b" / "lotus_maps").glob("shot*"))) > len(before))
    if what == "cancelled":
        bpy.ops.lotus.cancel()
    else:
        bpy.data.images.remove(predicted)
    drive()
    assert ("was deleted" in part("jobs").jobs.message) == (what == "photo deleted")
    assert maps(tmp_path / "b") == before


def test_reliefs_and_materials_follow_another_range_of_frames(bpy: Any, opened: Any) -> None:
    """Those that were built when fewer frames had maps; whoever chose frames by hand keeps them."""
    settings(bpy, frame_start=1, frame_count=2)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    assert bpy.ops.lotus.relief(strength=1.0) == {"FINISHED"}
    relief = bpy.context.view_layer.objects.active
    (texture,) = bpy.data.textures
    (photo,) = [node for node in relief.active_material.node_tree.nodes if getattr(node, "image", None) == opened]
    own = bpy.data.textures.new("own", "IMAGE")
    own.image = opened.lotus.depth
    own.image_user.frame_duration = 1
    for start, count, offset in ((1, 0, 6), (2, 1, 7)):
        settings(bpy, frame_start=start, frame_count=count, resolution=96 // start)
        assert bpy.ops.lotus.predict() == {"FINISHED"}
        for frame in range(1, (count or 3) + 1):
            bpy.context.scene.frame_set(frame)
            heights = positions(relief.evaluated_get(bpy.context.evaluated_depsgraph_get()).data)[:, 2]
            depth = part("images").depth_of(opened).values
            assert np.ptp(depth) > 0.5
            np.testing.assert_allclose(heights, depth.ravel(), atol=1e-6)
        assert (photo.image_user.frame_duration, photo.image_user.frame_offset) == (count or 3, offset)
        assert own.image_user.frame_duration == 1
    assert texture.image_user.frame_start == 1


@pytest.mark.parametrize(("first", "second"), [((1, 2), (3, 1)), ((2, 2), (1, 1))])
def test_ranges_predicted_apart_do_not_run_into_one_another(
    bpy: Any, opened: Any, tmp_path: Path, first: tuple[int, int], second: tuple[int, int]
) -> None:
    """frame_start and frame_count of both: what was saved with the first range shows its own maps and no others."""

    def seen() -> list[np.ndarray]:
        found = []
        for frame in (1, 2, 3):
            bpy.context.scene.frame_set(frame)
            found.append(part("images").depth_of(bpy.context.scene.lotus.image).values)
        return found

    settings(bpy, frame_start=first[0], frame_count=first[1])
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    bpy.ops.wm.save_mainfile()
    before = seen()
    settings(bpy, frame_start=second[0], frame_count=second[1])
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    assert [len(part("sequences").frames_of(opened.lotus.depth))] == [second[1]]
    bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)  # without saving
    np.testing.assert_array_equal(seen(), before)
