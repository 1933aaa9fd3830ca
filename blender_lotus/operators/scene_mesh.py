"""Scene mesh: the photo's surface in perspective, seen by a camera that matches the photo pixel by pixel."""

from __future__ import annotations

import math

import bpy
import numpy as np
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty

from lotus_core.errors import LotusError
from lotus_core.geometry import Camera, SceneOptions, Surface, grid
from lotus_core.maps import Depth, Normals, Uncertainty

from .. import cameras, images, materials, meshes, surfaces
from .base import PhotoOperator, add_to_scene


class LOTUS_OT_scene_mesh(PhotoOperator, bpy.types.Operator):
    """Build the photo's surface in front of a camera that matches the photo, pixel by pixel"""

    bl_idname = "lotus.scene_mesh"
    bl_label = "Scene Mesh"
    bl_options = {"REGISTER", "UNDO"}

    far: FloatProperty(
        name="Depth range",
        description="Distance of the far end of the depth's range, the near end being at 1: choose what looks right",
        default=10.0,
        min=1.05,
        soft_max=100.0,
    )
    use_fov: BoolProperty(
        name="Own field of view",
        description="Give the field of view; else it comes from EXIF data, or is 55° along the longer side",
        default=False,
    )
    fov: FloatProperty(
        name="Field of view",
        description="Horizontal angle of view of the photo",
        default=math.radians(55),
        min=math.radians(1),
        max=math.radians(170),
        subtype="ANGLE",
    )
    use_cut: BoolProperty(name="Cut", description="Tear the surface where the depth jumps", default=True)
    cut: FloatProperty(
        name="Jump",
        description="Relative jump of depth between neighbouring pixels at which the surface tears",
        default=grid.DEFAULT_CUT,
        min=0.001,
        soft_max=0.5,
        precision=3,
        step=1,
    )
    uncertainty_cut: FloatProperty(
        name="Cut unsure",
        description="Remove this share of the pixels, the least certain ones; needs an uncertainty map",
        default=0.0,
        min=0.0,
        max=90.0,
        subtype="PERCENTAGE",
    )
    min_faces: IntProperty(
        name="Smallest island", description="Drop pieces of fewer quads than this", default=64, min=0, soft_max=10000
    )
    refine: BoolProperty(
        name="Refine",
        description="Sharpen soft edges of the depth, and let the normals, where there are any, sharpen the surface",
        default=True,
    )
    stride: IntProperty(name="Step", description="Use every n-th pixel", default=1, min=1, soft_max=16)
    max_faces: IntProperty(
        name="Face budget",
        description="Raise the step until the mesh has no more faces than this; 0: no limit",
        default=0,
        min=0,
        soft_max=1_000_000,
        step=1000,
    )
    normals: BoolProperty(
        name="Predicted normals", description="Shade with the normal map's normals (custom normals)", default=False
    )
    attributes: BoolProperty(
        name="Point attributes",
        description="Store depth, and uncertainty where there is one, on the vertices for geometry nodes",
        default=True,
    )
    shading: EnumProperty(
        name="Material", items=materials.SHADINGS, description="How the photo is shaded", default="EMISSION"
    )
    scale: FloatProperty(
        name="Scale",
        description="Size of the scene: the distance of the near end of the depth's range",
        default=1.0,
        min=1e-3,
    )
    match_render: BoolProperty(
        name="Match the render",
        description="Make it the scene's camera, render at the photo's size, view transform Standard: F12 = photo",
        default=True,
    )

    def build(self, context: bpy.types.Context, photo: bpy.types.Image) -> str:
        depth, normals, uncertainty = surfaces.resized_maps(
            photo,
            normals=self.refine or self.normals,
            uncertainty=self.uncertainty_cut > 0 or self.attributes,
        )
        options = SceneOptions(
            fov_deg=math.degrees(self.fov) if self.use_fov else None,
            focal_35mm=photo.lotus.focal_35mm or None,
            far=self.far,
            refine=self.refine,
        )
        surface = surfaces.surface_of(depth, normals if self.refine else None, None, options)
        keep = surface.valid
        if self.uncertainty_cut > 0:
            keep = keep & self._sure(uncertainty, depth)
        mesh = bpy.data.meshes.new(f"{photo.name} scene")
        try:
            self._fill(mesh, surface, keep, depth, normals, uncertainty)
        except LotusError:
            bpy.data.meshes.remove(mesh)
            raise
        mesh.materials.append(materials.photo_material(f"{photo.name} photo", photo, self.shading))
        obj = bpy.data.objects.new(mesh.name, mesh)
        camera = _for_photo(surface.camera, photo)
        eye = cameras.add_camera(f"{photo.name} camera", camera, photo)
        for placed in (obj, eye):
            placed.matrix_world = cameras.UPRIGHT
        obj.scale = eye.scale = (self.scale,) * 3
        eye.scale = (1, 1, 1)
        add_to_scene(context, obj, eye)
        if self.match_render:
            context.scene.camera = eye
            cameras.match_render(context.scene, camera)
        return f"{len(mesh.polygons):,} faces"

    def _sure(self, uncertainty: Uncertainty | None, depth: Depth) -> np.ndarray:
        if uncertainty is None:
            raise LotusError("Cutting unsure pixels needs an uncertainty map; predict one first.")
        if uncertainty.std.shape != depth.values.shape:
            uncertainty = uncertainty.resize(_size(depth.values))
        return uncertainty.mask(float(np.quantile(uncertainty.std[depth.mask], 1 - self.uncertainty_cut / 100)))

    def _fill(
        self,
        mesh: bpy.types.Mesh,
        surface: Surface,
        keep: np.ndarray,
        depth: Depth,
        normals: Normals | None,
        uncertainty: Uncertainty | None,
    ) -> None:
        z, camera = surface.z, surface.camera
        cells = grid.cut_cells(z, keep, self.cut if self.use_cut else math.inf)
        cells, rows, columns = self._thinned(cells)
        if self.min_faces > 1 and not cells.all():
            cells = grid.drop_islands(cells, self.min_faces)
        if not cells.any():
            raise LotusError(
                "No surface is left: everything is masked or cut; raise the number beside Cut, or cut less."
            )
        topology = grid.grid_topology(cells)
        uvs = grid.pixel_uvs(topology.pixels, rows, columns, *z.shape)

        def at_vertices(values: np.ndarray) -> np.ndarray:
            if values.shape[:2] != (len(rows), len(columns)):
                values = values[np.ix_(rows, columns)]
            flat = values.reshape(-1, *values.shape[2:])
            return flat if len(topology.pixels) == len(flat) else flat[topology.pixels]

        meshes.fill_grid(mesh, at_vertices(camera.unproject(z)), topology, uvs)
        if self.attributes:
            meshes.add_float(mesh, "depth", at_vertices(z))
            if uncertainty is not None:
                std = uncertainty if uncertainty.std.shape == z.shape else uncertainty.resize(_size(z))
                meshes.add_float(mesh, "uncertainty", at_vertices(std.std))
        if self.normals:
            if normals is None:
                raise LotusError("Shading with predicted normals needs a normal map; predict one first.")
            sized = normals if normals.values.shape[:2] == z.shape else normals.resize(_size(z))
            meshes.add_normals(mesh, at_vertices(sized.to("opengl").values))

    def _thinned(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cells, and the rows and columns of pixels between them, at a step that keeps the face budget."""
        height, width = cells.shape[0] + 1, cells.shape[1] + 1
        faces, budget = int(np.count_nonzero(cells)), self.max_faces or cells.size
        stride = max(self.stride, math.isqrt(faces // budget))
        while True:
            rows, columns = grid.strided(height, stride), grid.strided(width, stride)
            thin = cells if stride == 1 else grid.stride_cells(cells, rows, columns)
            if np.count_nonzero(thin) <= budget:
                return thin, rows, columns
            stride += 1

    def draw(self, _context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "far")
        layout.prop(self, "scale")
        column = layout.column(heading="Field of view")
        row = column.row(align=True)
        row.prop(self, "use_fov", text="")
        part = row.row()
        part.active = self.use_fov
        part.prop(self, "fov", text="")
        column = layout.column(heading="Cut")
        row = column.row(align=True)
        row.prop(self, "use_cut", text="")
        part = row.row()
        part.active = self.use_cut
        part.prop(self, "cut", text="")
        layout.prop(self, "uncertainty_cut")
        layout.prop(self, "min_faces")
        layout.prop(self, "stride")
        layout.prop(self, "max_faces")
        layout.prop(self, "refine")
        layout.prop(self, "normals")
        layout.prop(self, "attributes")
        layout.prop(self, "shading")
        layout.prop(self, "match_render")


def _size(values: np.ndarray) -> tuple[int, int]:
    return values.shape[0], values.shape[1]


def _for_photo(camera: Camera, photo: bpy.types.Image) -> Camera:
    """The camera at the photo's size (imported maps may be smaller)."""
    width, height = images.size_of(photo)
    return camera if (camera.width, camera.height) == (width, height) else camera.resized(width, height)


CLASSES = (LOTUS_OT_scene_mesh,)
