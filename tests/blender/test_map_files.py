"""Map files are never overwritten: undo, other .blend files and unsaved changes find the maps that they knew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lotus_core.maps import Depth, Normals

from .driving import files_in, preferences
from .scenes import add_photo, checks, part, put

SIZE = (24, 32)


def open_photo(bpy: Any, path: Path) -> Any:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(checks(*SIZE)).save(path)
    assert bpy.ops.lotus.open_photo(filepath=str(path)) == {"FINISHED"}
    return bpy.context.scene.lotus.image


def import_depth(bpy: Any, folder: Path, value: float, space: str = "disparity") -> None:
    """Import a depth map that is `value` everywhere, with an undo step."""
    path = folder / f"{value} {space}.exr"
    Depth(np.full(SIZE, value, np.float32), space).save(path)  # type: ignore[arg-type]
    assert bpy.ops.lotus.import_map("EXEC_DEFAULT", True, filepath=str(path)) == {"FINISHED"}


def depth_now(bpy: Any, name: str = "cup.png") -> tuple[float, str]:
    """Value and space of the photo's depth map as Blender has it at this moment."""
    depth = part("images").depth_of(bpy.data.images[name])
    assert np.ptp(depth.values) == 0
    return round(float(depth.values[0, 0]), 3), depth.space


@pytest.mark.parametrize("place", ["BESIDE", "PACKED"])
def test_undo_brings_back_the_earlier_map(bpy: Any, tmp_path: Path, place: str) -> None:
    preferences(bpy).place = place
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    open_photo(bpy, tmp_path / "cup.png")
    bpy.ops.ed.undo_push(message="before")  # in a window every click is such a step
    import_depth(bpy, tmp_path, 0.25, "disparity")
    bpy.ops.lotus.relief("EXEC_DEFAULT", True)
    import_depth(bpy, tmp_path, 0.75, "depth")
    names = [image.name for image in bpy.data.images]
    assert sorted(names) == ["cup.png", "cup.png depth"]
    assert bpy.context.view_layer.objects.active.modifiers[0].texture.image.name == "cup.png depth"
    assert depth_now(bpy) == (0.75, "depth")
    bpy.ops.ed.undo()
    assert depth_now(bpy) == (0.25, "disparity")
    bpy.ops.ed.redo()
    assert depth_now(bpy) == (0.75, "depth")
    expected = ["cup_depth.001.exr", "cup_depth.exr"] if place == "BESIDE" else []
    assert files_in(tmp_path / "lotus_maps") == expected


def test_a_blend_that_was_not_saved_since_shows_the_maps_it_was_saved_with(bpy: Any, tmp_path: Path) -> None:
    preferences(bpy).place = "BESIDE"
    blend = str(tmp_path / "a.blend")
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    open_photo(bpy, tmp_path / "cup.png")
    import_depth(bpy, tmp_path, 0.25)
    bpy.ops.wm.save_mainfile()
    import_depth(bpy, tmp_path, 0.75)
    bpy.ops.wm.open_mainfile(filepath=blend)
    assert depth_now(bpy) == (0.25, "disparity")


def test_two_blends_in_one_folder_have_maps_of_their_own(bpy: Any, tmp_path: Path) -> None:
    preferences(bpy).place = "BESIDE"
    for name, value in (("a", 0.25), ("b", 0.75)):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / f"{name}.blend"))
        open_photo(bpy, tmp_path / "cup.png")
        import_depth(bpy, tmp_path, value)
        bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert depth_now(bpy) == (0.25, "disparity")


@pytest.mark.parametrize("place", ["BESIDE", "PACKED"])
def test_photos_that_differ_in_their_suffix_only_have_maps_of_their_own(bpy: Any, tmp_path: Path, place: str) -> None:
    preferences(bpy).place = place
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    for name, value in (("cup.jpg", 0.25), ("cup.png", 0.75)):
        open_photo(bpy, tmp_path / name).use_fake_user = True
        import_depth(bpy, tmp_path, value)
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert depth_now(bpy, "cup.jpg") == (0.25, "disparity")
    assert depth_now(bpy, "cup.png") == (0.75, "disparity")
    paths = {bpy.data.images[f"{name} depth"].filepath_raw for name in ("cup.jpg", "cup.png")}
    assert paths == {"//lotus_maps/cup_depth.exr", "//lotus_maps/cup_depth.001.exr"}


