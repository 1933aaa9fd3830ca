"""What the build operators share: which photo, poll messages, and errors as one sentence."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import StringProperty

from lotus_core.errors import LotusError

from ..context import photo_of


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
    needs: tuple[str, ...] = ("depth",)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """There is a photo and it has the maps that the operator needs."""
        photo = photo_of(context)
        if photo is None:
            cls.poll_message_set("Choose a photo in the panel Lotus first")
            return False
        for kind in cls.needs:
            if getattr(photo.lotus, kind) is None:
                cls.poll_message_set(f"{photo.name} has no {kind} map yet: predict it, or import one")
                return False
        if context.mode != "OBJECT":
            cls.poll_message_set("Leave the edit mode first (Tab)")
            return False
        return True

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Take the panel's photo, and keep it while its options are adjusted."""
        if not self.image:
            self.image = chosen_name(context)
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        photo = bpy.data.images.get(self.image) if self.image else photo_of(context)
        if photo is None:
            self.report({"ERROR"}, f"There is no image named {self.image}; choose another photo.")
            return {"CANCELLED"}
        try:
            message = self.build(context, photo)
        except LotusError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if message:
            self.report({"INFO"}, message)
        return {"FINISHED"}

    def build(self, context: bpy.types.Context, photo: bpy.types.Image) -> str:
        """Do it; returns what to tell the user."""
        raise NotImplementedError


def chosen_name(context: bpy.types.Context) -> str:
    """The name of the panel's photo; "" where there is none (which `poll` does not let through)."""
    photo = photo_of(context)
    return "" if photo is None else photo.name


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
