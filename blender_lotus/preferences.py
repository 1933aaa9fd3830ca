"""The extension's preferences: where predictions come from and where maps are kept."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

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


@cache  # Blender keeps no reference to the strings of a dynamic enum
def _all_builds() -> list[tuple[str, str, str]]:
    """The one that fits this machine first, which makes it the default."""
    found = sorted(available_builds().items(), key=lambda item: item[0] != default_build())
    return [(key, build.label, build.description) for key, build in found]


def _builds(_self: object, _context: object) -> list[tuple[str, str, str]]:
    return _all_builds()


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
    torch_build: EnumProperty(name="Compute on", items=_builds, description="Which build of torch the environment gets")
    device: StringProperty(
        name="Device", description="What the worker computes on: auto, cpu, cuda, cuda:1, mps", default="auto"
    )
    offload: BoolProperty(
        name="Offload",
        description="For graphics cards that cannot hold the model: it stays in main memory, and a layer at a time"
        " moves to the card, which takes longer",
        default=False,
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
            self._draw_worker(box, context)
        elif self.backend == "COMFYUI":
            box.prop(self, "comfyui_url")
            box.operator("lotus.check_backend")
        else:
            hint = "Predict takes maps that lie beside the photo: photo_depth.exr, photo_normal.png …"
            status.draw_text(box, context, hint, icon="INFO")
        status.draw_job(box, context)
        layout.prop(self, "place", expand=True)
        row = layout.row()
        row.active = self.place == "BESIDE"
        row.prop(self, "map_format", expand=True)

    def _draw_worker(self, layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
        layout.prop(self, "python")
        layout.prop(self, "device")
        layout.prop(self, "offload")
        if self.python:
            layout.operator("lotus.check_backend")
            return
        state = environment_state(environment_folder())
        layout.prop(self, "torch_build")
        if not bpy.app.online_access:
            # Blender's own switch, from System › Network.
            layout.prop(context.preferences.system, "use_online_access", text="Allow Online Access")
        row = layout.row()
        row.scale_y = status.BIG
        if state.kind == "ready":
            status.draw_text(layout, context, f"The environment is ready: {environment_folder()}", icon="CHECKMARK")
            row.operator("lotus.check_backend")
            row.operator("lotus.create_environment", text="Repair")
        else:
            if state.detail:
                status.draw_text(layout, context, state.detail, icon="ERROR")
            text = "Repair Environment" if state.kind == "broken" else "Create Environment"
            row.operator("lotus.create_environment", text=text, icon="IMPORT")


def preferences() -> LotusPreferences:
    """The user's preferences of this extension."""
    return bpy.context.preferences.addons[PACKAGE].preferences


def user_folder(name: str) -> Path:
    """A folder for data that outlives updates of the extension, made where missing."""
    return Path(bpy.utils.extension_path_user(PACKAGE, path=name, create=True))


def environment_folder() -> Path:
    """Where Create puts the environment."""
    return Path(bpy.utils.extension_path_user(PACKAGE, path="environment"))
