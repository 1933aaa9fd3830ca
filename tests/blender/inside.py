"""Enables the extension from the sources, as a user's local repository."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

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


@contextmanager
def enabled(folder: Path) -> Iterator[ModuleType]:
    """bpy, imported for the first time in this process, with its user folder in `folder` and the extension enabled."""
    (folder / "user").mkdir()
    os.environ["BLENDER_USER_RESOURCES"] = str(folder / "user")
    import bpy

    enable(folder / "repository")
    yield bpy
    importlib.import_module("addon_utils").disable(MODULE, default_set=True)
