"""What the build operators share: which photo, poll messages, and errors as one sentence."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import StringProperty

from lotus_core.errors import LotusError

from .. import images
from ..context import from_button, photo_of


class PhotoOperator:
    """Mixin: works on the photo named by `image`, or on the one that the panel shows.

    Subclasses do their work in `build`, which raises LotusError for what a user can put right, after which nothing may
    be left half made.
    """

    image: StringProperty(
        name="Photo",
        description="Name of the image whose maps are used; empty: the photo of the panel",
        options={"HIDDEN", "SKIP_SAVE"},
    )
    library: StringProperty(
        name="Library",
        description="File of the .blend that the image is linked from, as Blender names it; empty: this .blend's own",
        options={"HIDDEN", "SKIP_SAVE"},
    )
    needs: tuple[str, ...] = ("depth",)
    in_object_mode = True  # whether it makes or changes objects, which other modes would not notice

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """The mode is right; and where a button asks, there is a photo with the maps that the operator needs."""
        if cls.in_object_mode and context.mode != "OBJECT":
            mode = bpy.types.Context.bl_rna.properties["mode"].enum_items[context.mode].name
            cls.poll_message_set(f"Switch from {mode} to Object Mode first")
            return False
        return button_allows(cls, context)

    @classmethod
    def missing(cls, photo: bpy.types.Image) -> str:
        """One sentence on what the photo lacks, without its full stop; "" where it lacks nothing."""
        for kind in cls.needs:
            if images.map_of(photo, kind) is None:
                return f"{photo.name} has no {kind} map yet: predict it, or import one"
        return ""

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Take the panel's photo, and keep it while its options are adjusted."""
        self.choose_photo(context)
        return self.execute(context)

    def choose_photo(self, context: bpy.types.Context) -> None:
        """Write down the panel's photo, unless one was named. Its name alone may be that of a linked one, too."""
        photo = None if self.image else photo_of(context)
        if photo is not None:
            self.image, self.library = photo.name, photo.library.filepath if photo.library else ""

    def execute(self, context: bpy.types.Context) -> set[str]:
        self._warnings: list[str] = []
        try:
            photo = named_photo(self.image, context, self.library)
            if lack := self.missing(photo):
                raise LotusError(f"{lack}.")
            message = self.build(context, photo)
        except LotusError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if message:
            self.report({"INFO"}, message)
        for warning in self._warnings:  # last, for the status bar shows the last report
            self.report({"WARNING"}, warning)
        return {"FINISHED"}

    def warn(self, sentence: str) -> None:
        """Tell the user what `build` did otherwise than asked. Better than to fail on an option that Blender remembers
        from another photo: an operator that fails shows no panel where it could be changed.
        """
        self._warnings.append(sentence)

    def build(self, context: bpy.types.Context, photo: bpy.types.Image) -> str:
        """Do it; returns what to tell the user."""
        raise NotImplementedError


def button_allows(operator: Any, context: bpy.types.Context) -> bool:
    """Whether a button of this operator is enabled: the panel's photo has what the operator needs.

    Scripts are not asked: they may name another photo by `image`, which no `poll` can see; `execute` checks that one.
    """
    if not from_button(context):
        return True
    photo = photo_of(context)
    lack = "Choose a photo in the panel Lotus first" if photo is None else operator.missing(photo)
    if lack:
        operator.poll_message_set(lack)
    return not lack


def named_photo(name: str, context: bpy.types.Context, library: str = "") -> bpy.types.Image:
    """The image of this name, or the panel's photo for "". Raises LotusError where there is none.

    library: file of the .blend that it is linked from; "" prefers this .blend's own to those of the same name.
    """
    if not name:
        photo = photo_of(context)
    else:
        photo = bpy.data.images.get((name, library or None)) or (None if library else bpy.data.images.get(name))
    if photo is None:
        lack = f"There is no image named {name}" if name else "There is no photo"
        raise LotusError(f"{lack}: choose one in the panel Lotus, or name one by `image`.")
    return photo


def add_to_scene(context: bpy.types.Context, *objects: bpy.types.Object, collection: Any = None) -> None:
    """Link objects to a collection (the active one), select only them, and make the first one active."""
    collection = collection or context.collection
    for obj in context.view_layer.objects:
        if obj.select_get():
            obj.select_set(False)
    for obj in objects:
        collection.objects.link(obj)
    for obj in objects[:1]:
        obj.select_set(True)
        context.view_layer.objects.active = obj
