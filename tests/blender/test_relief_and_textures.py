"""Reliefs rise by the depth, and normal textures light a surface as the normals say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotus_core.maps import Depth, Normals, Uncertainty

from .scenes import add_photo, checks, hills, part, positions, put


def evaluated(bpy: Any, obj: Any) -> np.ndarray:
    return positions(obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).data)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (33, 101)])
@pytest.mark.parametrize("space", ["disparity", "depth"])
def test_the_height_is_the_depth(bpy: Any, height: int, width: int, space: str) -> None:
    values = np.random.default_rng(3).random((height, width)).astype(np.float32)
    photo = add_photo(bpy, checks(height, width))
    put(photo, "depth", Depth(values, space))  # type: ignore[arg-type]
    assert bpy.ops.lotus.relief(strength=1.0, size=2.0) == {"FINISHED"}
    obj = bpy.context.view_layer.objects.active
    near = values if space == "disparity" else 1 - values
    points = evaluated(bpy, obj)
    assert np.abs(points[:, 2].reshape(height, width) - near).max() <= 1e-6
    assert np.ptp(points[:, 0]) == pytest.approx(2.0 * (width - 1) / max(width, height), rel=1e-5)
    obj.modifiers["Lotus relief"].strength *= 0.5
    assert np.abs(evaluated(bpy, obj)[:, 2].reshape(height, width) - near / 2).max() <= 1e-6


def test_a_solid_relief_is_closed_and_flat_behind(bpy: Any) -> None:
    values = hills(32, 40)
    photo = add_photo(bpy, checks(32, 40))
    put(photo, "depth", Depth(values, "disparity"))
    assert bpy.ops.lotus.relief(use_base=True, base=0.25, strength=0.5) == {"FINISHED"}
    obj = bpy.context.view_layer.objects.active
    points = evaluated(bpy, obj)
    back = points[points[:, 2] < -0.2]
    assert np.abs(back[:, 2] + 0.25).max() < 1e-6
    front = points[: 32 * 40]
    assert np.abs(front[:, 2].reshape(32, 40) - 0.5 * values).max() <= 1e-6
    edges = np.empty(len(obj.data.edges) * 2, np.int32)
    obj.data.edges.foreach_get("vertices", edges)
    uses = np.zeros(len(obj.data.edges), int)
    for polygon in obj.data.polygons:
        for key in polygon.loop_indices:
            uses[obj.data.loops[key].edge_index] += 1
    assert (uses == 2).all()
    assert not obj.data.validate()


def heights(bpy: Any, obj: Any, height: int, width: int) -> np.ndarray:
    return evaluated(bpy, obj)[: height * width, 2].reshape(height, width)


@pytest.mark.parametrize("first", ["disparity", "depth"])
@pytest.mark.parametrize("second", ["disparity", "depth"])
@pytest.mark.parametrize("use_base", [False, True])
def test_a_relief_follows_the_next_prediction(bpy: Any, first: str, second: str, use_base: bool) -> None:
    """Of another model, whose numbers may run the other way; the height that the user chose since then stays."""
    photo = add_photo(bpy, checks(24, 32))
    nearness = np.random.default_rng(0).random((2, 24, 32)).astype(np.float32)

    def near(number: int, space: str) -> Depth:
        values = nearness[number]
        return Depth(values if space == "disparity" else 1 - values, space)  # type: ignore[arg-type]

    put(photo, "depth", near(0, first))
    assert bpy.ops.lotus.relief(strength=0.3, use_base=use_base) == {"FINISHED"}
    obj = bpy.context.view_layer.objects.active
    obj.modifiers["Lotus relief"].strength *= 2
    assert np.abs(heights(bpy, obj, 24, 32) - 0.6 * nearness[0]).max() <= 1e-6
    put(photo, "depth", near(1, second))
    assert np.abs(heights(bpy, obj, 24, 32) - 0.6 * nearness[1]).max() <= 1e-6
    put(photo, "depth", near(0, first))
    assert np.abs(heights(bpy, obj, 24, 32) - 0.6 * nearness[0]).max() <= 1e-6


@pytest.mark.parametrize("suffix", [".exr", ".png"])
@pytest.mark.parametrize("space", ["disparity", "depth"])
def test_what_is_masked_lies_at_the_far_end(bpy: Any, space: str, suffix: str) -> None:
    photo = add_photo(bpy, checks(24, 32))
    valid = np.ones((24, 32), bool)
    valid[:6] = False
    values = np.full((24, 32), 0.5, np.float32)
    part("attaching").put_map(photo, "depth", Depth(values, space, valid), suffix=suffix)  # type: ignore[arg-type]
    assert bpy.ops.lotus.relief(strength=1.0) == {"FINISHED"}
    found = heights(bpy, bpy.context.view_layer.objects.active, 24, 32)
    assert np.abs(found - 0.5 * valid).max() <= 1e-4


def test_a_smaller_uncertainty_map_is_stored_on_the_vertices(bpy: Any) -> None:
    photo = add_photo(bpy, checks(24, 32))
    put(photo, "depth", Depth(hills(24, 32), "disparity"))
    put(photo, "uncertainty", Uncertainty(np.full((12, 16), 0.25, np.float32), None, 8, "depth"))
    assert bpy.ops.lotus.relief() == {"FINISHED"}
    found = np.empty(24 * 32, np.float32)
    mesh = bpy.context.view_layer.objects.active.data
    mesh.attributes["uncertainty"].data.foreach_get("value", found)
    np.testing.assert_allclose(found, 0.25)


@pytest.mark.parametrize("options", [{}, {"use_base": True}])
def test_a_relief_keeps_the_face_budget_and_says_so(
    bpy: Any, capfd: pytest.CaptureFixture[str], options: dict[str, Any]
) -> None:
    photo = add_photo(bpy, checks(48, 64))
    put(photo, "depth", Depth(hills(48, 64), "disparity"))
    assert bpy.ops.lotus.relief(max_faces=1000, **options) == {"FINISHED"}
    assert "faces, with a step of 2 for the face budget" in capfd.readouterr().out
    quads = 24 * 32
    points = evaluated(bpy, bpy.context.view_layer.objects.active)
    assert int((points[:, 2] >= 0).sum()) == quads + 24 + 32 + 1
    assert bpy.ops.lotus.relief(max_faces=0, **options) == {"FINISHED"}
    assert "step" not in capfd.readouterr().out
    assert int((evaluated(bpy, bpy.context.view_layer.objects.active)[:, 2] >= 0).sum()) == 48 * 64


def test_a_step_from_a_larger_photo_still_makes_a_relief(bpy: Any) -> None:
    photo = add_photo(bpy, checks(24, 32))
    put(photo, "depth", Depth(hills(24, 32), "disparity"))
    assert bpy.ops.lotus.relief(stride=100) == {"FINISHED"}
    assert len(bpy.context.view_layer.objects.active.data.polygons) == 1


@pytest.mark.parametrize("axis", [0, 1])
def test_normal_axes_are_right(bpy: Any, axis: int) -> None:
    """Leaning to the right is red in the texture, leaning up is green; the model's x points left."""
    photo = add_photo(bpy, checks(16, 16))
    lotus = np.zeros((16, 16, 3), np.float32)
    lotus[..., 2] = 0.8
    lotus[..., axis] = -0.6 if axis == 0 else 0.6  # x left: −0.6 is to the right
    put(photo, "normal", Normals(lotus, "lotus"))
    assert bpy.ops.lotus.normal_texture() == {"FINISHED"}
    texture = bpy.data.images["photo normal texture"]
    assert texture.colorspace_settings.name == "Non-Color"
    assert texture.is_float
    expected = np.full(3, 0.5)
    expected[axis], expected[2] = 0.8, 0.9
    np.testing.assert_allclose(part("images").pixels_of(texture)[4, 4, :3], expected, atol=1e-6)
    assert bpy.ops.lotus.normal_texture(convention="DIRECTX") == {"FINISHED"}
    directx = part("images").pixels_of(bpy.data.images["photo normal texture.001"])[4, 4, :3]
    expected[1] = 1 - expected[1]
    np.testing.assert_allclose(directx, expected, atol=1e-6)


