"""From maps to meshes: numpy, and scipy where there is one (trimesh and Pillow come in when a mesh is written)."""

from .camera import Camera
from .decimate import decimate
from .export import save_mesh
from .mesh import Mesh
from .options import SceneOptions
from .perspective import grid_mesh, point_cloud
from .preview import render_preview
from .relief import check_printable, relief_mesh
from .scene import Scene, build_scene, read_sidecar
from .surface import Surface, build_surface

__all__ = [
    "Camera",
    "Mesh",
    "Scene",
    "SceneOptions",
    "Surface",
    "build_scene",
    "build_surface",
    "check_printable",
    "decimate",
    "grid_mesh",
    "point_cloud",
    "read_sidecar",
    "relief_mesh",
    "render_preview",
    "save_mesh",
]
