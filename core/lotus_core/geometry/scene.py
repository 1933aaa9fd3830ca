"""Everything between predicted maps and a file: one call for the command line, ComfyUI and Blender."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LotusError
from ..maps.depth import Depth
from ..maps.normals import Convention, Normals
from ..maps.uncertainty import Uncertainty
from ..progress import Cancel, Progress, Steps
from .baking import detail_between, tangent_map
from .camera import Camera
from .decimate import decimate
from .export import save_mesh
from .grid import MOST_VERTICES, automatic_stride
from .inputs import check_picture
from .mesh import Mesh
from .options import SceneOptions
from .perspective import grid_mesh, point_cloud
from .preview import Shading, render_preview
from .relief import relief_mesh
from .surface import Surface, at_size, build_surface, relief_heights, usable_pixels
from .surface_maps import save_surface_maps
from .writing import write_together

__all__ = ["Scene", "SceneOptions", "Surface", "build_scene", "build_surface", "read_sidecar", "write_sidecar"]
_FORMAT, _VERSION = "lotus-scene", 1
LEAST_DETAIL = 2.0  # degrees of `detail_between` for which a mesh of an automatic stride gets a normal map


@dataclass(frozen=True, eq=False)
class Scene:
    """A mesh with everything that its file needs. camera is None for a relief.

    photo: a copy of the given one; None where the vertices carry "color" instead. surface: of one photo, not for a
    relief; normals: of the photo, at its size. camera_to_world: float64 4×4, where the camera stands; None: at the
    origin.
    """

    mesh: Mesh
    photo: np.ndarray | None
    camera: Camera | None
    normal_map: Normals | None
    options: SceneOptions
    surface: Surface | None = None
    record: dict[str, Any] = field(default_factory=dict)
    camera_to_world: np.ndarray | None = None
    normals: Normals | None = None

    @property
    def z(self) -> np.ndarray | None:
        """float32 H×W, the distances that the mesh was built from."""
        return None if self.surface is None else self.surface.z

    def preview(self, size: int = 768, shading: Shading = "photo") -> np.ndarray:
        """A picture from beside the camera, uint8, longest edge `size`; points become dots. shading: "photo", or grey
        "clay" in light (raises LotusError without faces).
        """
        mesh = self.mesh
        if self.camera_to_world is not None:
            turn, origin = self.camera_to_world[:3, :3], self.camera_to_world[:3, 3]
            normals = None if mesh.normals is None else mesh.normals @ turn
            mesh = replace(mesh, vertices=(mesh.vertices - origin) @ turn, normals=normals)
        return render_preview(mesh, self.photo, self.camera, size=size, shading=shading)

    def save(self, path: str | os.PathLike[str], **record: Any) -> list[Path]:
        """Write .glb, .ply or .obj and `<stem>.scene.json` beside it; returns the paths. `record` is added to the
        JSON. Raises LotusError; files that were there then stay, all of them.
        """
        path = Path(path)
        encoded = None if self.normal_map is None else self.normal_map.preview("opengl")
        pose = self.camera_to_world
        sidecar = sidecar_path(path)
        beside = {sidecar: _sidecar({**self.record, **record, "mesh": path.name})}
        save_mesh(self.mesh, path, self.photo, self.camera, normal_map=encoded, camera_to_world=pose, beside=beside)
        return [path, sidecar]

    def save_maps(self, folder: str | os.PathLike[str], stem: str, convention: Convention = "opengl") -> list[Path]:
        """Distance, curvature and occlusion as EXR, normals as PNG: see `save_surface_maps`. Raises LotusError for a
        relief and for several photos.
        """
        if self.surface is None:
            raise LotusError("Maps of the surface are of one photo in perspective; save the mesh without them.")
        return save_surface_maps(self.surface, folder, stem, self.normals, self.normal_map, convention)


def build_scene(
    depth: Depth,
    photo: np.ndarray,
    normals: Normals | None = None,
    uncertainty: Uncertainty | None = None,
    options: SceneOptions | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Scene:
    """From the maps of one photo to a textured mesh, relief or point cloud.

    photo: uint8 H×W×3; maps of another size are resized to it. normals: sharpen the depth (`refine`), and become a
    tangent-space map of what a lighter mesh lacks, where `stride` or `target_faces` asks for one, or the photo is too
    large for a vertex on every pixel and the normals are finer than its grid (`detail_between`). uncertainty: of the
    depth; weights the fusion, cuts (`max_std`), steers smoothing, and becomes the vertex attribute "uncertainty".
    The scene's options hold the stride that was chosen where the given ones leave it open. progress is told and cancel
    polled before each stage: the surface, the mesh, its reduction, the normal map.
    Raises LotusError: another photo, options that need a map which is not there, nothing left to mesh. Cancelled.
    """
    options = SceneOptions() if options is None else options
    check_picture(photo)
    photo = photo.copy()  # the scene is saved later, when the caller may have written over it
    asked = options.target_faces is not None or (options.stride is not None and options.stride > 1)
    stride = _stride(photo, options)
    options = replace(options, stride=stride)
    depth, normals, uncertainty = at_size((photo.shape[0], photo.shape[1]), depth, normals, uncertainty)
    std = None if uncertainty is None else uncertainty.std
    steps = Steps(2 + (options.target_faces is not None) + (normals is not None), progress, cancel)
    steps.begin("surface")
    if options.mode == "relief":
        return _relief(steps, depth, normals, photo, usable_pixels(depth, uncertainty, options, normals), std, options)
    surface = build_surface(depth, normals, uncertainty, options, photo)
    z, valid, camera = surface.z, surface.valid, surface.camera
    steps.begin("mesh")
    full_normals = None if normals is None else normals.to("opengl").values
    if options.mode == "points":
        mesh = point_cloud(z, camera, valid, stride=stride, photo=photo, normals=full_normals)
    else:
        mesh = grid_mesh(
            z,
            camera,
            valid,
            options.cut,
            stride=stride,
            quads=options.quads and options.target_faces is None,
            min_faces=options.min_faces,
        )
    mesh = _with_uncertainty(mesh, std)
    normal_map = None
    if len(mesh.faces):
        if options.target_faces is not None:
            steps.begin("fewer faces")
            mesh = decimate(mesh, options.target_faces, camera)
        mesh = mesh.with_normals()
        # Mostly the network saw less than an automatic grid holds, and a normal map would add nothing.
        if normals is not None and (asked or (stride > 1 and detail_between(normals, stride) > LEAST_DETAIL)):
            steps.begin("normal map")
            normal_map = tangent_map(mesh, normals, camera)
    steps.finish("mesh")
    distances = -mesh.vertices[:, 2]
    record = {
        "camera": camera.to_dict(),
        "far": surface.far,
        "nearest": float(distances.min()),
        "farthest": float(distances.max()),
        "calibration": surface.calibration,
        "scale": surface.scale,
        "space": depth.space,
        "conventions": {
            "axes": "x right, y up, -z forward; the camera at the origin",
            "uv": "pixel centre (i, j) at ((i + 0.5) / W, 1 - (j + 0.5) / H)",
            "distance": f"along the optical axis, {_unit(surface, options)}",
            "normal map": "tangent space, OpenGL (green up)" if normal_map is not None else None,
        },
        "options": asdict(options),
    }
    return Scene(mesh, photo, camera, normal_map, options, surface, record, normals=normals)


def sidecar_path(mesh: str | os.PathLike[str]) -> Path:
    """Where the JSON of a mesh file lies."""
    return Path(mesh).with_name(f"{Path(mesh).stem}.scene.json")


def write_sidecar(path: str | os.PathLike[str], record: dict[str, Any]) -> None:
    """Write a scene's JSON, atomically; an infinite cut among its options is null, as JSON has no infinity."""
    write_together({Path(path): _sidecar(record)})


