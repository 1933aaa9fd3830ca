"""Photos and maps from files."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from lotus_core.errors import LotusError
from lotus_core.maps import Depth, Normals, Uncertainty
from lotus_core.maps.storage import own_words

from .. import photos
from ..attaching import put_map
from ..jobs import jobs
from ..prediction import focal_35mm_of
from ..preferences import preferences
from .base import PhotoOperator

# Kind of map → what its file may not say, and one of the possible answers.
_OPTIONS = {"depth": ("space", "disparity"), "normal": ("convention", "opengl"), "uncertainty": ("unit", "depth")}


class LOTUS_OT_open_photo(bpy.types.Operator):
    """Load a photo, or a numbered image sequence, and make it the scene's photo"""

    bl_idname = "lotus.open_photo"
    bl_label = "Open Photo"
    bl_options = {"REGISTER", "UNDO"}

    filepath: StringProperty(name="File", description="The photo, or a sequence's first frame", subtype="FILE_PATH")
    sequence: BoolProperty(
        name="Image sequence",
        description="The file is the first of a numbered sequence",
        default=False,
        options={"SKIP_SAVE"},
    )
    filter_image: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = bpy.path.abspath(self.filepath)
        try:
            image = photos.open_sequence(path) if self.sequence else photos.open_still(path)
        except LotusError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        image.lotus.focal_35mm = focal_35mm_of(image) or image.lotus.focal_35mm  # a known one stays
        image.use_fake_user = True  # else saving the .blend drops every photo but the panel's
        context.scene.lotus.image = image
        return {"FINISHED"}


class LOTUS_OT_import_map(PhotoOperator, bpy.types.Operator):
    """Take a depth, normal or uncertainty map made elsewhere: 16-bit PNG, EXR or NPY"""

    bl_idname = "lotus.import_map"
    bl_label = "Import Map"
    bl_options = {"REGISTER", "UNDO"}
    needs = ()
    in_object_mode = False

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
    unit: EnumProperty(
        name="Uncertainty in",
        items=(
            ("AUTO", "As the file says", "From the file or the record beside it"),
            ("depth", "Depth", "Standard deviation of values in 0…1"),
            ("degrees", "Degrees", "Mean angle between normals"),
        ),
        description="For uncertainty maps that do not say it themselves",
        default="AUTO",
    )

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        self.choose_photo(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def build(self, _context: bpy.types.Context, photo: bpy.types.Image) -> str:
        photos.check_own(photo)
        kind = self.kind.lower()
        path = Path(bpy.path.abspath(self.filepath))
        value = self._read(path, kind)
        if _has_eight_bits(path):
            self.warn(
                f"{path.name} has only 8 bits, which are 256 steps: surfaces made of it show terraces. Better export it"
                " anew, as a PNG of 16 bits or an EXR."
            )
        chosen = preferences()
        note = put_map(photo, kind, value, place=chosen.place, suffix=chosen.map_format)
        return note or f"{path.name} is now the {kind} map of {photo.name}"

    def _read(self, path: Path, kind: str) -> Depth | Normals | Uncertainty:
        """The map in a file; what the file lacks is told in the words of this operator's options. Raises LotusError."""
        from ..backends.blender_pixels import read_pixels
        from ..backends.files import FilesBackend
        from ..backends.words import read_words

        words = own_words(read_words(path))
        found = words.get("map", kind)
        if found != kind:
            items = self.properties.bl_rna.properties["kind"].enum_items
            way = f"choose {items[found.upper()].name} under Map" if found.upper() in items else "choose another file"
            raise LotusError(f"{path.name} is a {found} map, not a {kind} map: {way}.")
        option, guess = _OPTIONS[kind]
        chosen = getattr(self, option)
        choices = self.properties.bl_rna.properties[option]
        names = [item.name for item in choices.enum_items]
        hints = {} if chosen == "AUTO" else {option: chosen}
        contradiction = f"{path.name} says something else of itself: choose {names[0]} under {choices.name}."
        backend = FilesBackend(read_pixels)
        try:
            return backend.read(path, kind, **hints)
        except LotusError as error:
            failure = error
        # Would it do with a hint, or without? Then the option is what has to change.
        try:
            backend.read(path, kind, **({} if hints else {option: guess}))
        except LotusError as error:
            raise (failure if hints else error) from None
        if hints:
            raise LotusError(contradiction)
        raise LotusError(
            f"{path.name} does not say what it holds: choose {' or '.join(names[1:])} under {choices.name}."
        )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if jobs.running:
            cls.poll_message_set("A prediction is in progress: wait for it, or cancel it")
            return False
        return super().poll(context)


def _has_eight_bits(path: Path) -> bool:
    """Whether a file is a PNG of 8 bits a channel or fewer (PNG specification, 11.2.1)."""
    if path.suffix.lower() != ".png":
        return False
    with path.open("rb") as file:
        return file.read(25)[-1] <= 8


CLASSES = (LOTUS_OT_open_photo, LOTUS_OT_import_map)
