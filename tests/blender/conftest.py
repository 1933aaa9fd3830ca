"""Blender as the Python module bpy, with the extension enabled from the sources as a user's local repository."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from .scenes import MODULE


@pytest.fixture(scope="session")
def blender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """bpy, imported once, with a user folder of its own and the extension enabled."""
    if sys.version_info[:2] == (3, 12):
        pytest.skip("Blender exists as a module for Python 3.11 and 3.13 only")
    resources = tmp_path_factory.mktemp("blender")
    os.environ["BLENDER_USER_RESOURCES"] = str(resources)
    os.environ["OMP_NUM_THREADS"] = "1"  # for workers: threads that wait for each other crawl on a loaded machine
    import bpy

    from .inside import enable

    enable(tmp_path_factory.mktemp("repository"))
    yield bpy
    importlib.import_module("addon_utils").disable(MODULE, default_set=True)


@pytest.fixture
def bpy(blender: ModuleType) -> Iterator[Any]:
    """An empty file, and the worker as backend on this very Python. A worker stays warm from test to test."""
    blender.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    preferences = blender.context.preferences.addons[MODULE].preferences
    wanted = {"backend": "WORKER", "python": sys.executable, "device": "cpu", "offload": False}
    wanted |= {"place": "PACKED", "map_format": ".exr"}
    for name, value in wanted.items():
        if getattr(preferences, name) != value:  # setting it stops the worker
            setattr(preferences, name, value)
    yield blender
    jobs = importlib.import_module(f"{MODULE}.jobs").jobs
    if jobs.running:
        jobs.stop()
