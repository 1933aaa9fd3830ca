"""Colours of vertices look in viewers as they do in the photo."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from lotus_core.geometry import Mesh, save_mesh

VERTICES = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)], np.float32)
FACES = np.array([(0, 1, 2), (1, 3, 2)])
COLOURS = np.array([(128, 128, 128), (1, 2, 3), (255, 0, 64), (20, 21, 22)], np.uint8)
PIXEL_CENTRES = np.array([(0.25, 0.75), (0.75, 0.75), (0.25, 0.25), (0.75, 0.25)], np.float32)  # UVs of 2×2 pixels
KINDS = {"mesh": FACES, "points": np.zeros((0, 3), np.int32)}
READ_IN_BLENDER = """
import json, sys, bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[1])
(thing,) = (each for each in bpy.data.objects if each.type == "MESH")
(colours,) = thing.data.color_attributes
corners = [i if colours.domain == "POINT" else thing.data.loops[i].vertex_index for i in range(len(colours.data))]
places = [list(thing.matrix_world @ thing.data.vertices[i].co) for i in corners]
nodes = [node.bl_idname for node in thing.data.materials[0].node_tree.nodes]
print("found", json.dumps([places, [list(each.color_srgb) for each in colours.data], nodes]))
"""


def coloured(faces: np.ndarray) -> Mesh:
    return Mesh(VERTICES, faces, normals=np.tile(np.float32([0, 0, 1]), (4, 1)), attributes={"color": COLOURS})


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary part of a GLB."""
    data = path.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    return json.loads(data[20 : 20 + length]), data[28 + length :]


@pytest.mark.parametrize("kind", KINDS)
def test_colours_in_glb_are_linear_and_fine_enough_for_dark_tones(tmp_path: Path, kind: str) -> None:
    save_mesh(coloured(KINDS[kind]), tmp_path / "a.glb")
    tree, binary = parts(tmp_path / "a.glb")
    (primitive,) = tree["meshes"][0]["primitives"]
    accessor = tree["accessors"][primitive["attributes"]["COLOR_0"]]
    assert (accessor["componentType"], accessor["type"], accessor["normalized"]) == (5123, "VEC4", True)
    start = tree["bufferViews"][accessor["bufferView"]].get("byteOffset", 0)
    found = np.frombuffer(binary[start : start + 32], "<u2").reshape(4, 4) / 65535
    assert found[0] == pytest.approx([0.2159, 0.2159, 0.2159, 1], abs=1e-4)
    assert found[1, :3] == pytest.approx(np.array([1, 2, 3]) / 255 / 12.92, rel=0.03), "three shades, not one black"
    (material,) = tree["materials"]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
    assert material["pbrMetallicRoughness"]["roughnessFactor"] == 1
    assert material["extensions"] == {"KHR_materials_unlit": {}}
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="Blender as a module is not installed")
def test_blender_shows_the_photos_colours_of_a_glb(tmp_path: Path, kind: str) -> None:
    save_mesh(coloured(KINDS[kind]), tmp_path / "a.glb")
    argv = [sys.executable, "-c", READ_IN_BLENDER, str(tmp_path / "a.glb")]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    (line,) = (line for line in said.splitlines() if line.startswith("found "))
    places, colours, nodes = json.loads(line.removeprefix("found "))
    assert len(places) >= 4
    for place, colour in zip(places, colours, strict=True):
        wanted = COLOURS[np.abs(VERTICES - (place[0], place[2], -place[1])).sum(axis=1).argmin()]  # y up became z up
        assert colour[:3] == pytest.approx(wanted / 255, abs=1 / 255)
    assert "ShaderNodeEmission" in nodes, "unlit"


def test_a_surface_without_colours_is_no_mirror(tmp_path: Path) -> None:
    save_mesh(Mesh(VERTICES, FACES), tmp_path / "a.glb")
    tree, _ = parts(tmp_path / "a.glb")
    assert tree["materials"][0]["pbrMetallicRoughness"] == {"metallicFactor": 0, "roughnessFactor": 1}
    assert "extensionsUsed" not in tree, "without light it would be a white blot"
    assert tree["meshes"][0]["primitives"][0]["material"] == 0


def test_colours_in_ply_are_those_of_the_photo(tmp_path: Path) -> None:
    save_mesh(coloured(FACES), tmp_path / "a.ply")
    assert np.array_equal(trimesh.load(tmp_path / "a.ply", process=False).visual.vertex_colors[:, :3], COLOURS)


@pytest.mark.parametrize(
    ("mesh", "texture"),
    [
        (coloured(KINDS["mesh"]), None),
        (coloured(KINDS["points"]), None),
        (Mesh(VERTICES, KINDS["points"], PIXEL_CENTRES), COLOURS.reshape(2, 2, 3)),
    ],
)
def test_an_obj_has_the_colours_of_vertices_where_no_texture_shows(
    tmp_path: Path, mesh: Mesh, texture: np.ndarray | None
) -> None:
    save_mesh(mesh, tmp_path / "a.obj", texture)
    assert [path.name for path in tmp_path.iterdir()] == ["a.obj"], "no material that says nothing"
    lines = (tmp_path / "a.obj").read_text().splitlines()
    stored = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    assert stored.shape == (4, 6), "x y z r g b"
    assert np.array_equal(stored[:, :3], VERTICES)
    assert np.array_equal(np.rint(stored[:, 3:] * 255), COLOURS)
