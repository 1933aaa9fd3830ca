"""Reliefs rise by the depth, and normal textures light a surface as the normals say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lotus_core.maps import Depth, Normals

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
    from lotus_core.maps import Uncertainty

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
