"""Photos and maps from files."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from lotus_core.errors import LotusError

from .. import sequences
from ..attaching import put_map
from ..jobs import jobs
from ..prediction import focal_35mm_of
from ..preferences import preferences
from .base import PhotoOperator, chosen_name


class LOTUS_OT_open_photo(bpy.types.Operator):
    """Load a photo, or a numbered image sequence, and make it the scene's photo"""

    bl_idname = "lotus.open_photo"
    bl_label = "Open Photo"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(name="File", description="The photo, or a sequence's first frame", subtype="FILE_PATH")
    sequence: BoolProperty(
        name="Image sequence", description="The file is the first of a numbered sequence", default=False
    )
    filter_image: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = bpy.path.abspath(self.filepath)
        try:
            image = bpy.data.images.load(path, check_existing=not self.sequence)
        except RuntimeError:
            self.report({"ERROR"}, f"{path} is not an image that Blender can read; choose another.")
            return {"CANCELLED"}
        if self.sequence:
            image.source = "SEQUENCE"
            try:
                frames = sequences.frames_of(image)
            except LotusError as error:
                bpy.data.images.remove(image)
                self.report({"ERROR"}, str(error))
                return {"CANCELLED"}
            image.lotus.frames, image.lotus.frame_offset = len(frames), frames[0][0] - 1
        image.lotus.focal_35mm = focal_35mm_of(image)
        context.scene.lotus.image = image
        return {"FINISHED"}


class LOTUS_OT_import_map(PhotoOperator, bpy.types.Operator):
    """Take a depth, normal or uncertainty map made elsewhere: 16-bit PNG, EXR or NPY"""

    bl_idname = "lotus.import_map"
    bl_label = "Import Map"
    bl_options = {"REGISTER", "UNDO"}
    needs = ()

    filepath: StringProperty(name="File", description="The map", subtype="FILE_PATH")
    kind: EnumProperty(
        name="Map",
        items=(
            ("DEPTH", "Depth", "Grey values"),
            ("NORMAL", "Normals", "Coloured, 0.5 n + 0.5, or vectors"),
            ("UNCERTAINTY", "Uncertainty", "Grey values"),
        ),
        description="Which map the file holds",
        default="DEPTH",
    )
    space: EnumProperty(
        name="Depth is",
        items=(
            ("AUTO", "As the file says", "From the file or the record beside it"),
            ("disparity", "1 = near", "Disparity: the usual look, near is white"),
            ("depth", "1 = far", "Depth: far is white"),
        ),
        description="For depth maps that do not say it themselves",
        default="AUTO",
    )
    convention: EnumProperty(
        name="Normals are",
        items=(
            ("AUTO", "As the file says", "From the file or the record beside it"),
            ("opengl", "OpenGL", "x right, y up: Blender"),
            ("directx", "DirectX", "x right, y down"),
            ("lotus", "Lotus", "x left, y up: the model itself, NormalBae"),
        ),
        description="For normal maps that do not say it themselves",
        default="AUTO",
    )

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        self.image = self.image or chosen_name(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def build(self, _context: bpy.types.Context, photo: bpy.types.Image) -> str:
        from ..backends.blender_pixels import read_pixels
        from ..backends.files import FilesBackend

        kind = self.kind.lower()
        hints = {}
        if kind == "depth" and self.space != "AUTO":
            hints["space"] = self.space
        if kind == "normal" and self.convention != "AUTO":
            hints["convention"] = self.convention
        path = Path(bpy.path.abspath(self.filepath))
        value = FilesBackend(read_pixels).read(path, kind, **hints)
        chosen = preferences()
        note = put_map(photo, kind, value, place=chosen.place, suffix=chosen.map_format)
        return note or f"{path.name} is now the {kind} map of {photo.name}"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if jobs.running:
            cls.poll_message_set("A prediction is in progress: wait for it, or cancel it")
            return False
        return super().poll(context)


CLASSES = (LOTUS_OT_open_photo, LOTUS_OT_import_map)
