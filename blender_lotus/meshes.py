"""Grids as Blender meshes by array copies only: `from_pydata` and `calc_edges` take ten times as long."""

from __future__ import annotations

import bpy
import numpy as np

from lotus_core.geometry.grid import GridTopology


def fill_grid(mesh: bpy.types.Mesh, positions: np.ndarray, topology: GridTopology, uvs: np.ndarray) -> None:
    """Give an empty mesh the vertices (float32 N×3), quads, edges and texture coordinates (float32 N×2) of a grid."""
    faces = topology.faces
    mesh.vertices.add(len(positions))
    mesh.edges.add(len(topology.edges))
    mesh.loops.add(faces.size)
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 4, dtype=np.int32))
    set_positions(mesh, positions)
    mesh.attributes[".edge_verts"].data.foreach_set("value", np.ascontiguousarray(topology.edges).ravel())
    mesh.attributes[".corner_vert"].data.foreach_set("value", faces.ravel())
    mesh.attributes[".corner_edge"].data.foreach_set("value", topology.corner_edges.ravel())
    add_uvs(mesh, uvs, faces)
    mesh.update()


def fill_faces(mesh: bpy.types.Mesh, positions: np.ndarray, faces: np.ndarray, uvs: np.ndarray) -> None:
    """The same for any triangles or quads (int32 M×3 or M×4), whose edges Blender finds."""
    corners = faces.shape[1]
    mesh.vertices.add(len(positions))
    mesh.loops.add(faces.size)
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, corners, dtype=np.int32))
    set_positions(mesh, positions)
    mesh.attributes[".corner_vert"].data.foreach_set("value", np.ascontiguousarray(faces).ravel())
    mesh.update(calc_edges=True)
    add_uvs(mesh, uvs, faces)


def set_positions(mesh: bpy.types.Mesh, positions: np.ndarray) -> None:
    """New positions (float32 N×3) for all vertices."""
    mesh.attributes["position"].data.foreach_set("vector", np.ascontiguousarray(positions, np.float32).ravel())


def add_uvs(mesh: bpy.types.Mesh, uvs: np.ndarray, faces: np.ndarray) -> None:
    """The layer "UVMap" of texture coordinates of the vertices, float32 N×2."""
    layer = mesh.attributes.new("UVMap", "FLOAT2", "CORNER")
    pairs = np.ascontiguousarray(uvs).view(np.uint64)[:, 0]  # numpy gathers numbers several times as fast as rows
    layer.data.foreach_set("vector", pairs[faces.ravel()].view(np.float32))


def add_float(mesh: bpy.types.Mesh, name: str, values: np.ndarray) -> None:
    """A float attribute on the vertices."""
    attribute = mesh.attributes.new(name, "FLOAT", "POINT")
    attribute.data.foreach_set("value", np.ascontiguousarray(values, np.float32))


def add_normals(mesh: bpy.types.Mesh, normals: np.ndarray) -> None:
    """Custom normals of the vertices, float32 N×3 unit vectors in the mesh's axes."""
    if bpy.app.version >= (5, 0, 0):  # earlier versions ignore the attribute
        attribute = mesh.attributes.new("custom_normal", "FLOAT_VECTOR", "POINT")
        attribute.data.foreach_set("vector", np.ascontiguousarray(normals, np.float32).ravel())
    else:
        mesh.normals_split_custom_set_from_vertices(normals)
