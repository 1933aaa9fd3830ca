"""Everything between predicted maps and a file: one call for the command line, ComfyUI and Blender."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import LotusError
from ..files import atomic_path
from ..maps.depth import DEFAULT_FAR, DEFAULT_NEAR, Depth
from ..maps.normals import Normals
from ..maps.uncertainty import Uncertainty
from .alignment import metric_scale
from .baking import tangent_map
from .calibration import calibrate
from .camera import Camera
from .decimate import decimate
from .edges import sharpen_edges
from .export import save_mesh
from .fusion import fuse_normals, smooth_depth, uncertainty_weight
from .grid import DEFAULT_CUT, fill_holes
from .mesh import Mesh
from .perspective import grid_mesh, point_cloud
from .preview import render_preview
from .relief import relief_mesh

Mode = Literal["perspective", "relief", "points"]
_FORMAT, _VERSION = "lotus-scene", 1


@dataclass(frozen=True)
class SceneOptions:
    """How to build a scene. The defaults are what `lotus mesh` does without options."""

    mode: Mode = "perspective"
    fov_deg: float | None = None  # horizontal; None: from focal_35mm, else 55° along the longer side
    focal_35mm: float | None = None  # from EXIF
    far: float | None = DEFAULT_FAR  # of the farthest point, the nearest being 1; None: from the normals
    known_length: tuple[float, float, float, float, float] | None = None  # pixels x, y, x, y and the metres between
    cut: float = DEFAULT_CUT  # relative jump of depth at which the surface tears
    stride: int = 1
    quads: bool = False
    min_faces: int = 64  # smaller islands are dropped
    fill_holes: int = 0  # pixels: larger holes stay open
    sky: float | None = None  # nearness (0 far … 1 near) below which a pixel is sky and is removed
    max_std: float | None = None  # of the depth; less certain pixels are removed
    refine: bool = True  # sharpen soft edges, and let the normals sharpen the surface
    smooth_px: float = 0.0  # smoothing where the depth is uncertain
    target_faces: int | None = None
    width_mm: float = 100.0  # relief
    relief_mm: float = 10.0  # relief
    base_mm: float | None = None  # relief: a closed solid with a base of this thickness


@dataclass(frozen=True, eq=False)
class Scene:
    """A mesh with everything that its file needs. camera is None for a relief.

    photo is None where the vertices carry "color" instead. camera_to_world: float64 4×4, where the camera stands; None:
    at the origin.
    """

    mesh: Mesh
    photo: np.ndarray | None
    camera: Camera | None
    normal_map: Normals | None
    options: SceneOptions
    z: np.ndarray | None = None  # float32 H×W, the distances that the mesh was built from
    record: dict[str, Any] = field(default_factory=dict)
    camera_to_world: np.ndarray | None = None

    def preview(self, size: int = 768) -> np.ndarray:
        """A picture from beside the camera, uint8, longest edge `size`; points become dots."""
        mesh = self.mesh
        if self.camera_to_world is not None:
            turn, origin = self.camera_to_world[:3, :3], self.camera_to_world[:3, 3]
            normals = None if mesh.normals is None else mesh.normals @ turn
            mesh = replace(mesh, vertices=(mesh.vertices - origin) @ turn, normals=normals)
        return render_preview(mesh, self.photo, self.camera, size=size)

    def save(self, path: str | os.PathLike[str], **record: Any) -> list[Path]:
        """Write .glb, .ply or .obj and `<stem>.scene.json` beside it; returns the paths. `record` is added to the
        JSON.
        """
        path = Path(path)
        encoded = None if self.normal_map is None else self.normal_map.preview("opengl")
        save_mesh(self.mesh, path, self.photo, self.camera, normal_map=encoded, camera_to_world=self.camera_to_world)
        beside = path.with_name(f"{path.stem}.scene.json")
        write_sidecar(beside, {**self.record, **record, "mesh": path.name})
        return [path, beside]


def build_scene(
    depth: Depth,
    photo: np.ndarray,
    normals: Normals | None = None,
    uncertainty: Uncertainty | None = None,
    options: SceneOptions | None = None,
) -> Scene:
    """From the maps of one photo to a textured mesh, relief or point cloud.

    photo: uint8 H×W×3; maps of another size are resized to it. normals: sharpen the depth (`refine`), and become a
    tangent-space map of what a lighter mesh (`stride`, `target_faces`) lacks. uncertainty: of the depth; weights the
    fusion, cuts (`max_std`), steers smoothing, and becomes the vertex attribute "uncertainty".
    Raises LotusError: impossible options, nothing left to mesh.
    """
    options = SceneOptions() if options is None else options
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise LotusError(f"The photo must be uint8 height×width×3; it is {photo.dtype} {photo.shape}.")
    depth, normals, uncertainty = _at_size((photo.shape[0], photo.shape[1]), depth, normals, uncertainty)
    std = None if uncertainty is None else uncertainty.std
    if options.mode == "relief":
        return _relief(depth, photo, usable_pixels(depth, uncertainty, options), std, options)
    surface = build_surface(depth, normals, uncertainty, options, photo)
    z, valid, camera = surface.z, surface.valid, surface.camera
    full_normals = None if normals is None else normals.to("opengl").values
    if options.mode == "points":
        mesh = point_cloud(z, camera, valid, stride=options.stride, photo=photo, normals=full_normals)
    elif options.mode == "perspective":
        mesh = grid_mesh(
            z,
            camera,
            valid,
            options.cut,
            stride=options.stride,
            quads=options.quads and options.target_faces is None,
            min_faces=options.min_faces,
        )
    else:
        raise LotusError(f"There is no mode {options.mode!r}; it is 'perspective', 'relief' or 'points'.")
    mesh = _with_uncertainty(mesh, std)
    normal_map = None
    if len(mesh.faces):
        if options.target_faces is not None:
            mesh = decimate(mesh, options.target_faces, camera)
        mesh = mesh.with_normals()
        if normals is not None and (options.target_faces is not None or options.stride > 1):
            normal_map = tangent_map(mesh, normals, camera)
    record = {
        "camera": camera.to_dict(),
        "far": surface.far,
        "calibration": surface.calibration,
        "scale": surface.scale,
        "space": depth.space,
        "conventions": {
            "axes": "x right, y up, -z forward; the camera at the origin",
            "uv": "pixel centre (i, j) at ((i + 0.5) / W, 1 - (j + 0.5) / H)",
            "distance": "along the optical axis, "
            + ("the nearest point at 1; no metres" if options.known_length is None else "metres"),
            "normal map": "tangent space, OpenGL (green up)" if normal_map is not None else None,
        },
        "options": asdict(options),
    }
    return Scene(mesh, photo, camera, normal_map, options, z, record)


@dataclass(frozen=True, eq=False)
class Surface:
    """What a photo's maps say about the distances: everything that comes before a mesh.

    z: float32 H×W, along the optical axis; valid: bool H×W, what has a distance; far: of the farthest point, the
    nearest being 1; scale: metres for that 1 where a known length was given, else 1; calibration: where the far
    distance was to be found from the normals, the degrees that are left ("error_deg"), or why the default was taken
    instead ("failed").
    """

    z: np.ndarray
    valid: np.ndarray
    camera: Camera
    far: float
    scale: float
    calibration: dict[str, Any] | None = None


def build_surface(
    depth: Depth,
    normals: Normals | None = None,
    uncertainty: Uncertainty | None = None,
    options: SceneOptions | None = None,
    photo: np.ndarray | None = None,
) -> Surface:
    """Distances and camera of one photo: masked, refined, smoothed and scaled as the options say.

    The result has the size of the depth map; maps of another size are resized to it. photo: uint8, of the same size;
    `refine` then puts depth edges where the colours change. For hosts that build their meshes
    themselves; `mode`, `cut`, `stride` and what follows from the mesh do not matter here (`cut` does for `smooth_px`).
    Raises LotusError: impossible options, no pixel left.
    """
    options = SceneOptions() if options is None else options
    depth, normals, uncertainty = _at_size(depth.values.shape, depth, normals, uncertainty)
    valid = usable_pixels(depth, uncertainty, options)
    std = None if uncertainty is None else uncertainty.std
    camera, far, calibration = _camera(depth, normals, options)
    z = depth.to_z(DEFAULT_NEAR, far)
    if options.fill_holes > 0:
        z, valid = fill_holes(z, valid, options.fill_holes)
    if not valid.any():
        raise LotusError("No surface is left: every pixel is masked, sky or uncertain.")
    if options.refine:
        if photo is not None:
            camera.check_size(photo)
        z = _refine(z, normals, camera, valid, std, photo)
    if options.smooth_px > 0 and std is not None:
        z = smooth_depth(z, std, valid, reach_px=options.smooth_px, cut=options.cut)
    scale = 1.0
    if options.known_length is not None:
        x1, y1, x2, y2, metres = options.known_length
        scale = metric_scale(np.where(valid, z, np.nan), camera, (x1, y1), (x2, y2), metres)
        z = (z * scale).astype(np.float32)
    return Surface(z, valid, camera, far, scale, calibration)


def _at_size(
    size: tuple[int, ...], depth: Depth, normals: Normals | None, uncertainty: Uncertainty | None
) -> tuple[Depth, Normals | None, Uncertainty | None]:
    """The maps resized to (height, width) where they are not."""
    height, width = size
    if depth.values.shape != size:
        depth = depth.resize((height, width))
    if normals is not None and normals.values.shape[:2] != size:
        normals = normals.resize((height, width))
    if uncertainty is not None and uncertainty.std.shape != size:
        uncertainty = uncertainty.resize((height, width))
    return depth, normals, uncertainty


def usable_pixels(depth: Depth, uncertainty: Uncertainty | None, options: SceneOptions) -> np.ndarray:
    """bool H×W: has depth, is no sky (`sky`), is certain (`max_std`). Both maps have one size. Raises LotusError."""
    if uncertainty is not None and uncertainty.unit != "depth":
        raise LotusError("The uncertainty must be that of the depth map, not of the normals.")
    valid = depth.mask.copy()
    if options.sky is not None:
        valid &= depth.near_white() >= options.sky
    if options.max_std is not None:
        if uncertainty is None:
            raise LotusError("Cutting by uncertainty needs an uncertainty map; predict one with a generative model.")
        valid &= uncertainty.std <= options.max_std
    return valid


def write_sidecar(path: str | os.PathLike[str], record: dict[str, Any]) -> None:
    """Write a scene's JSON, atomically."""
    text = json.dumps({"format": _FORMAT, "version": _VERSION, **record}, indent=1, default=str)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_sidecar(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a scene's JSON; the entry "camera", where there is one, is a `Camera`. Raises LotusError."""
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LotusError(f"{path} does not exist; check the name.") from None
    except (OSError, ValueError) as error:
        raise LotusError(f"{path} is not a readable JSON file; save the scene again.") from error
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise LotusError(f"{path} is not the JSON of a Lotus scene; choose the file that ends in .scene.json.")
    if record.get("camera") is not None:
        record["camera"] = Camera.from_dict(record["camera"])
    return record


def _camera(
    depth: Depth, normals: Normals | None, options: SceneOptions
) -> tuple[Camera, float, dict[str, Any] | None]:
    height, width = depth.values.shape
    camera = None
    if options.fov_deg is not None:
        camera = Camera.from_fov(width, height, options.fov_deg)
    elif options.focal_35mm is not None:
        camera = Camera.from_exif(width, height, options.focal_35mm)
    if options.far is not None:
        return camera or Camera.default(width, height), options.far, None
    if normals is None:
        raise LotusError("Finding the far distance needs a normal map; predict one, or give the distance.")
    try:
        found = calibrate(depth, normals, camera)
    except LotusError as error:  # maps that contradict each other still make a mesh, and the record says so
        return camera or Camera.default(width, height), DEFAULT_FAR, {"failed": str(error)}
    return found.camera, found.far, {"error_deg": found.error}


def _refine(
    z: np.ndarray,
    normals: Normals | None,
    camera: Camera,
    valid: np.ndarray,
    std: np.ndarray | None,
    photo: np.ndarray | None,
) -> np.ndarray:
    if normals is None:
        return np.where(valid, sharpen_edges(np.where(valid, z, z[valid].max()), photo=photo), z)
    weight = None if std is None else uncertainty_weight(std)
    return fuse_normals(z, normals, camera, valid, depth_weight=weight, photo=photo)


def _relief(depth: Depth, photo: np.ndarray, valid: np.ndarray, std: np.ndarray | None, options: SceneOptions) -> Scene:
    mesh = relief_mesh(
        depth.near_white(),
        width_mm=options.width_mm,
        relief_mm=options.relief_mm,
        base_mm=options.base_mm,
        valid=None if valid.all() else valid,
        stride=options.stride,
    )
    mesh = _with_uncertainty(mesh, std)
    if options.target_faces is not None:
        mesh = decimate(mesh, options.target_faces)
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
