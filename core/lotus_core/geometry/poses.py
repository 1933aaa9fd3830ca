"""Where several photos of one place were taken: from COLMAP's text files or a small JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from ..errors import LotusError
from .camera import Camera

_FLIP = np.diag([1.0, -1.0, -1.0])  # OpenCV camera axes (y down, z forward) to ours (y up, −z forward)
_PINHOLES = {"SIMPLE_PINHOLE": 3, "PINHOLE": 4, "SIMPLE_RADIAL": 4, "RADIAL": 5, "OPENCV": 8}
_DISTORTION = 1e-4  # largest coefficient that is as good as none: 0.1 px at the corner of a 2000 px photo


@dataclass(frozen=True, eq=False)
class PosedImage:
    """name: file name; camera_to_world: float64 4×4, camera axes x right, y up, −z forward.

    points: float64 N×3, pixels (x, y) and distance along the axis of the sparse points that the image sees; N may be 0.
    """

    name: str
    camera: Camera
    camera_to_world: np.ndarray
    points: np.ndarray


def read_poses(path: str | os.PathLike[str]) -> list[PosedImage]:
    """A folder as `read_colmap`, a file as `read_poses_json`. Raises LotusError."""
    return read_colmap(path) if Path(path).is_dir() else read_poses_json(path)


def match_poses(photos: Sequence[str | os.PathLike[str]], poses: Sequence[PosedImage]) -> list[PosedImage]:
    """The pose of every photo, by file name; where several poses share it, by the folders before it as well.

    Where none has the name, by the name without its ending: COLMAP may have seen JPEGs of what are EXR files now.

    Raises LotusError for a photo that has none or more than one, or that is given twice.
    """
    out: list[PosedImage] = []
    for photo in map(PurePath, photos):
        found = [pose for pose in poses if PurePath(pose.name).name == photo.name]
        if not found:
            found = [pose for pose in poses if PurePath(pose.name).stem == photo.stem]
        elif len(found) > 1:
            path = f"/{photo.as_posix()}"
            found = [pose for pose in found if path.endswith(f"/{PurePath(pose.name).as_posix()}")]
        if len(found) != 1:
            listed = ", ".join(pose.name for pose in poses[:4]) + (" ..." if len(poses) > 4 else "")
            many = "more than one pose" if found else "no pose"
            raise LotusError(f"There is {many} for {photo.name}; the poses are for {listed}: rename the photo.")
        if any(pose is found[0] for pose in out):
            raise LotusError(f"{photo.name} is given twice; give every photo once.")
        out.append(found[0])
    return out


def read_colmap(folder: str | os.PathLike[str]) -> list[PosedImage]:
    """Read cameras.txt, images.txt and points3D.txt (COLMAP's text export), sorted by name.

    The world keeps COLMAP's axes and unit. Raises LotusError for missing or damaged files and for cameras that are
    not a centred pinhole with square pixels (COLMAP's image_undistorter makes them so).
    """
    folder = Path(folder)
    cameras: dict[str, Camera] = {}
    for words in _lines(folder / "cameras.txt"):
        cameras[words[0]] = _camera(words, folder)
    world = {}
    for words in _lines(folder / "points3D.txt"):
        world[words[0]] = _floats(words[1:4], folder / "points3D.txt", 3)
    out = []
    listed = folder / "images.txt"
    lines = _lines(listed, keep_empty=True)
    for head, track in zip(lines[::2], [*lines[1::2], []], strict=False):
        if len(head) < 10 or head[8] not in cameras:
            raise LotusError(f"{listed} is damaged; export the model as text again.")
        quaternion, shift = _floats(head[1:5], listed), np.array(_floats(head[5:8], listed))
        if not any(quaternion):
            raise LotusError(f"{listed} is damaged (a rotation of zeros); export the model as text again.")
        rotation = _rotation(quaternion)
        keyed = zip(track[::3], track[1::3], track[2::3], strict=False)
        seen = [(x, y, world[key]) for x, y, key in keyed if key in world]
        pixels = np.array([_floats([x, y], listed) for x, y, _ in seen]).reshape(-1, 2)
        distance = (np.array([point for *_, point in seen]).reshape(-1, 3) @ rotation.T + shift)[:, 2]
        pose = np.eye(4)
        pose[:3, :3] = rotation.T @ _FLIP
        pose[:3, 3] = -rotation.T @ shift
        points = np.column_stack([pixels, distance])
        out.append(PosedImage(" ".join(head[9:]), cameras[head[8]], pose, points[distance > 0]))
    if not out:
        raise LotusError(f"{listed} lists no images; export the model as text again.")
    return sorted(out, key=lambda image: image.name)


def read_poses_json(path: str | os.PathLike[str]) -> list[PosedImage]:
    """Read {"views": [{"image", "width", "height", "focal_px", "camera_to_world": 4×4 rows}, …]}.

    camera_to_world as in glTF and Blender: camera axes x right, y up, −z forward. An optional "points" holds rows of
    (pixel x, pixel y, distance). Raises LotusError.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        out = []
        for view in record["views"]:
            pose = np.array(view["camera_to_world"], np.float64).reshape(4, 4)
            _check_rigid(pose, f"{path}: the camera_to_world of {view['image']}")
            points = np.array(view.get("points", []), np.float64).reshape(-1, 3)
            if not np.isfinite(points).all():
                raise LotusError(f"{path}: the points of {view['image']} hold NaN or infinite values; leave those out.")
            out.append(PosedImage(str(view["image"]), Camera.from_dict(view), pose, points))
    except FileNotFoundError:
        raise LotusError(f"{path} does not exist; check the name.") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LotusError(f"{path} is not a readable list of views ({error}); see docs/geometry.md.") from error
    if not out:
        raise LotusError(f"{path} lists no views.")
    return out


def _check_rigid(pose: np.ndarray, what: str) -> None:
    """Raise LotusError unless the 4×4 matrix turns and moves only."""
    turn = pose[:3, :3]
    if not np.isfinite(pose).all() or not np.allclose(turn @ turn.T, np.eye(3), atol=1e-3):
        raise LotusError(f"{what} is no rotation and translation.")
    if np.linalg.det(turn) < 0:
        raise LotusError(f"{what} mirrors: convert it to right-handed axes, x right, y up, −z forward.")
    if not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-6):
        raise LotusError(f"{what} does not end in the row 0 0 0 1: write its rows, not its columns.")


def _camera(words: list[str], folder: Path) -> Camera:
    model = words[1] if len(words) > 1 else ""
    if len(words) != 4 + _PINHOLES.get(model, -99):
        raise LotusError(f"The camera model {model!r} is not a pinhole; run COLMAP's image_undistorter first.")
    width, height, *numbers = _floats(words[2:], folder / "cameras.txt")
    focal = numbers[:2] if model in ("PINHOLE", "OPENCV") else [numbers[0], numbers[0]]
    first = 2 if model in ("PINHOLE", "OPENCV") else 1
    centre, distortion = numbers[first : first + 2], numbers[first + 2 :]
    off = max(abs(centre[0] - width / 2), abs(centre[1] - height / 2))
    if off > 1 or abs(focal[0] / focal[1] - 1) > 1e-3 or max(map(abs, distortion), default=0) > _DISTORTION:
        raise LotusError("A camera is distorted or off its centre; run COLMAP's image_undistorter first.")
    return Camera(int(width), int(height), (focal[0] + focal[1]) / 2)


def _lines(path: Path, *, keep_empty: bool = False) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LotusError(f"Cannot read {path}; export the COLMAP model as text (cameras, images, points3D).") from error
    lines = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return lines if keep_empty else [line for line in lines if line]


def _floats(words: list[str], path: Path, count: int | None = None) -> list[float]:
    """The numbers of these words. Raises LotusError for what is no finite number, or another count of them."""
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise LotusError(f"{path} is damaged ({error}); export the model as text again.") from error
    if not np.isfinite(numbers).all() or (count is not None and len(numbers) != count):
        raise LotusError(f"{path} is damaged (near {' '.join(words)!r}); export the model as text again.")
    return numbers


def _rotation(quaternion: list[float]) -> np.ndarray:
    """Of a quaternion (w, x, y, z)."""
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