def test_rows_are_not_turned_upside_down(bpy: Any) -> None:
    photo = add_photo(bpy, checks(16, 24))
    values = np.zeros((16, 24), np.float32)
    values[:4] = 1
    image = put(photo, "depth", Depth(values, "disparity"))
    flat = np.empty(16 * 24 * 4, np.float32)
    image.pixels.foreach_get(flat)
    assert flat.reshape(16, 24, 4)[-4:, :, 0].min() == 1  # Blender's last rows are the top
    assert flat.reshape(16, 24, 4)[:-4, :, 0].max() == 0


def test_maps_come_back_from_images_as_they_were(bpy: Any) -> None:
    rng = np.random.default_rng(1)
    photo = add_photo(bpy, checks(16, 24))
    valid = rng.random((16, 24)) > 0.3
    depth = Depth(rng.random((16, 24)).astype(np.float32), "depth", valid)
    normals = Normals.from_vectors(rng.normal(size=(16, 24, 3)) + np.array([0, 0, 1]))
    put(photo, "depth", depth)
    put(photo, "normal", normals)
    images = part("images")
    back = images.depth_of(photo)
    np.testing.assert_array_equal(back.values, depth.values)
    np.testing.assert_array_equal(back.valid, valid)
    assert back.space == "depth"
    assert images.normals_of(photo).angle_to(normals).max() < 1e-4