def _sidecar(record: dict[str, Any]) -> bytes:
    options = record.get("options")
    if isinstance(options, dict) and options.get("cut") == float("inf"):
        record = {**record, "options": {**options, "cut": None}}
    text = json.dumps({"format": _FORMAT, "version": _VERSION, **record}, indent=1, default=str)
    return f"{text}\n".encode()


def read_sidecar(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a scene's JSON; the entry "camera", where there is one, is a `Camera`. Raises LotusError."""
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LotusError(f"{path} does not exist; check the name.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise LotusError(f"{path} is not a readable JSON file; save the scene again.") from error
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise LotusError(f"{path} is not the JSON of a Lotus scene; choose the file that ends in .scene.json.")
    if record.get("camera") is not None:
        record["camera"] = Camera.from_dict(record["camera"])
    return record


def _unit(surface: Surface, options: SceneOptions) -> str:
    if options.known_length is not None:
        return "metres"
    if options.shape == "normals":
        return "the nearest point at 1; no metres"
    return f"no metres: 1 where the depth map is at its near end, {surface.far:g} where it is at its far end"


def _stride(photo: np.ndarray, options: SceneOptions) -> int:
    if options.stride is not None:
        return options.stride
    return automatic_stride(photo.shape[0], photo.shape[1], max(MOST_VERTICES, options.target_faces or 0))


def _relief(
    steps: Steps,
    depth: Depth,
    normals: Normals | None,
    photo: np.ndarray,
    valid: np.ndarray,
    std: np.ndarray | None,
    options: SceneOptions,
) -> Scene:
    heights = relief_heights(depth, normals, valid, options)
    steps.begin("mesh")
    mesh = relief_mesh(
        heights,
        width_mm=options.width_mm,
        relief_mm=options.relief_mm,
        base_mm=options.base_mm,
        valid=None if valid.all() else valid,
        stride=_stride(photo, options),
    )
    mesh = _with_uncertainty(mesh, std)
    if options.target_faces is not None:
        steps.begin("fewer faces")
        mesh = decimate(mesh, options.target_faces)
    steps.finish("mesh")
    record = {
        "camera": None,
        "space": depth.space,
        "conventions": {"axes": "x right, y up, z toward the viewer; millimetres"},
        "options": asdict(options),
    }
    return Scene(mesh.with_normals(), photo, None, None, options, None, record)


def _with_uncertainty(mesh: Mesh, std: np.ndarray | None) -> Mesh:
    if std is not None:
        pixel = mesh.attributes["pixel"]
        mesh.attributes["uncertainty"] = np.where(pixel >= 0, std.ravel()[np.maximum(pixel, 0)], 0).astype(np.float32)
    return mesh
