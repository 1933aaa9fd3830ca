"""From the core's Scene to what ComfyUI's 3D nodes take, in the versions that we support."""

from __future__ import annotations

import io as python_io
import tempfile
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import folder_paths
import numpy as np
import torch
from comfy_api import latest
from comfy_api.latest import io

if TYPE_CHECKING:
    from lotus_core.geometry import Scene

TYPES = getattr(latest, "Types", None)  # the classes of MESH and FILE_3D_GLB values, which came after 0.3.64
FILES_AS_VALUES = hasattr(TYPES, "File3D")

MeshType = io.Custom("MESH")
# Before there were files as values, Preview 3D took the path of one, as its widget still does.
GlbType = io.Custom("FILE_3D_GLB" if FILES_AS_VALUES else "STRING")
CameraType = io.Custom("LOAD3D_CAMERA")

# A relief's larger side then fills four fifths of a square view.
_RELIEF_DISTANCE, _RELIEF_FOV = 1.5, 45.0  # in larger sides, from its highest point; degrees, vertical


def mesh_value(scene: Scene) -> Any:
    """ComfyUI's MESH: a batch of one, texture coordinates with v down as glTF has them."""
    mesh = scene.mesh
    vertices = torch.from_numpy(mesh.vertices)[None]
    faces = torch.from_numpy(mesh.triangles().astype(np.int64))[None]
    kind: Any = getattr(TYPES, "MESH", SimpleNamespace)
    value = kind(vertices=vertices, faces=faces)
    if mesh.uvs is not None and scene.photo is not None:
        down = np.stack([mesh.uvs[:, 0], 1 - mesh.uvs[:, 1]], axis=1).astype(np.float32)
        value.uvs = torch.from_numpy(down)[None]  # not as arguments: early versions have none for them
        value.texture = torch.from_numpy(scene.photo.astype(np.float32) / 255)[None]
    return value


def glb_file(scene: Scene) -> Any:
    """A GLB file as FILE_3D_GLB; for early versions in the output folder, by its path there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.glb"
        scene.save(path)
        content = path.read_bytes()
    if FILES_AS_VALUES:
        return TYPES.File3D(python_io.BytesIO(content), "glb")  # type: ignore[union-attr]
    name = f"preview3d_{uuid.uuid4().hex}.glb"  # as later versions' Preview 3D calls it
    (Path(folder_paths.get_output_directory()) / name).write_bytes(content)
    return name


def camera_info(scene: Scene) -> dict[str, Any]:
    """Preview 3D's camera_info: where the photo was taken from, at the origin, looking along −z; for a relief a place
    in front of its middle.
    """
    low, high = scene.mesh.vertices.min(axis=0), scene.mesh.vertices.max(axis=0)
    x, y, z = (low + high) / 2
    if scene.camera is None:
        away = _RELIEF_DISTANCE * (high - low)[:2].max()
        position, target, fov = (x, y, high[2] + away), (x, y, z), _RELIEF_FOV
    else:
        position, target, fov = (0, 0, 0), (0, 0, z), scene.camera.vertical_fov_deg
    return {
        "position": dict(zip("xyz", map(float, position), strict=True)),
        "target": dict(zip("xyz", map(float, target), strict=True)),
        "zoom": 1,
        "cameraType": "perspective",
        "fov": float(fov),
    }
