"""Entries in Blender's own menus, which also makes the operators known to its search (F3)."""

from __future__ import annotations

import bpy

from ..context import mark_buttons

_ICONS = {
    "predict": "PLAY",
    "scene_mesh": "OUTLINER_OB_CAMERA",
    "relief": "MOD_DISPLACE",
    "material": "MATERIAL",
    "normal_texture": "TEXTURE",
    "import_map": "IMPORT",
    "export_map": "EXPORT",
}


class LOTUS_MT_image(bpy.types.Menu):
    """What Lotus does with the image that the editor shows."""

    bl_idname = "LOTUS_MT_image"
    bl_label = "Lotus"

    def draw(self, context: bpy.types.Context) -> None:
        mark_buttons(self.layout, context)
        draw_operators(self.layout, "predict")
        self.layout.separator()
        draw_operators(self.layout, "material", "normal_texture")
        self.layout.separator()
        draw_operators(self.layout, "import_map", "export_map")


def draw_operators(layout: bpy.types.UILayout, *names: str) -> None:
    """Buttons or entries of our operators, with their icons."""
    for name in names:
        layout.operator(f"lotus.{name}", icon=_ICONS[name])


def _add_image(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    self.layout.separator()
    mark_buttons(self.layout, context)
    self.layout.operator("lotus.open_photo", text="Open Photo for Lotus", icon="FILE_IMAGE")
    self.layout.operator("lotus.relief", text="Lotus Relief", icon=_ICONS["relief"])


def _add_mesh(self: bpy.types.Menu, context: bpy.types.Context) -> None:
    self.layout.separator()
    mark_buttons(self.layout, context)
    self.layout.operator("lotus.scene_mesh", text="Lotus Scene Mesh", icon=_ICONS["scene_mesh"])
    self.layout.operator("lotus.relief", text="Lotus Relief", icon=_ICONS["relief"])


def _image(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    self.layout.separator()
    self.layout.menu(LOTUS_MT_image.bl_idname)


_ENTRIES = (("VIEW3D_MT_image_add", _add_image), ("VIEW3D_MT_mesh_add", _add_mesh), ("IMAGE_MT_image", _image))


def register() -> None:
    bpy.utils.register_class(LOTUS_MT_image)
    for menu, draw in _ENTRIES:
        getattr(bpy.types, menu).append(draw)


def unregister() -> None:
    for menu, draw in _ENTRIES:
        getattr(bpy.types, menu).remove(draw)
    bpy.utils.unregister_class(LOTUS_MT_image)
