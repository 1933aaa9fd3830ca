"""Which photo an operator or the panel is about, and who asks."""

from __future__ import annotations

import bpy

from .names import KINDS
from .properties import is_photo

_BUTTON = "lotus_button"


def photo_of(context: bpy.types.Context) -> bpy.types.Image | None:
    """In an image editor the image it shows (for a map: the photo it belongs to); elsewhere the scene's photo."""
    space = context.space_data
    if space is not None and space.type == "IMAGE_EDITOR" and space.image is not None:
        shown = space.image
        if shown.lotus.kind != "NONE":
            shown = owner_of(shown)
        if shown is not None and is_photo(None, shown):
            return shown
    return context.scene.lotus.image if context.scene is not None else None


def owner_of(map_image: bpy.types.Image) -> bpy.types.Image | None:
    """The photo that a map belongs to."""
    for image in bpy.data.images:
        if any(getattr(image.lotus, kind) == map_image for kind in KINDS):
            return image
    return None


def mark_buttons(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Let the operators' `poll` know that the buttons of this layout ask, which act on the panel's photo."""
    layout.context_pointer_set(_BUTTON, context.scene)


def from_button(context: bpy.types.Context) -> bool:
    """Whether one of our buttons or menu entries asks, and no script."""
    return getattr(context, _BUTTON, None) is not None
