"""A folder of wheels that pip can make the worker's environment of, without the network and in seconds.

Real are pip and what the extension brings, lotus-geometry. The packages that lotus-geometry requires are there by name
and version only; the one called torch leads, by a .pth file, to those that the tests run with, less lotus-geometry.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from filelock import FileLock

HOLLOW = ("diffusers", "numpy", "OpenEXR", "pillow", "safetensors", "scipy", "torch", "tqdm", "trimesh",
          "transformers", "huggingface_hub")  # fmt: skip
# lotus-geometry's own, as the tests run with it
OURS = ("lotus_geometry", "lotus_core", "blender_lotus", "comfyui_lotus", "__editable__")
PIP = "pip>=24.1"  # what the installer asks for


def make(folder: Path) -> Path:
    """Fill `folder`."""
    folder.mkdir(parents=True)
    packages = _packages(folder.parent / "packages")
    for name in HOLLOW:
        version = importlib.metadata.version(name).split("+")[0]
        _wheel(folder, name, version, str(packages) if name == "torch" else "")
    for wheel in _pip().glob("*.whl"):
        (folder / wheel.name).symlink_to(wheel)
    return folder


def _packages(folder: Path) -> Path:
    """Links to all packages that the tests run with but lotus-geometry, which pip would take for installed already."""
    folder.mkdir()
    for place in [path for path in sys.path if path.endswith("site-packages")]:
        for package in Path(place).iterdir():
            link = folder / package.name
            if not package.name.startswith(OURS) and not link.is_symlink():
                link.symlink_to(package)
    return folder


def _wheel(folder: Path, name: str, version: str, leads_to: str) -> None:
    stem = f"{re.sub(r'[-.]+', '_', name)}-{version}"
    info = f"{stem}.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if leads_to:
        files["packages_of_the_tests.pth"] = leads_to + "\n"
    record = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        for path, text in (files | {f"{info}/RECORD": record}).items():
            wheel.writestr(path, text)


def _pip() -> Path:
    """A folder with a wheel of pip, downloaded once: the one in the tests' environment may be older."""
    cache = Path(os.environ.get("LOTUS_TEST_CACHE", Path.home() / ".cache" / "lotus-tests")) / "pip"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "lock"):
        if not list(cache.glob("*.whl")):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), PIP]
            subprocess.run(command, check=True)
    return cache
