"""Normal texture, material and files for other programs from the maps of a photo."""

from __future__ import annotations

import os
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, StringProperty

from lotus_core.errors import LotusError
from lotus_core.maps import Normals
from lotus_core.maps.textures import SUFFIXES, write_texture

from .. import images, materials, storage
from .base import PhotoOperator, named_photo

CONVENTIONS = (
    ("OPENGL", "OpenGL", "Green is up: Blender, Unity, glTF"),
    ("DIRECTX", "DirectX", "Green is down: Unreal, 3ds Max"),
)


class LOTUS_OT_normal_texture(PhotoOperator, bpy.types.Operator):
    """Make a tangent-space normal texture of the photo's normals"""

    bl_idname = "lotus.normal_texture"
    bl_label = "Normal Texture"
    bl_options = {"REGISTER", "UNDO"}
    needs = ("normal",)
    in_object_mode = False

    convention: EnumProperty(
        name="Convention", items=CONVENTIONS, description="Which way green points", default="OPENGL"
    )
    strength: FloatProperty(
        name="Strength", description="1: the normals as they are; 0: flat", default=1.0, min=0.0, soft_max=2.0
    )

    def build(self, _context: bpy.types.Context, photo: bpy.types.Image) -> str:
        image = normal_texture(photo, self.convention, self.strength)
        return f"{image.name}, {image.size[0]}×{image.size[1]}, float"


class LOTUS_OT_material(PhotoOperator, bpy.types.Operator):
    """Make a material of the photo and its normals, and give it to the selected meshes"""

    bl_idname = "lotus.material"
    bl_label = "Material"
    bl_options = {"REGISTER", "UNDO"}
    needs = ()

    shading: EnumProperty(
        name="Shading", items=materials.SHADINGS, description="How the photo is shaded", default="PRINCIPLED"
    )
    use_normal: BoolProperty(
        name="Normal map",
        description="Use the photo's normals. For flat or coarse meshes: on a relief they would count twice",
        default=True,
    )
    use_roughness: BoolProperty(
        name="Roughness from uncertainty",
        description="Make places rougher where the depth is unsure; needs an uncertainty map",
        default=False,
    )
    roughness_min: FloatProperty(
        name="Sure", description="Roughness where the depth is sure", default=0.4, min=0, max=1
    )
    roughness_max: FloatProperty(
        name="Unsure", description="Roughness where the depth is least sure", default=0.9, min=0, max=1
    )

    def build(self, context: bpy.types.Context, photo: bpy.types.Image) -> str:
        if self.use_roughness and photo.lotus.uncertainty is None:
            self.warn(
                f"The roughness is the same everywhere, since {photo.name} has no uncertainty map: predict it, or"
                " untick Roughness from uncertainty."
            )
        material = materials.photo_material(
            f"{photo.name} material",
            photo,
            self.shading,
            normal_texture=photo.lotus.normal if self.use_normal else None,
            roughness=photo.lotus.uncertainty if self.use_roughness else None,
            roughness_range=(self.roughness_min, self.roughness_max),
        )
        meshes = [obj for obj in context.selected_objects if obj.type == "MESH"]
        for obj in meshes:
            if obj.data.materials:
                obj.data.materials[obj.active_material_index] = material
            else:
                obj.data.materials.append(material)
        material.use_fake_user = not meshes
        return f"{material.name} on {len(meshes)} objects" if meshes else f"{material.name}; no mesh was selected"


