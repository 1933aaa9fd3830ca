"""Blender as the Python module bpy, with the extension enabled from the sources as a user's local repository."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = "bl_ext.dev.lotus_geometry"


@pytest.fixture(scope="session")
def blender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """bpy, imported once, with a user folder of its own and the extension enabled."""
    if sys.version_info[:2] == (3, 12):
        pytest.skip("Blender exists as a module for Python 3.11 and 3.13 only")
    resources = tmp_path_factory.mktemp("blender")
    os.environ["BLENDER_USER_RESOURCES"] = str(resources)
    import bpy

    addon_utils = importlib.import_module("addon_utils")  # importing bpy makes it known

    repository = tmp_path_factory.mktemp("repository")
    (repository / "lotus_geometry").symlink_to(ROOT / "blender_lotus", target_is_directory=True)
    repos = bpy.context.preferences.extensions.repos
    repo = repos.new(name="dev", module="dev", custom_directory=str(repository), remote_url="")
    repo.use_custom_directory = True
    addon_utils.enable(MODULE, default_set=True)
    assert MODULE in bpy.context.preferences.addons
    yield bpy
    addon_utils.disable(MODULE, default_set=True)


@pytest.fixture
def bpy(blender: ModuleType) -> Any:
    """An empty file, and the worker as backend on this very Python."""
    blender.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    preferences = blender.context.preferences.addons[MODULE].preferences
    preferences.backend, preferences.python, preferences.place = "WORKER", sys.executable, "PACKED"
    return blender
