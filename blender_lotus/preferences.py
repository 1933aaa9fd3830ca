"""The extension's preferences: where predictions come from and where maps are kept."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty

from .backends.environment import available_builds, default_build, environment_state
from .names import PACKAGE
from .ui import status

BACKENDS = (
    ("WORKER", "Lotus worker", "A Python program of its own, with torch, in an environment outside Blender"),
    ("COMFYUI", "ComfyUI", "A ComfyUI server on this machine that has the Lotus nodes; shares its models and GPU"),
    ("FILES", "Files", "Maps that lie beside the photo, made by the lotus command or another program"),
)
PLACES = (
    ("BESIDE", "Beside the .blend", "Files in the folder lotus_maps beside the .blend; packed while it has no file"),
    ("PACKED", "In the .blend", "Packed into the .blend"),
)
FORMATS = (
    (".exr", "EXR, 32 bit", "Floats without any loss"),
    (".png", "PNG, 16 bit", "Smaller; 65,536 levels"),
)


def _builds(_self: object, _context: object) -> list[tuple[str, str, str]]:
    global _build_items  # Blender keeps no reference to the strings of a dynamic enum
    _build_items = [(key, build.label, build.description) for key, build in available_builds().items()]
    return _build_items


_build_items: list[tuple[str, str, str]] = []


def _changed(_self: object, _context: object) -> None:
    from .jobs import jobs

    jobs.close_backend()


class LotusPreferences(bpy.types.AddonPreferences):
    """Shown under Edit › Preferences › Add-ons."""

    bl_idname = PACKAGE

    backend: EnumProperty(
        name="Predictions from",
        items=BACKENDS,
        description="Where maps are predicted",
        default="WORKER",
        update=_changed,
    )
    python: StringProperty(
        name="Environment",
        description="Python, or folder of an environment, that has lotus-geometry; empty: the one that Create makes",
        subtype="FILE_PATH",
        update=_changed,
    )
    torch_build: EnumProperty(name="torch for", items=_builds, description="What the environment will compute with")
    device: StringProperty(
        name="Device", description="What the worker computes on: auto, cpu, cuda, cuda:1, mps", default="auto"
    )
    comfyui_url: StringProperty(
        name="Address", description="Of the ComfyUI server", default="http://127.0.0.1:8188", update=_changed
    )
    place: EnumProperty(name="Keep maps", items=PLACES, description="Where predicted maps are kept", default="BESIDE")
    map_format: EnumProperty(name="Format", items=FORMATS, description="Of map files", default=".exr")

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "backend", expand=True)
        box = layout.box()
        if self.backend == "WORKER":
            self._draw_worker(box)
        elif self.backend == "COMFYUI":
            box.prop(self, "comfyui_url")
            box.operator("lotus.check_backend")
        else:
            box.label(text="Predict takes maps named like the photo: photo_depth.exr, photo_normal.png …")
        status.draw_job(box, context)
        layout.prop(self, "place", expand=True)
        row = layout.row()
        row.active = self.place == "BESIDE"
        row.prop(self, "map_format", expand=True)

    def _draw_worker(self, layout: bpy.types.UILayout) -> None:
        layout.prop(self, "python")
        layout.prop(self, "device")
        if self.python:
            layout.operator("lotus.check_backend")
            return
        state = environment_state(environment_folder())
        layout.prop(self, "torch_build")
        if not bpy.app.online_access:
            layout.label(text="Creating it needs Allow Online Access (System › Network).", icon="INTERNET_OFFLINE")
        row = layout.row()
        if state.kind == "ready":
            layout.label(text=f"Ready: {environment_folder()}", icon="CHECKMARK")
            row.operator("lotus.check_backend")
            row.operator("lotus.create_environment", text="Repair")
        else:
            if state.detail:
                layout.label(text=state.detail, icon="ERROR")
            row.operator("lotus.create_environment", text="Repair" if state.kind == "broken" else "Create")


def preferences() -> LotusPreferences:
    """The user's preferences of this extension."""
    return bpy.context.preferences.addons[PACKAGE].preferences


def user_folder(name: str) -> Path:
    """A folder for data that outlives updates of the extension, made where missing."""
    return Path(bpy.utils.extension_path_user(PACKAGE, path=name, create=True))


def environment_folder() -> Path:
    """Where Create puts the environment."""
    return Path(bpy.utils.extension_path_user(PACKAGE, path="environment"))


def initial_build() -> None:
    """Choose the torch build that fits this machine, once, when the extension is enabled."""
    chosen = preferences()
    if not chosen.is_property_set("torch_build"):
        chosen.torch_build = default_build()