class LOTUS_OT_export_map(PhotoOperator, bpy.types.Operator):
    """Save one map of the photo as a file for other programs: EXR with 32-bit floats, or PNG with 16 bits"""

    bl_idname = "lotus.export_map"
    bl_label = "Export Map"
    bl_options = {"REGISTER"}
    needs = ()
    in_object_mode = False

    filepath: StringProperty(
        name="File",
        description="Where to; .exr or .png, and .exr where the name has no suffix",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )
    kind: EnumProperty(
        name="Map",
        items=(
            ("DEPTH", "Depth", "Values in 0…1 as predicted"),
            ("NORMAL", "Normals", "Coded as 0.5 n + 0.5"),
            ("UNCERTAINTY", "Uncertainty", "Standard deviation"),
        ),
        description="Which map",
        default="DEPTH",
        options={"SKIP_SAVE"},
    )
    convention: EnumProperty(
        name="Convention", items=CONVENTIONS, description="Of normals: which way green points", default="OPENGL"
    )
    check_existing: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_glob: StringProperty(default="*.exr;*.png", options={"HIDDEN"})

    @classmethod
    def missing(cls, photo: bpy.types.Image) -> str:
        if any(images.map_of(photo, kind) for kind in images.KINDS):
            return ""
        return f"{photo.name} has no map yet: predict one, or import one"

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        self.choose_photo(context)
        try:
            self.propose(context)
        except LotusError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def propose(self, context: bpy.types.Context) -> None:
        """Choose map and name, as far as the caller has not. Raises LotusError."""
        if not self.properties.is_property_set("kind"):
            self.kind = self._shown(context)
        if not self.filepath:
            self.filepath = f"{Path(self.image).stem}_{self.kind.lower()}.exr"

    def check(self, _context: bpy.types.Context) -> bool:
        """Let the name follow the map that is chosen while the file browser is open, and end as it will."""
        name = os.path.basename(self.filepath)
        if not name:
            return False
        stem, suffix = os.path.splitext(_with_suffix(name))
        for kind in images.KINDS:
            if stem.endswith(f"_{kind}"):
                stem = stem.removesuffix(kind) + self.kind.lower()
                break
        before, self.filepath = self.filepath, f"{self.filepath.removesuffix(name)}{stem}{suffix}"
        return self.filepath != before

    def _shown(self, context: bpy.types.Context) -> str:
        """The kind of the map that the image editor shows, else of the first one that there is."""
        space = context.space_data
        if space is not None and space.type == "IMAGE_EDITOR" and space.image is not None:
            shown = space.image.lotus.kind
            if shown != "NONE":
                return shown
        photo = named_photo(self.image, context, self.library)
        return next((kind for kind in images.KINDS if images.map_of(photo, kind)), self.kind).upper()

    def build(self, _context: bpy.types.Context, photo: bpy.types.Image) -> str:
        kind = self.kind.lower()
        source = images.map_of(photo, kind)
        if source is None:
            raise LotusError(f"{photo.name} has no {kind} map; predict it, or choose another map.")
        path = Path(bpy.path.abspath(_with_suffix(self.filepath)))
        if path.suffix.lower() not in SUFFIXES:
            raise LotusError(f"Maps are saved as .exr or .png; {path.name} ends in neither.")
        folder = storage.workspace("PACKED")
        try:
            texture = write_texture(
                images.read_map(source, kind), folder / f"{kind}{path.suffix.lower()}", self.convention.lower()
            )
            if texture.file.suffix != path.suffix.lower():
                raise LotusError(f"{path.name} cannot hold angles in degrees: save them as .exr.")
            storage.move(texture.file, path)
        except OSError as error:
            raise LotusError(f"Cannot write {path}: {error.strerror or error}; choose another place.") from None
        finally:
            storage.clear(folder)
        return f"Saved {path}"


def _with_suffix(path: str) -> str:
    """A file's path with .exr at its end, unless it ends as pictures do."""
    return path if os.path.splitext(path)[1].lower() in bpy.path.extensions_image else f"{path}.exr"


def normal_texture(photo: bpy.types.Image, convention: str, strength: float) -> bpy.types.Image:
    """A new float Non-Color image: 0.5 n + 0.5 in "OPENGL" or "DIRECTX", flattened or raised by `strength`.

    It is packed and kept without users.
    """
    normals = images.normals_of(photo)
    if normals is None:
        raise LotusError(f"{photo.name} has no normal map; predict it first, or import one.")
    vectors = normals.values
    if strength != 1:
        vectors = vectors.copy()
        vectors[..., :2] *= strength
        normals = Normals.from_vectors(vectors, "opengl")
    turned = normals.to("directx" if convention == "DIRECTX" else "opengl").values
    image = images.new_data_image(f"{Path(photo.name).stem} normal texture", 0.5 * turned + 0.5)
    image.use_fake_user = True
    return image


CLASSES = (LOTUS_OT_normal_texture, LOTUS_OT_material, LOTUS_OT_export_map)
