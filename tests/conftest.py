"""The order of the tests, and what several folders of them share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from blender_lotus import build

from .blender.fresh import FreshBlender


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those inside Blender last: once bpy is imported its threads live as long as the process, and forks may hang."""
    items.sort(key=lambda item: item.nodeid.startswith("tests/blender/"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For several processes (pytest -n 2): which tests stay together, in the order of collection.

    All of ComfyUI's in one process, which starts one server; others with their file.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(nodeid).split("::")[0]
            return "tests/comfyui/" if file.startswith("tests/comfyui/") else file

    config.option.loadscopereorder = False  # it would begin with the largest, and Blender's files come last
    return ByFile(config, log)


@pytest.fixture(scope="session")
def extension(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that build.py makes: the zip and the repository's index."""
    if sys.version_info[:2] == (3, 12):
        pytest.skip("Blender exists as a module for Python 3.11 and 3.13 only")
    folder = tmp_path_factory.mktemp("dist")
    assert build.main(["-o", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def fresh_blender(extension: Path, tmp_path_factory: pytest.TempPathFactory) -> FreshBlender:
    """A new Blender in which a user has installed the zip, as by dragging it into the window."""
    made = FreshBlender.make(tmp_path_factory.mktemp("Neuer Blender ä"))
    (archive,) = extension.glob("*.zip")
    answer = made.run(INSTALL, archive)
    assert answer["result"] == ["FINISHED"]
    return made


INSTALL = """
result = bpy.ops.extensions.package_install_files(filepath=arguments[0], repo="user_default", enable_on_install=True)
bpy.ops.wm.save_userpref()
answer(result=list(result))
"""
