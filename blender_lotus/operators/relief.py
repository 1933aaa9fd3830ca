"""Relief: a flat grid raised by a Displace modifier, so that its strength stays live and sequences play."""

from __future__ import annotations

import bpy
import numpy as np
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty

from lotus_core.errors import LotusError
from lotus_core.geometry import grid, relief_mesh

from .. import cameras, images, materials, meshes
from .base import PhotoOperator, add_to_scene

_FRONT = "Lotus front"  # vertex group of what is raised; the base stays flat


class LOTUS_OT_relief(PhotoOperator, bpy.types.Operator):
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
    stride: IntProperty(name="Step", description="Use every n-th pixel", default=1, min=1, soft_max=16)
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
        if min(height, width) < 2 * self.stride:
            raise LotusError(
                f"A step of {self.stride} leaves no grid of the {width}×{height} map; choose a smaller one."
            )
        mesh = bpy.data.meshes.new(f"{photo.name} relief")
        pixel = self._fill(mesh, height, width)
        if self.attributes:
            self._add_attributes(mesh, pixel, photo, depth.values)
        mesh.materials.append(materials.photo_material(f"{photo.name} photo", photo, self.shading))
        obj = bpy.data.objects.new(mesh.name, mesh)
        if self.use_base:
            group = obj.vertex_groups.new(name=_FRONT)
            group.add(np.flatnonzero(pixel >= 0).tolist(), 1.0, "REPLACE")
        self._add_displacement(obj, photo)
        if self.upright:
            obj.matrix_world = cameras.UPRIGHT
        add_to_scene(context, obj)
        return f"{len(mesh.polygons):,} faces"

    def _fill(self, mesh: bpy.types.Mesh, height: int, width: int) -> np.ndarray:
        """The flat grid; returns the flat number of each vertex's pixel, −1 on walls and back."""
        unit = self.size / max(height, width)
        if self.use_base:
            solid = relief_mesh(
                np.zeros((height, width), np.float32),
                width_mm=unit * width,
                relief_mm=1.0,
                base_mm=self.base,
                stride=self.stride,
            )
            assert solid.uvs is not None
            meshes.fill_faces(mesh, solid.vertices, solid.faces, solid.uvs)
            return solid.attributes["pixel"]
        rows, columns = grid.strided(height, self.stride), grid.strided(width, self.stride)
        topology = grid.grid_topology(np.ones((len(rows) - 1, len(columns) - 1), bool))
        positions = np.zeros((len(rows), len(columns), 3), np.float32)
        positions[..., 0] = (columns + 0.5 - width / 2) * unit
        positions[..., 1] = ((height / 2 - rows - 0.5) * unit)[:, None]
        uvs = grid.pixel_uvs(topology.pixels, rows, columns, height, width)
        meshes.fill_grid(mesh, positions.reshape(-1, 3), topology, uvs)
        return (rows[:, None] * width + columns).ravel()

    def _add_attributes(
        self, mesh: bpy.types.Mesh, pixel: np.ndarray, photo: bpy.types.Image, depth: np.ndarray
    ) -> None:
        uncertainty = images.uncertainty_of(photo)
        values = {"depth": depth}
        if uncertainty is not None and uncertainty.std.shape == depth.shape:
            values["uncertainty"] = uncertainty.std
        for name, value in values.items():
            meshes.add_float(mesh, name, np.where(pixel >= 0, value.ravel()[np.maximum(pixel, 0)], 0))

    def _add_displacement(self, obj: bpy.types.Object, photo: bpy.types.Image) -> None:
        depth_image = photo.lotus.depth
        texture = bpy.data.textures.new(f"{photo.name} depth", "IMAGE")
        texture.image = depth_image
        texture.extension = "EXTEND"
        texture.use_clamp = False
        # The vertices lie on pixel centres; interpolating there would only round.
        texture.use_interpolation = False
        if bpy.app.version < (5, 0, 0):
            texture.use_mipmap = False
        materials.follow_timeline(texture.image_user, depth_image)
        modifier = obj.modifiers.new("Lotus relief", "DISPLACE")
        modifier.texture = texture
        modifier.texture_coords = "UV"
        modifier.uv_layer = "UVMap"
        modifier.direction = "Z"
        # The texture's values times the strength, from the mid level: for "depth" (1 = far) both turn round.
        near_is_one = depth_image.lotus.space != "depth"
        modifier.mid_level = 0.0 if near_is_one else 1.0
        modifier.strength = self.strength if near_is_one else -self.strength
        if self.use_base:
            modifier.vertex_group = _FRONT

    def draw(self, _context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "size")
        layout.prop(self, "strength")
        layout.prop(self, "stride")
        row = layout.column(heading="Solid").row(align=True)
        row.prop(self, "use_base", text="")
        part = row.row()
        part.active = self.use_base
        part.prop(self, "base", text="")
        layout.prop(self, "upright")
        layout.prop(self, "attributes")
        layout.prop(self, "shading")


CLASSES = (LOTUS_OT_relief,)
