"""Scene mesh: the photo's surface in perspective, seen by a camera that matches the photo pixel by pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import bpy
import numpy as np
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty

from lotus_core.errors import LotusError
from lotus_core.geometry import Camera, SceneOptions, Surface, grid
from lotus_core.maps import Depth, Normals, Uncertainty

from .. import cameras, materials, meshes, photos, surfaces
from .base import PhotoOperator, add_to_scene
from .thinning import Thin, Thinning


class LOTUS_OT_scene_mesh(Thinning, PhotoOperator, bpy.types.Operator):
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
        size = photos.size_of(photo)
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
        thin = self._standing(surface, depth, uncertainty)
        shape = self._shape(surface, thin, normals, uncertainty)
        # Datablocks only from here on, where nothing fails any more.
        mesh = bpy.data.meshes.new(f"{photo.name} scene")
        shape.fill(mesh)
        mesh.materials.append(materials.photo_material(f"{photo.name} photo", photo, self.shading))
        obj = bpy.data.objects.new(mesh.name, mesh)
        camera = _at_size(surface.camera, *size)
        eye = cameras.add_camera(f"{photo.name} camera", camera, photo, self.scale, self.scale * self.far)
        for placed in (obj, eye):
            placed.matrix_world = cameras.UPRIGHT
        obj.scale = (self.scale,) * 3
        add_to_scene(context, obj, eye)
        if self.match_render:
            context.scene.camera = eye
            if lack := cameras.match_render(context.scene, camera):
                self.warn(lack)
        return self.told(len(mesh.polygons), thin)

    def _standing(self, surface: Surface, depth: Depth, uncertainty: Uncertainty | None) -> Thin:
        """The faces that the options leave, without the options that would leave none. Raises LotusError."""
        whole = grid.cut_cells(surface.z, surface.valid, math.inf)
        if not whole.any():
            raise LotusError("No surface is left: nowhere are four neighbouring pixels valid; predict the depth again.")
        keep = surface.valid & self._sure(uncertainty, depth)
        cells = grid.cut_cells(surface.z, keep, self.cut if self.use_cut else math.inf)
        if not cells.any():
            self.warn("Cuts would leave no surface, so there are none: raise the number beside Cut, or cut less.")
            cells = whole
        thin = self.thinned(cells)
        if self.min_faces <= 1 or thin.cells.all():
            return thin
        large = grid.drop_islands(thin.cells, self.min_faces)
        if not large.any():
            self.warn("All pieces are smaller than Smallest island, so all are kept: lower it.")
            return thin
        return replace(thin, cells=large)

    def _sure(self, uncertainty: Uncertainty | None, depth: Depth) -> np.ndarray | bool:
        """Pixels that are certain enough, of the size of the depth."""
        if self.uncertainty_cut == 0:
            return True
        if uncertainty is None:
            self.warn("No unsure pixels were cut, which needs an uncertainty map: predict one, or set Cut unsure to 0.")
            return True
        uncertainty = uncertainty.resize(_size(depth.values))
        return uncertainty.mask(float(np.quantile(uncertainty.std[depth.mask], 1 - self.uncertainty_cut / 100)))

    def _shape(self, surface: Surface, thin: Thin, normals: Normals | None, uncertainty: Uncertainty | None) -> _Shape:
        z = surface.z
        topology = grid.grid_topology(thin.cells)

        def at_vertices(values: np.ndarray) -> np.ndarray:
            if values.shape[:2] != (len(thin.rows), len(thin.columns)):
                values = values[np.ix_(thin.rows, thin.columns)]
            flat = values.reshape(-1, *values.shape[2:])
            return flat if len(topology.pixels) == len(flat) else flat[topology.pixels]

        attributes = {}
        if self.attributes:
            attributes["depth"] = at_vertices(z)
            if uncertainty is not None:
                attributes["uncertainty"] = at_vertices(uncertainty.resize(_size(z)).std)
        shading = None
        if self.normals and normals is not None:
            sized = normals if normals.values.shape[:2] == z.shape else normals.resize(_size(z))
            shading = at_vertices(sized.to("opengl").values)
        elif self.normals:
            self.warn(
                "The mesh has no predicted normals, which need a normal map: predict one, or untick Predicted normals."
            )
        uvs = grid.pixel_uvs(topology.pixels, thin.rows, thin.columns, *z.shape)
        return _Shape(at_vertices(surface.camera.unproject(z)), topology, uvs, attributes, shading)

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


@dataclass(frozen=True)
class _Shape:
    """Everything that a mesh of a surface consists of."""

    positions: np.ndarray
    topology: grid.GridTopology
    uvs: np.ndarray
    attributes: dict[str, np.ndarray]
    normals: np.ndarray | None

    def fill(self, mesh: bpy.types.Mesh) -> None:
        """Give it to an empty mesh."""
        meshes.fill_grid(mesh, self.positions, self.topology, self.uvs)
        for name, values in self.attributes.items():
            meshes.add_float(mesh, name, values)
        if self.normals is not None:
            meshes.add_normals(mesh, self.normals)


def _size(values: np.ndarray) -> tuple[int, int]:
    return values.shape[0], values.shape[1]


def _at_size(camera: Camera, width: int, height: int) -> Camera:
    """The camera at the photo's size (imported maps may be smaller)."""
    return camera if (camera.width, camera.height) == (width, height) else camera.resized(width, height)


CLASSES = (LOTUS_OT_scene_mesh,)