@pytest.mark.parametrize(("suffix", "bits"), [(".exr", 0.0), (".png", 0.51 / 65535)])
def test_exported_maps_hold_the_numbers(bpy: Any, tmp_path: Path, suffix: str, bits: float) -> None:
    rng = np.random.default_rng(1)
    photo = add_photo(bpy, checks(16, 24))
    depth = Depth(rng.random((16, 24)).astype(np.float32), "disparity")
    put(photo, "depth", depth)
    path = tmp_path / f"döpth map{suffix}"
    assert bpy.ops.lotus.export_map(filepath=str(path), kind="DEPTH") == {"FINISHED"}
    found = Depth.load(path, "disparity")
    assert np.abs(found.values - depth.values).max() <= bits
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_material_uses_photo_normals_and_uncertainty(bpy: Any) -> None:
    photo = add_photo(bpy, checks(16, 24))
    put(photo, "normal", Normals.from_vectors(np.ones((16, 24, 3), np.float32)))
    put(photo, "uncertainty", Uncertainty(np.full((16, 24), 0.1, np.float32), None, 8, "depth"))
    bpy.ops.mesh.primitive_plane_add()
    obj = bpy.context.object
    assert bpy.ops.lotus.material(use_roughness=True) == {"FINISHED"}
    nodes = obj.data.materials[0].node_tree.nodes
    used = {node.image.name for node in nodes if node.type == "TEX_IMAGE"}
    assert used == {"photo", "photo normal", "photo uncertainty"}
    shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    assert all(shader.inputs[name].is_linked for name in ("Base Color", "Normal", "Roughness"))


def test_a_material_without_the_uncertainty_that_was_asked_for_is_made_with_a_warning(
    bpy: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """Blender remembers the option from another photo, and a failed operator would show no panel to untick it."""
    add_photo(bpy, checks(16, 24))
    bpy.ops.mesh.primitive_plane_add()
    obj = bpy.context.object
    assert bpy.ops.lotus.material(use_roughness=True) == {"FINISHED"}
    assert "Warning: The roughness is the same everywhere, since photo has no unc" in capfd.readouterr().out
    shader = next(node for node in obj.data.materials[0].node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    assert not shader.inputs["Roughness"].is_linked


@pytest.mark.parametrize("name", ["normal_texture", "export_map", "import_map"])
def test_files_and_textures_are_made_in_texture_paint_mode_too(bpy: Any, tmp_path: Path, name: str) -> None:
    photo = add_photo(bpy, checks(16, 24))
    put(photo, "depth", Depth(hills(16, 24), "disparity"))
    put(photo, "normal", Normals.from_vectors(np.ones((16, 24, 3), np.float32)))
    Depth(hills(16, 24), "disparity").save(tmp_path / "d.exr")
    bpy.ops.mesh.primitive_plane_add()
    bpy.ops.object.mode_set(mode="TEXTURE_PAINT")
    try:
        assert bpy.context.mode == "PAINT_TEXTURE"
        files = {"export_map": "out.exr", "import_map": "d.exr"}
        options = {"filepath": str(tmp_path / files[name])} if name in files else {}
        assert getattr(bpy.ops.lotus, name)(**options) == {"FINISHED"}
        with pytest.raises(RuntimeError, match=r"Switch from Texture Paint to Object Mode first"):
            bpy.ops.lotus.relief()
    finally:
        bpy.ops.object.mode_set(mode="OBJECT")
