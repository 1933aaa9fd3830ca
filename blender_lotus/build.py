"""Build the extension: `python blender_lotus/build.py -o dist`.

Makes `lotus_geometry-VERSION.zip`, which holds the wheel of lotus_core, and the static repository index beside it
(`index.json`, and `index.html` with a link to drag into Blender). Blender's own tool builds and validates; it comes
with the Python module bpy (`pip install ".[blender]"`), or give `--blender` the program. The same sources give the
same bytes.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
_LEFT_OUT = shutil.ignore_patterns("build.py", "__pycache__", "*.pyc", ".*")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description="Build the Blender extension and its repository index.")
    parser.add_argument("-o", "--output", type=Path, default=Path("dist"), help="folder for the results (dist)")
    parser.add_argument("--blender", help="a Blender program, where the Python module bpy is not installed")
    options = parser.parse_args(arguments)
    tool = [options.blender, "--command", "extension"] if options.blender else bundled_tool()
    if tool is None:
        print("No Blender found: pip install bpy, or give --blender PATH.", file=sys.stderr)
        return 2
    output: Path = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        source = stage(Path(work))
        manifest = tomllib.loads((source / "blender_manifest.toml").read_text(encoding="utf-8"))
        archive = Path(work) / f"{manifest['id']}-{manifest['version']}.zip"
        run([*tool, "validate", str(source)])
        run([*tool, "build", "--source-dir", str(source), "--output-filepath", str(archive)])
        made = output / archive.name
        normalize_zip(archive, made)
        run([*tool, "validate", str(made)])
    run([*tool, "server-generate", "--repo-dir", str(output), "--html"])
    print(f"{made} ({made.stat().st_size / 1e6:.1f} MB)")
    return 0


def bundled_tool() -> list[str] | None:
    """The command of the extension tool inside the installed bpy, found without importing bpy."""
    spec = importlib.util.find_spec("bpy")
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    return [sys.executable, str(found[-1])] if found else None


def stage(work: Path) -> Path:
    """A folder with everything that goes into the zip."""
    source = work / "lotus_geometry"
    shutil.copytree(HERE, source, ignore=_LEFT_OUT)
    shutil.copy(ROOT / "LICENSE", source)
    wheels = source / "wheels"
    wheels.mkdir()
    wheel = build_wheel(work / "wheel", wheels)
    shutil.copy(ROOT / "constraints.txt", wheels)
    manifest = source / "blender_manifest.toml"
    text = manifest.read_text(encoding="utf-8")
    # Above the first table: what follows a table's header belongs to it.
    head, table, rest = text.partition("[permissions]")
    manifest.write_text(f'{head}wheels = ["./wheels/{wheel.name}"]\n\n{table}{rest}', encoding="utf-8")
    return source


def build_wheel(work: Path, output: Path) -> Path:
    """The wheel of lotus_core alone: Blender gives all extensions one folder of packages, no place for more."""
    work.mkdir()
    (work / "core").mkdir()
    shutil.copytree(ROOT / "core" / "lotus_core", work / "core" / "lotus_core", ignore=_LEFT_OUT)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, work)
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    raw = work / "raw"
    run([sys.executable, "-c", code, str(raw)], cwd=work)
    (built,) = raw.glob("*.whl")
    normalize_zip(built, output / built.name)
    return output / built.name


def normalize_zip(source: Path, target: Path) -> None:
    """Copy a zip without what differs from machine to machine: times, permissions, order."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as new:
        for name in sorted(name for name in old.namelist() if not name.endswith("/")):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(".whl") else zipfile.ZIP_DEFLATED
            entry.create_system = 3  # unix, also on Windows
            entry.external_attr = 0o644 << 16
            new.writestr(entry, old.read(name))


def run(command: list[str], cwd: Path | None = None) -> None:
    """Run a tool; what it prints is shown only when it fails."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        raise SystemExit(f"{Path(command[0]).name} failed with exit code {done.returncode}.")


if __name__ == "__main__":
    sys.exit(main())
