"""From maps to meshes: numpy and scipy only (trimesh and Pillow are imported when a mesh is written)."""

from .camera import Camera
from .decimate import decimate
from .export import save_mesh
from .mesh import Mesh
from .perspective import grid_mesh, point_cloud
from .preview import render_preview
from .relief import check_printable, relief_mesh

__all__ = [
    "Camera",
    "Mesh",
    "check_printable",
    "decimate",
    "grid_mesh",
    "point_cloud",
    "relief_mesh",
    "render_preview",
    "save_mesh",
]
