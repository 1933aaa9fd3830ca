"""Undo takes away exactly what an operator made, redo brings it back, and adjusting does not predict again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lotus_core.maps import Depth, Normals, Uncertainty

from .scenes import add_photo, checks, hills, part, positions, put

Made = dict[str, Any]
BUILDS: list[tuple[str, Made]] = [
    ("scene_mesh", {"normals": True, "uncertainty_cut": 5.0}),
    ("scene_mesh", {"match_render": False, "stride": 2, "min_faces": 0}),
    ("relief", {}),
    ("relief", {"use_base": True}),
    ("normal_texture", {"convention": "DIRECTX"}),
    ("material", {"use_roughness": True}),
]


def everything(bpy: Any) -> Made:
    """All datablocks by name, and what operators change of others."""
    found: Made = {}
    for name in dir(bpy.data):
        collection = getattr(bpy.data, name)
        if type(collection).__name__ == "bpy_prop_collection" and name not in {"window_managers", "screens"}:
            found[name] = sorted(block.name for block in collection)
    scene = bpy.context.scene
    found["camera"] = scene.camera and scene.camera.name
    found["render"] = (scene.render.resolution_x, scene.render.resolution_y, scene.render.filter_size)
    found["view"] = (scene.view_settings.view_transform, scene.view_settings.exposure)
    found["active"] = bpy.context.view_layer.objects.active and bpy.context.view_layer.objects.active.name
    found["materials of"] = {obj.name: [slot.name for slot in obj.material_slots] for obj in bpy.data.objects}
    return found


@pytest.fixture
def photo(bpy: Any) -> Any:
    """With all maps, a plane selected, and an undo step to come back to."""
    photo = add_photo(bpy, checks(24, 32))
    put(photo, "depth", Depth(hills(24, 32), "disparity"))
    put(photo, "normal", Normals.from_vectors(np.ones((24, 32, 3), np.float32)))
    put(
        photo,
        "uncertainty",
        Uncertainty(np.random.default_rng(0).random((24, 32)).astype(np.float32), None, 8, "depth"),
    )
    bpy.ops.mesh.primitive_plane_add()
    bpy.ops.ed.undo_push(message="before")  # in a window every click is such a step
    return photo


@pytest.mark.parametrize(("name", "options"), BUILDS)
def test_undo_and_redo(bpy: Any, photo: Any, name: str, options: Made) -> None:
    before = everything(bpy)
    assert getattr(bpy.ops.lotus, name)("EXEC_DEFAULT", True, **options) == {"FINISHED"}
    after = everything(bpy)
    assert after != before
    shape = [positions(mesh) for mesh in bpy.data.meshes]
    bpy.ops.ed.undo()
    assert everything(bpy) == before
    bpy.ops.ed.redo()
    assert everything(bpy) == after
    for mesh, points in zip(bpy.data.meshes, shape, strict=True):
        np.testing.assert_array_equal(positions(mesh), points)


@pytest.mark.parametrize(("name", "first", "second"), [
    ("scene_mesh", {"far": 10.0}, {"far": 3.0}),
    ("scene_mesh", {"use_cut": True}, {"use_cut": False}),
    ("relief", {"size": 2.0}, {"size": 5.0}),
])  # fmt: skip
def test_adjusting_makes_it_anew_without_predicting(
    bpy: Any, photo: Any, monkeypatch: pytest.MonkeyPatch, name: str, first: Made, second: Made
) -> None:
    """What Adjust Last Operation does: undo, then the same operator with other values."""

    def never(*_: object) -> None:
        raise AssertionError("no prediction is needed")

    monkeypatch.setattr(part("jobs").Jobs, "backend", never)
    operator: Callable[..., set[str]] = getattr(bpy.ops.lotus, name)
    operator("EXEC_DEFAULT", True, **first)
    made = everything(bpy)
    points = positions(bpy.context.view_layer.objects.active.data)
    bpy.ops.ed.undo()
    operator("EXEC_DEFAULT", True, **second)
    again = everything(bpy)
    assert {key: value for key, value in made.items() if key != "render"} == {
        key: value for key, value in again.items() if key != "render"
    }
    other = positions(bpy.context.view_layer.objects.active.data)
    assert points.shape != other.shape or np.abs(points - other).max() > 0.01


def test_maps_survive_undo(bpy: Any, photo: Any) -> None:
    depth = part("images").depth_of(photo).values
    bpy.ops.lotus.scene_mesh("EXEC_DEFAULT", True)
    bpy.ops.ed.undo()
    np.testing.assert_array_equal(part("images").depth_of(bpy.context.scene.lotus.image).values, depth)


def test_what_would_change_the_render_is_reset_and_comes_back(bpy: Any, photo: Any) -> None:
    scene = bpy.context.scene

    def state() -> Made:
        render, view = bpy.context.scene.render, bpy.context.scene.view_settings
        names = ("use_border", "use_crop_to_border"), ("use_curve_mapping", "use_white_balance", "exposure", "gamma")
        return {
            name: getattr(owner, name) for owner, own in zip((render, view), names, strict=True) for name in own
            if hasattr(owner, name)
        }  # fmt: skip

    neutral = state()
    scene.render.use_border = scene.render.use_crop_to_border = True
    scene.view_settings.use_curve_mapping = True
    scene.view_settings.exposure = 2
    if hasattr(scene.view_settings, "use_white_balance"):
        scene.view_settings.use_white_balance = True
    bpy.ops.ed.undo_push(message="changed")
    changed = state()
    assert changed != neutral
    assert bpy.ops.lotus.scene_mesh("EXEC_DEFAULT", True) == {"FINISHED"}
    assert state() == neutral
    bpy.ops.ed.undo()
    assert state() == changed
