"""What gets installed: the wheel's contents, and lists of packages that must agree."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources, so that nothing is left in the working tree."""
    source = tmp_path_factory.mktemp("source")
    for part in ("core/lotus_core", "comfyui_lotus", "blender_lotus", "pyproject.toml", "README.md", "LICENSE"):
        (source / part).parent.mkdir(parents=True, exist_ok=True)
        (source / part).symlink_to(ROOT / part)
    out = tmp_path_factory.mktemp("wheel")
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(out)], cwd=source, check=True, capture_output=True, timeout=120)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_the_weights_and_the_photo(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    roots = [(ROOT / "core", "lotus_core"), (ROOT, "comfyui_lotus"), (ROOT, "blender_lotus")]
    modules = {str(path.relative_to(root)) for root, name in roots for path in (root / name).rglob("*.py")}
    assert modules <= inside
    names = [f"lotus-tiny-{task}-{variant}" for task in ("depth", "normal") for variant in "gd"]
    data = {*(f"weights/{name}.safetensors" for name in names), "assets/coffee.jpg"}
    assert {f"lotus_core/{name}" for name in data} <= inside
    assert "lotus_core/assets/LICENSE.txt" in inside
    assert {name.split("/")[0] for name in inside if ".dist-info/" not in name} == {name for _, name in roots}


def test_the_wheel_is_small_and_works_where_it_is_unpacked(wheel: Path, tmp_path: Path) -> None:
    weights = sum(entry.file_size for entry in zipfile.ZipFile(wheel).infolist() if "/weights/" in entry.filename)
    assert weights <= 30e6
    assert wheel.stat().st_size <= 32e6
    zipfile.ZipFile(wheel).extractall(tmp_path)
    run = [sys.executable, "-m", "lotus_core", "models"]
    shown = subprocess.run(
        run, env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "lotus-tiny-depth-g" in shown.stdout


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", line).group().lower().replace("_", "-") for line in requirements}  # type: ignore[union-attr]


def lines(file: str) -> list[str]:
    text = (ROOT / file).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_comfyui_gets_what_it_lacks_and_keeps_what_it_has() -> None:
    needed = names(lines("requirements.txt"))
    assert needed <= names([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["mesh"]])
    assert not any(name.startswith(("torch", "numpy", "opencv")) for name in needed)
    assert not re.search(r"==|<", "\n".join(lines("requirements.txt")))


def test_every_dependency_is_pinned_exactly_once_per_python() -> None:
    pins = lines("constraints.txt")
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+(; .+)?", line) for line in pins)
    extras = PROJECT["optional-dependencies"]
    wanted = [
        *PROJECT["dependencies"],
        *(line for extra in ("heif", "hub", "mesh", "train", "video", "ray", "test") for line in extras[extra]),
    ]
    assert names(wanted) - {PROJECT["name"]} <= names(pins)
    assert [line for line in pins if line.startswith("numpy==")] == [
        'numpy==1.26.4; python_version < "3.12"',
        'numpy==2.4.6; python_version >= "3.12"',
    ]


def test_comfyui_can_load_the_clone() -> None:
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('pack', {str(ROOT / '__init__.py')!r},"
        f" submodule_search_locations=[{str(ROOT)!r}])\n"
        "module = sys.modules['pack'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "import inspect\n"
        "assert inspect.iscoroutinefunction(module.comfy_entrypoint)\n"
        "assert 'torch' not in sys.modules and 'comfy_api' not in sys.modules and 'core' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd="/", check=True, timeout=60)
