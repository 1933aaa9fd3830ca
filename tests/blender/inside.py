"""Enables the extension from the sources, as a user's local repository."""

from __future__ import annotations

import importlib
from pathlib import Path

from .scenes import MODULE

ROOT = Path(__file__).resolve().parents[2]


def enable(repository: str | Path) -> None:
    """Make a repository in the folder `repository` (made where missing) and enable the extension. Needs bpy loaded."""
    import bpy

    addon_utils = importlib.import_module("addon_utils")  # importing bpy makes it known
    Path(repository).mkdir(parents=True, exist_ok=True)
    (Path(repository) / "lotus_geometry").symlink_to(ROOT / "blender_lotus", target_is_directory=True)
    repo = bpy.context.preferences.extensions.repos.new(
        name="dev", module="dev", custom_directory=str(repository), remote_url=""
    )
    repo.use_custom_directory = True
    addon_utils.enable(MODULE, default_set=True)
    assert MODULE in bpy.context.preferences.addons