def tilted(bpy: Any) -> Normals:
    """Normals that a photo of the scene has from now on."""
    normals = Normals.from_vectors(np.random.default_rng(0).normal(size=(*SIZE, 3)) + np.array([0, 0, 1]))
    put(add_photo(bpy, checks(*SIZE)), "normal", normals)
    return normals


def test_a_normal_texture_is_there_when_the_blend_is_opened_again(bpy: Any, tmp_path: Path) -> None:
    tilted(bpy)
    bpy.ops.ed.undo_push(message="before")
    assert bpy.ops.lotus.normal_texture("EXEC_DEFAULT", True, strength=0.5) == {"FINISHED"}
    pixels_of = part("images").pixels_of
    before = pixels_of(bpy.data.images["photo normal texture"])
    assert np.ptp(before[..., 0]) > 0.2
    bpy.ops.ed.undo()
    assert "photo normal texture" not in bpy.data.images
    bpy.ops.ed.redo()
    np.testing.assert_array_equal(pixels_of(bpy.data.images["photo normal texture"]), before)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    texture = bpy.data.images["photo normal texture"]
    np.testing.assert_array_equal(pixels_of(texture), before)
    assert (texture.colorspace_settings.name, texture.is_float) == ("Non-Color", True)


@pytest.mark.parametrize("suffix", [".exr", ".png"])
@pytest.mark.parametrize("convention", ["opengl", "directx"])
def test_exported_normals_are_the_same_when_they_are_imported(
    bpy: Any, tmp_path: Path, suffix: str, convention: str
) -> None:
    normals = tilted(bpy)
    path = str(tmp_path / f"bump{suffix}")
    bpy.ops.lotus.export_map(filepath=path, kind="NORMAL", convention=convention.upper())
    photo = add_photo(bpy, checks(*SIZE), "other")
    bpy.ops.lotus.import_map(filepath=path, kind="NORMAL", convention=convention)
    assert part("images").normals_of(photo).angle_to(normals).max() < 0.01


@pytest.mark.parametrize("suffix", [".exr", ".png"])
def test_exported_depth_keeps_its_holes_when_it_is_imported(bpy: Any, tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    depth = Depth(rng.random(SIZE).astype(np.float32), "depth", rng.random(SIZE) > 0.2)
    put(add_photo(bpy, checks(*SIZE)), "depth", depth)
    path = str(tmp_path / f"holes{suffix}")
    bpy.ops.lotus.export_map(filepath=path, kind="DEPTH")
    photo = add_photo(bpy, checks(*SIZE), "other")
    bpy.ops.lotus.import_map(filepath=path, kind="DEPTH", space="depth")
    found = part("images").depth_of(photo)
    np.testing.assert_array_equal(found.valid, depth.valid)
    assert np.abs(found.values - depth.values).max() <= 1 / 65535


def test_maps_in_lotus_maps_can_be_imported(bpy: Any, tmp_path: Path) -> None:
    preferences(bpy).place = "BESIDE"
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    normals = tilted(bpy)
    photo = bpy.context.scene.lotus.image
    part("attaching").put_map(photo, "normal", normals, place="BESIDE")
    path = bpy.path.abspath(photo.lotus.normal.filepath)
    assert Path(path).parent == tmp_path / "lotus_maps"
    photo = add_photo(bpy, checks(*SIZE), "other")
    bpy.ops.lotus.import_map(filepath=path, kind="NORMAL", convention="opengl")
    assert part("images").normals_of(photo).angle_to(normals).max() < 0.01


def test_a_map_that_the_user_deletes_is_gone_and_can_be_made_again(bpy: Any) -> None:
    photo = add_photo(bpy, checks(*SIZE))
    for value in (0.25, 0.5):
        image = put(photo, "depth", Depth(np.full(SIZE, value, np.float32), "disparity"))
        assert (image.name, image.users) == ("photo depth", 1)
        assert depth_now(bpy, "photo") == (value, "disparity")
    bpy.data.images.remove(image)
    assert photo.lotus.depth is None
    assert set(photo.keys()) <= {"lotus"}  # nothing of ours is seen under Custom Properties
    put(photo, "depth", Depth(np.full(SIZE, 0.75, np.float32), "disparity"))
    assert depth_now(bpy, "photo") == (0.75, "disparity")
