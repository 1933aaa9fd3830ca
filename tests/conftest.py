"""The order of the tests, and what several folders of them share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from blender_lotus import build

from .blender.fresh import FreshBlender


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those inside Blender last: once bpy is imported its threads live as long as the process, and forks may hang.

    Where several processes share the work (pytest-xdist), those of ComfyUI and those of Blender each stay in one, which
    starts one server and one bpy; all others stay together with their file.
    """
    items.sort(key=lambda item: item.nodeid.startswith("tests/blender/"))
    for item in items:
        file = item.nodeid.split("::")[0]
        host = next((host for host in ("tests/comfyui/", "tests/blender/") if file.startswith(host)), file)
        item.add_marker(pytest.mark.xdist_group(host))


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
