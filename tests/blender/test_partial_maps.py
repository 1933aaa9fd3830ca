"""Sequences with holes, and maps that are there for some frames or kinds only: the user hears what there is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lotus_core.maps import Depth, Normals

from .driving import preferences, settings
from .scenes import checks, hills, part
from .test_colour_management import CONFIGURATION
from .test_predict import save_blend

SIZE = (24, 32)


def notes() -> str:
    return " ".join(part("jobs").jobs.notes)


def make_frames(folder: Path, *numbers: int, depth: tuple[int, ...] = (), normal: tuple[int, ...] = ()) -> Path:
    """Photos of these numbers, and maps beside some of them; returns the first photo."""
    for number in numbers:
        Image.fromarray(checks(*SIZE)).save(folder / f"shot {number:03d}.png")
    for number in depth:
        Depth(hills(*SIZE), "disparity").save(folder / f"shot {number:03d}_depth.npy")
    for number in normal:
        Normals.from_vectors(np.ones((*SIZE, 3))).save(folder / f"shot {number:03d}_normal.npy")
    return folder / f"shot {numbers[0]:03d}.png"


@pytest.fixture
def files(bpy: Any, tmp_path: Path) -> Any:
    """Maps come from files, for a .blend that was saved."""
    save_blend(bpy, tmp_path / "b")
    preferences(bpy).place = "BESIDE"
    preferences(bpy).backend = "FILES"
    settings(bpy, use_normal=True)
    return bpy


def test_a_photo_gets_the_maps_that_there_are(files: Any, tmp_path: Path) -> None:
    photo = make_frames(tmp_path, 1, depth=(1,))
    files.ops.lotus.open_photo(filepath=str(photo))
    assert files.ops.lotus.predict() == {"FINISHED"}
    assert part("jobs").jobs.notes == ["There is no normal map of shot 001.png.", "shot 001.png: depth found"]
    assert files.context.scene.lotus.image.lotus.normal is None


def test_a_kind_that_some_frames_lack_is_left_out(files: Any, tmp_path: Path) -> None:
    files.ops.lotus.open_photo(
        filepath=str(make_frames(tmp_path, 1, 2, 3, depth=(1, 2, 3), normal=(2,))), sequence=True
    )
    assert files.ops.lotus.predict() == {"FINISHED"}
    photo = files.context.scene.lotus.image
    assert (photo.lotus.depth.lotus.frames, photo.lotus.normal) == (3, None)
    assert "Only 1 of 3 frames have a normal map, so it was left out: add the others." in notes()
    assert notes().endswith("depth found, 3 frames")


def test_without_one_whole_kind_nothing_changes(files: Any, tmp_path: Path) -> None:
    files.ops.lotus.open_photo(filepath=str(make_frames(tmp_path, 1, 2, depth=(1,), normal=(2,))), sequence=True)
    with pytest.raises(
        RuntimeError, match=r"Only 1 of 2 frames have a depth map.* Only 1 of 2 frames have a normal map"
    ):
        files.ops.lotus.predict()
    assert files.context.scene.lotus.image.lotus.depth is None


def test_frames_before_one_that_fails_keep_their_maps(files: Any, tmp_path: Path) -> None:
    files.ops.lotus.open_photo(filepath=str(make_frames(tmp_path, 1, 2, 3, depth=(1, 2))), sequence=True)
    assert files.ops.lotus.predict() == {"FINISHED"}
    photo = files.context.scene.lotus.image
    assert photo.lotus.depth.lotus.frames == 2
    assert "Frame 3 of 3, shot 003.png, failed, so only the 2 frames before it got maps. There are no maps" in notes()
    # Maps that were there before are not given up for fewer ones.
    (tmp_path / "shot 002_depth.npy").unlink()
    depth = photo.lotus.depth
    with pytest.raises(RuntimeError, match=r"Frame 2 of 3, shot 002\.png, failed, and the maps that there were stay\."):
        files.ops.lotus.predict()
    assert photo.lotus.depth == depth


def test_a_frame_that_the_worker_cannot_read_costs_no_other(bpy: Any, tmp_path: Path) -> None:
    save_blend(bpy, tmp_path / "b")
    photo = make_frames(tmp_path, 1, 2, 3)
    (tmp_path / "shot 002.png").write_bytes(photo.read_bytes()[:60])
    bpy.ops.lotus.open_photo(filepath=str(photo), sequence=True)
    settings(bpy)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    assert bpy.context.scene.lotus.image.lotus.depth.lotus.frames == 1
    assert "Frame 2 of 3, shot 002.png, failed, so only the frame before it got maps." in notes()


@pytest.mark.parametrize(
    ("numbers", "found", "missing", "rest"),
    [((1, 2, 4, 5), 2, "003", "2 files follow"), ((1, 3), 1, "002", "1 file follows")],
)
def test_a_gap_in_the_numbers_is_told(
    files: Any, tmp_path: Path, numbers: tuple[int, ...], found: int, missing: str, rest: str
) -> None:
    settings(files)
    path = make_frames(tmp_path, *numbers, depth=numbers)
    files.ops.lotus.open_photo(filepath=str(path), sequence=True)
    assert files.ops.lotus.predict() == {"FINISHED"}
    photo = files.context.scene.lotus.image
    assert photo.lotus.depth.lotus.frames == found
    assert f"because there is no shot {missing}.png; {rest}, which are left out: number the files" in notes()
    settings(files, frame_count=1)
    assert files.ops.lotus.predict() == {"FINISHED"}
    assert "because there is no" not in notes()  # nobody asked for what lies behind it
    settings(files, frame_start=found + 1, frame_count=0)
    with pytest.raises(RuntimeError, match=f"has no frame {found + 1}; .*there is no shot {missing}"):
        files.ops.lotus.predict()


def test_a_linked_sequence_is_found_beside_its_own_blend(bpy: Any, tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "b").mkdir()
    image = bpy.data.images.load(str(make_frames(tmp_path / "library", 1, 2)))
    image.source, image.use_fake_user = "SEQUENCE", True
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library" / "other.blend"))
    image.filepath_raw = "//shot 001.png"
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    save_blend(bpy, tmp_path / "b")
    with bpy.data.libraries.load(str(tmp_path / "library" / "other.blend"), link=True) as (there, wanted):
        wanted.images = there.images
    (linked,) = wanted.images
    assert linked.filepath_raw == "//shot 001.png"
    assert [path.name for _, path in part("sequences").frames_of(linked)] == ["shot 001.png", "shot 002.png"]
    assert part("images").size_of(linked) == (32, 24)


CODE = """
import sys
sys.path[:0] = [{root!r}, {root!r} + "/core"]
import bpy
from tests.blender.driving import preferences, settings
from tests.blender.inside import enable
enable({repository!r})
preferences(bpy).backend = "FILES"
bpy.ops.wm.save_as_mainfile(filepath={blend!r})
settings(bpy, use_normal=True)
for sequence in (False, True):
    bpy.ops.lotus.open_photo(filepath={photo!r}, sequence=sequence)
    assert bpy.ops.lotus.predict() == {{"FINISHED"}}
    photo = bpy.context.scene.lotus.image
    print(sequence, photo.lotus.depth.colorspace_settings.name, photo.lotus.normal.colorspace_settings.name)
"""


@pytest.mark.usefixtures("blender")
def test_the_space_of_data_may_have_any_name(tmp_path: Path) -> None:
    """In a studio's own configuration of OpenColorIO."""
    photo = make_frames(tmp_path, 1, 2, depth=(1, 2), normal=(1, 2))
    (tmp_path / "config.ocio").write_text(CONFIGURATION.replace("Non-Color", "Raw numbers"), encoding="utf-8")
    root = Path(__file__).resolve().parents[2]
    places = {"repository": str(tmp_path / "repository"), "blend": str(tmp_path / "a.blend"), "photo": str(photo)}
    own = {"BLENDER_USER_RESOURCES": str(tmp_path / "user"), "OCIO": str(tmp_path / "config.ocio")}
    code = CODE.format(root=str(root), **places)
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | own, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "False Raw numbers Raw numbers" in done.stdout
    assert "True Raw numbers Raw numbers" in done.stdout
