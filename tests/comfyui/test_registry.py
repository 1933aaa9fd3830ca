"""The Comfy registry's archive: what .comfyignore leaves is enough to predict, and is ComfyUI's part only."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import numpy as np

from . import graphs
from .server.install import ROOT
from .server.running import running_server
from .test_predictions import photo, predictor, put


def archive(folder: Path) -> Path:
    """The repository's files without what .comfyignore names, which git reads as the registry does (gitwildmatch)."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ignored = subprocess.run(
        ["git", "ls-files", "-z", "-c", "-i", "--exclude-from=.comfyignore"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in sorted(set(listed.split("\0")) - set(ignored.split("\0"))):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def test_the_archive_is_a_working_pack(tmp_path: Path) -> None:
    pack = archive(tmp_path / "pack")
    names = {path.relative_to(pack).as_posix() for path in pack.rglob("*") if path.is_file()}
    assert {"__init__.py", "LICENSE", "pyproject.toml", "requirements.txt", "comfyui_lotus/__init__.py"} <= names
    assert "comfyui_lotus/web/docs/LotusDepth.md" in names
    assert "comfyui_lotus/assets/room.mp4" in names
    assert "locales/ja/nodeDefs.json" in names
    assert {"example_workflows/Photo to three maps.json", "example_workflows/Photo to three maps.jpg"} <= names
    assert not [name for name in names if name.startswith(("blender_lotus", "tests", "benchmarks", "configs", "docs"))]
    assert not [name for name in names if "/training/" in name or "/evaluation/" in name]
    assert sum((pack / name).stat().st_size for name in names) < 60e6
    with running_server(tmp_path / "base", pack=pack) as server:
        graph = {
            "load": graphs.load(),
            "photo": graphs.image(put(server, "photo", photo()[None])),
            "depth": graphs.depth("load", "photo"),
            "save": graphs.save("depth", 0, "depth"),
        }
        graphs.must_succeed(server.client.run(graph))
        found = graphs.saved(server.base, "depth")["tensor"][0, ..., 0]
    assert np.array_equal(found, predictor(graphs.DEPTH).depth(photo(), seed=0).values)


def test_the_registry_accepts_the_project() -> None:
    """Its rules: a name without "ComfyUI", a semantic version, a licence file, a publisher."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "comfyui" not in project["project"]["name"].lower()
    assert project["tool"]["comfy"]["PublisherId"]
    assert project["tool"]["comfy"]["requires-comfyui"] == ">=0.3.64"
    assert all((ROOT / name).is_file() for name in project["project"]["license-files"])


def test_installing_leaves_comfyuis_own_packages_alone() -> None:
    """requirements.txt names what the nodes import beside them, and nothing that breaks them when it changes."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = {line.split(">=")[0] for line in lines if line and not line.startswith("#")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {line.split(">=")[0] for line in project["dependencies"]}
    assert wanted == needed - {"torch", "numpy", "pillow", "filelock"} | {"fast-simplification"}
    assert not [name for name in wanted if name.startswith(("torch", "numpy", "opencv"))]
