"""Entries in Blender's own menus, which also makes the operators known to its search (F3)."""

from __future__ import annotations

import bpy


def _add_image(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    self.layout.separator()
    self.layout.operator("lotus.open_photo", text="Photo for Lotus", icon="FILE_IMAGE")
    self.layout.operator("lotus.relief", text="Lotus Relief", icon="MOD_DISPLACE")


def _add_mesh(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    self.layout.separator()
    self.layout.operator("lotus.scene_mesh", text="Lotus Scene Mesh", icon="OUTLINER_OB_CAMERA")
    self.layout.operator("lotus.relief", text="Lotus Relief", icon="MOD_DISPLACE")


def _image(self: bpy.types.Menu, _context: bpy.types.Context) -> None:
    self.layout.separator()
    for name in ("predict", "normal_texture", "material", "import_map", "export_map"):
        self.layout.operator(f"lotus.{name}", text_ctxt="Operator")


_ENTRIES = (("VIEW3D_MT_image_add", _add_image), ("VIEW3D_MT_mesh_add", _add_mesh), ("IMAGE_MT_image", _image))


def register() -> None:
    for menu, draw in _ENTRIES:
        getattr(bpy.types, menu).append(draw)


def unregister() -> None:
    for menu, draw in _ENTRIES:
        getattr(bpy.types, menu).remove(draw)
