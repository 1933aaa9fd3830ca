"""Relief: a flat grid raised by a Displace modifier, so that its strength stays live and sequences play."""

from __future__ import annotations

import bpy
import numpy as np
from bpy.props import BoolProperty, EnumProperty, FloatProperty

from lotus_core.errors import LotusError
from lotus_core.geometry import grid, relief_mesh
from lotus_core.maps import Depth

from .. import cameras, images, materials, meshes, reliefs
from .base import PhotoOperator, add_to_scene
from .thinning import Thin, Thinning

_FRONT = "Lotus front"  # vertex group of what is raised; the base stays flat


class LOTUS_OT_relief(Thinning, PhotoOperator, bpy.types.Operator):
    """Build a flat picture raised by its depth; the modifier's strength stays adjustable, and sequences play"""

    bl_idname = "lotus.relief"
    bl_label = "Relief"
    bl_options = {"REGISTER", "UNDO"}

    size: FloatProperty(
        name="Size", description="Length of the picture's longer side", default=2.0, min=1e-3, subtype="DISTANCE"
    )
    strength: FloatProperty(
        name="Height",
        description="How far the near end of the depth's range rises above the far end",
        default=0.3,
        soft_min=0.0,
        soft_max=2.0,
        subtype="DISTANCE",
    )
    use_base: BoolProperty(
        name="Solid", description="Close the relief with walls and a flat back, for printing", default=False
    )
    base: FloatProperty(
        name="Base",
        description="Thickness below the far end of the depth's range",
        default=0.1,
        min=1e-4,
        subtype="DISTANCE",
    )
    upright: BoolProperty(
        name="Upright", description="Stand like a picture on a wall, instead of lying on the floor", default=True
    )
    attributes: BoolProperty(
        name="Point attributes",
        description="Store depth, and uncertainty where there is one, on the vertices for geometry nodes",
        default=True,
    )
    shading: EnumProperty(
        name="Material", items=materials.SHADINGS, description="How the photo is shaded", default="PRINCIPLED"
    )

    def build(self, context: bpy.types.Context, photo: bpy.types.Image) -> str:
        depth = images.depth_of(photo)
        height, width = depth.values.shape
        if min(height, width) < 2:
            raise LotusError(f"A relief needs at least 2×2 pixels; the depth map is {width}×{height}: choose another.")
        values = self._attributes(photo, depth)
        thin = self.thinned(np.ones((height - 1, width - 1), bool))
        mesh = bpy.data.meshes.new(f"{photo.name} relief")
        pixel = self._fill(mesh, thin, height, width)
        for name, value in values.items():
            meshes.add_float(mesh, name, np.where(pixel >= 0, value.ravel()[np.maximum(pixel, 0)], 0))
        mesh.materials.append(materials.photo_material(f"{photo.name} photo", photo, self.shading))
        obj = bpy.data.objects.new(mesh.name, mesh)
        if self.use_base:
            group = obj.vertex_groups.new(name=_FRONT)
            group.add(np.flatnonzero(pixel >= 0).tolist(), 1.0, "REPLACE")
        reliefs.displace(obj, photo, self.strength, _FRONT if self.use_base else "")
        if self.upright:
            obj.matrix_world = cameras.UPRIGHT
        add_to_scene(context, obj)
        return self.told(len(mesh.polygons), thin)

    def _fill(self, mesh: bpy.types.Mesh, thin: Thin, height: int, width: int) -> np.ndarray:
        """The flat grid; returns the flat number of each vertex's pixel, −1 on walls and back."""
        unit = self.size / max(height, width)
        if self.use_base:
            solid = relief_mesh(
                np.zeros((height, width), np.float32),
                width_mm=unit * width,
                relief_mm=1.0,
                base_mm=self.base,
                stride=thin.stride,
            )
            assert solid.uvs is not None
            meshes.fill_faces(mesh, solid.vertices, solid.faces, solid.uvs)
            return solid.attributes["pixel"]
        rows, columns = thin.rows, thin.columns
        topology = grid.grid_topology(thin.cells)
        positions = np.zeros((len(rows), len(columns), 3), np.float32)
        positions[..., 0] = (columns + 0.5 - width / 2) * unit
        positions[..., 1] = ((height / 2 - rows - 0.5) * unit)[:, None]
        uvs = grid.pixel_uvs(topology.pixels, rows, columns, height, width)
        meshes.fill_grid(mesh, positions.reshape(-1, 3), topology, uvs)
        return (rows[:, None] * width + columns).ravel()

    def _attributes(self, photo: bpy.types.Image, depth: Depth) -> dict[str, np.ndarray]:
        """What the vertices carry, for every pixel."""
        if not self.attributes:
            return {}
        values = {"depth": depth.values}
        uncertainty = images.uncertainty_of(photo)
        if uncertainty is not None:
            height, width = depth.values.shape
            values["uncertainty"] = uncertainty.resize((height, width)).std
        return values

    def draw(self, _context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "size")
        layout.prop(self, "strength")
        layout.prop(self, "stride")
        layout.prop(self, "max_faces")
        row = layout.column(heading="Solid").row(align=True)
        row.prop(self, "use_base", text="")
        part = row.row()
        part.active = self.use_base
        part.prop(self, "base", text="")
        layout.prop(self, "upright")
        layout.prop(self, "attributes")
        layout.prop(self, "shading")


CLASSES = (LOTUS_OT_relief,)
