"""What is registered, in order."""

from __future__ import annotations

import bpy

from . import preferences, properties, surfaces
from .jobs import jobs
from .operators import environment, import_maps, predict, relief, scene_mesh, textures
from .ui import menus, panel

_OPERATORS = (predict, import_maps, scene_mesh, relief, textures, environment)


def register() -> None:
    bpy.utils.register_class(preferences.LotusPreferences)
    properties.register()
    for module in _OPERATORS:
        for cls in module.CLASSES:
            bpy.utils.register_class(cls)
    panel.register()
    menus.register()
    jobs.register()


def unregister() -> None:
    jobs.unregister()
    menus.unregister()
    panel.unregister()
    for module in reversed(_OPERATORS):
        for cls in reversed(module.CLASSES):
            bpy.utils.unregister_class(cls)
    properties.unregister()
    bpy.utils.unregister_class(preferences.LotusPreferences)
    surfaces.forget()
