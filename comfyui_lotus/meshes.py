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
    """Where the photo was taken from, as Preview 3D's camera_info: at the origin, looking along −z."""
    vertices = scene.mesh.vertices
    centre = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    info: dict[str, Any] = {
        "position": {"x": 0.0, "y": 0.0, "z": 0.0},
        "target": {"x": 0.0, "y": 0.0, "z": float(centre[2])},
        "zoom": 1,
        "cameraType": "perspective",
    }
    if scene.camera is not None:
        info["fov"] = scene.camera.vertical_fov_deg
    return info
