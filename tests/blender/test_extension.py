"""The zip that users install: how it is made, what is inside, and that a Blender takes it and lets go of it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image

from blender_lotus import build
from lotus_core import __version__

from .fresh import FreshBlender
from .scenes import checks


def test_what_is_in_the_zip(extension: Path) -> None:
    (path,) = extension.glob("*.zip")
    assert path.name == f"lotus_geometry-{__version__}.zip"
    tool = build.bundled_tool()
    assert tool is not None
    subprocess.run([*tool, "validate", str(path)], check=True, capture_output=True)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        manifest = tomllib.loads(archive.read("blender_manifest.toml").decode())
        (wheel,) = [name for name in names if name.endswith(".whl")]
        assert manifest["wheels"] == [f"./{wheel}"]
        with archive.open(wheel) as inner, zipfile.ZipFile(inner) as packed:
            tops = {name.split("/")[0] for name in packed.namelist()}
    assert tops == {"lotus_core", f"lotus_geometry-{__version__}.dist-info"}
    assert {"__init__.py", "LICENSE", "wheels/constraints.txt"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(("build.py", ".pyc"))]
    assert manifest["version"] == __version__
    assert manifest["blender_version_min"] == "4.2.0"
    assert manifest["license"] == ["SPDX:GPL-3.0-or-later"]
    assert "lender" not in manifest["name"] + manifest["id"]
    for reason in (manifest["tagline"], *manifest["permissions"].values()):
        assert len(reason) <= 64
        assert reason[-1] not in ".!"


def test_it_imports_relatively_and_knows_its_own_name(extension: Path) -> None:
    """Absolute imports of ourselves fail in an extension, which lies below bl_ext."""
    (path,) = extension.glob("*.zip")
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".py"):
                text = archive.read(name).decode()
                assert "blender_lotus" not in text, name
                assert "sys.path" not in text or "own_program" in text, name
                assert "import torch" not in text, name


def test_the_same_sources_give_the_same_bytes(extension: Path, tmp_path: Path) -> None:
    assert build.main(["-o", str(tmp_path)]) == 0
    for name in ("index.json", f"lotus_geometry-{__version__}.zip"):
        assert (tmp_path / name).read_bytes() == (extension / name).read_bytes(), name


def test_the_repository_index_describes_the_zip(extension: Path) -> None:
    (path,) = extension.glob("*.zip")
    (entry,) = json.loads((extension / "index.json").read_text())["data"]
    assert entry["id"] == "lotus_geometry"
    assert entry["archive_url"] == f"./{path.name}"
    assert entry["archive_size"] == path.stat().st_size
    assert entry["archive_hash"] == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name in (extension / "index.html").read_text()


FROM_PHOTO_TO_MESH = """
chosen = preferences()
chosen.python, chosen.device = arguments[0], "cpu"
bpy.ops.wm.save_as_mainfile(filepath=arguments[2])
results = [bpy.ops.lotus.open_photo(filepath=arguments[1])]
lotus = bpy.context.scene.lotus
lotus.quality, lotus.resolution, lotus.use_uncertainty, lotus.samples = "CUSTOM", 64, True, 2
results.append(bpy.ops.lotus.predict())
results.append(bpy.ops.lotus.scene_mesh(normals=True))
results.append(bpy.ops.lotus.scene_mesh(use_cut=False, stride=2, uncertainty_cut=10))
results.append(bpy.ops.lotus.relief(use_base=True))
results.append(bpy.ops.lotus.normal_texture())
results.append(bpy.ops.lotus.material(use_roughness=True))
for suffix in (".exr", ".png"):
    results.append(bpy.ops.lotus.export_map(filepath=arguments[2] + suffix, kind="DEPTH"))
    results.append(bpy.ops.lotus.import_map(filepath=arguments[2] + suffix, kind="DEPTH", space="disparity"))
import importlib.util
import lotus_core
foreign = ("torch", "diffusers", "scipy", "PIL", "OpenEXR", "trimesh")
answer(
    results=[list(result) for result in results],
    core=lotus_core.__file__,
    imported=[name for name in foreign if name in sys.modules],
    importable=[name for name in foreign if importlib.util.find_spec(name)],
    maps=[getattr(lotus.image.lotus, kind).filepath for kind in ("depth", "normal", "uncertainty")],
)
"""


def test_from_photo_to_mesh_in_a_fresh_blender(fresh_blender: FreshBlender, tmp_path: Path) -> None:
    """Everything works with what Blender's own Python has, and torch stays in the worker."""
    folder = tmp_path / "mit Leerzeichen ä世"
    folder.mkdir()
    photo = folder / "été 1.png"
    Image.fromarray(checks(64, 96)).save(photo)
    answer = fresh_blender.run(FROM_PHOTO_TO_MESH, sys.executable, photo, folder / "Szene.blend")
    assert answer["results"] == [["FINISHED"]] * 11
    assert answer["imported"] == answer["importable"] == []
    assert Path(answer["core"]).is_relative_to(fresh_blender.user)  # from the wheel in the zip
    assert all(path.startswith("//lotus_maps") for path in answer["maps"])


REGISTER = """
import addon_utils
MODULE = "bl_ext.user_default.lotus_geometry"
MENUS = ("VIEW3D_MT_image_add", "VIEW3D_MT_mesh_add", "IMAGE_MT_image")

def left():
    handlers = {name: getattr(bpy.app.handlers, name) for name in dir(bpy.app.handlers)}
    return {
        "classes": sorted(name for name in dir(bpy.types) if "lotus" in name.lower()),
        "operators": dir(bpy.ops.lotus),
        "properties": [kind for kind in ("Image", "Scene") if hasattr(getattr(bpy.types, kind), "lotus")],
        "handlers": {name: len(value) for name, value in handlers.items() if isinstance(value, list)},
        "menus": [len(getattr(bpy.types, menu)._dyn_ui_initialize()) for menu in MENUS],
        "preferences": MODULE in bpy.context.preferences.addons,
    }

addon_utils.disable(MODULE)
off = left()
addon_utils.enable(MODULE)
on = left()
for _ in range(20):
    addon_utils.disable(MODULE)
    addon_utils.enable(MODULE)
again = left()
addon_utils.disable(MODULE)
answer(off=off, on=on, again=again, end=left())
"""


def test_enabling_and_disabling_twenty_times_leaves_nothing(fresh_blender: FreshBlender) -> None:
    answer: dict[str, Any] = fresh_blender.run(REGISTER)
    assert answer["off"]["classes"] == answer["off"]["operators"] == answer["off"]["properties"] == []
    assert len(answer["on"]["operators"]) >= 12
    assert answer["again"] == answer["on"]
    assert answer["end"] == answer["off"]


def test_it_asks_for_the_internet_as_blender_wants(fresh_blender: FreshBlender) -> None:
    answer = fresh_blender.run(
        "answer(online=bpy.app.online_access, can=bpy.ops.lotus.create_environment.poll(),"
        " folder=str(part('preferences').environment_folder()))"
    )
    assert answer["online"] is False
    assert answer["can"] is False
    assert Path(answer["folder"]).is_relative_to(fresh_blender.user)
