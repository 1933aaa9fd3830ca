"""The panel "Lotus" in the sidebars of the 3D view and the image editor."""

from __future__ import annotations

import bpy

from ..backends.environment import environment_state
from ..context import mark_buttons, photo_of
from ..names import KINDS, PACKAGE
from ..preferences import environment_folder, preferences
from . import status
from .menus import draw_operators

_THUMBNAIL = 5.0
_NAMES = {"depth": "Depth", "normal": "Normals", "uncertainty": "Uncertainty"}


class _Sidebar:
    bl_region_type = "UI"
    bl_category = "Lotus"


def _draw_main(panel: bpy.types.Panel, context: bpy.types.Context) -> None:
    layout = panel.layout
    mark_buttons(layout, context)
    settings = context.scene.lotus
    photo = photo_of(context)
    row = layout.row(align=True)
    in_editor = context.space_data.type == "IMAGE_EDITOR" and photo != settings.image
    if in_editor and photo is not None:
        row.label(text=photo.name, icon="IMAGE_DATA")
    else:
        row.prop(settings, "image", text="")
    row.operator("lotus.open_photo", text="", icon="FILE_FOLDER")
    _draw_thumbnails(layout, photo)
    column = layout.column()
    row = column.row(align=True)
    for kind in KINDS:
        row.prop(settings, f"use_{kind}", text=_NAMES[kind], toggle=True)
    column.use_property_split = True
    column.use_property_decorate = False
    column.prop(settings, "quality")
    if settings.quality == "CUSTOM":
        column.prop(settings, "resolution")
    column.prop(settings, "mirror")
    if settings.use_uncertainty:
        column.prop(settings, "samples")
    if photo is not None and photo.source == "SEQUENCE":
        column.prop(settings, "frame_start")
        column.prop(settings, "frame_count")
    if not status.jobs.running:
        _draw_setup(layout, context)
        row = layout.row()
        row.scale_y = status.BIG
        row.operator("lotus.predict", icon="PLAY")
    status.draw_job(layout, context)


def _draw_setup(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """What the first prediction lacks, and the way to put it right."""
    chosen = preferences()
    if chosen.backend != "WORKER" or chosen.python:
        return
    state = environment_state(environment_folder())
    if state.kind == "ready":
        return
    box = layout.box()
    missing = "Predict needs an environment of its own, with torch. One click in the preferences makes it."
    status.draw_text(box, context, state.detail or missing, icon="INFO")
    box.operator("preferences.addon_show", text="Set Up", icon="PREFERENCES").module = PACKAGE


def _draw_thumbnails(layout: bpy.types.UILayout, photo: bpy.types.Image | None) -> None:
    if photo is None:
        layout.label(text="Choose or open a photo", icon="INFO")
        return
    maps = [(_NAMES[kind], getattr(photo.lotus, kind)) for kind in KINDS]
    shown = [("Photo", photo)] + [(name, image) for name, image in maps if image is not None]
    grid = layout.box().grid_flow(row_major=True, columns=min(len(shown), 2), even_columns=True, align=True)
    for name, image in shown:
        column = grid.column(align=True)
        column.template_icon(icon_value=image.preview_ensure().icon_id, scale=_THUMBNAIL)
        label = column.row()
        label.alignment = "CENTER"
        label.label(text=name)


def _draw_build(panel: bpy.types.Panel, context: bpy.types.Context) -> None:
    mark_buttons(panel.layout, context)
    for group in (("scene_mesh", "relief"), ("material", "normal_texture"), ("import_map", "export_map")):
        draw_operators(panel.layout.column(align=True), *group)


def _draw_models(panel: bpy.types.Panel, context: bpy.types.Context) -> None:
    settings = context.scene.lotus
    column = panel.layout.column()
    column.use_property_split = True
    column.use_property_decorate = False
    column.prop(settings, "depth_model")
    column.prop(settings, "normal_model")
    column.prop(settings, "seed")
    column.operator("lotus.stop_worker", icon="TRASH")


def _panels() -> list[type]:
    """The same three panels for both editors."""
    found: list[type] = []
    for space, mark in (("VIEW_3D", "view3d"), ("IMAGE_EDITOR", "image")):
        main = f"LOTUS_PT_{mark}"
        for name, label, draw, parent in (
            (main, "Lotus", _draw_main, ""),
            (f"{main}_build", "Build", _draw_build, main),
            (f"{main}_models", "Models", _draw_models, main),
        ):
            body = {"bl_idname": name, "bl_label": label, "bl_space_type": space, "draw": _method(draw)}
            if parent:
                body["bl_parent_id"] = parent
            if label == "Models":
                body["bl_options"] = {"DEFAULT_CLOSED"}
            found.append(type(name, (_Sidebar, bpy.types.Panel), body))
    return found


def _method(draw):  # type: ignore[no-untyped-def]
    def draw_panel(self: bpy.types.Panel, context: bpy.types.Context) -> None:
        draw(self, context)

    return draw_panel


_registered: list[type] = []


def register() -> None:
    _registered.extend(_panels())
    for cls in _registered:
        bpy.utils.register_class(cls)


def unregister() -> None:
    while _registered:
        bpy.utils.unregister_class(_registered.pop())
