"""From maps to meshes: numpy and scipy only (trimesh and Pillow are imported when a mesh is written)."""

from .camera import Camera
from .export import save_mesh
from .mesh import Mesh
from .perspective import grid_mesh
from .preview import render_preview

__all__ = ["Camera", "Mesh", "grid_mesh", "render_preview", "save_mesh"]
