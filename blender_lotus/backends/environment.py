"""The worker's environment: where its Python is, whether it is usable, and how it is made."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lotus_core import __version__
from lotus_core.errors import LotusError

from .base import Task, failed
from .process import clean_environment, own_program
from .session import Session

MARKER = "lotus-environment.json"  # written last: an environment without it is half made
SLOW_DOWNLOAD = 900.0  # seconds that pip may be busy with one file without a word


@dataclass(frozen=True)
class TorchBuild:
    """One build of torch.

    index:     address of the package index that has it, by platform; None: PyPI. Platforms that are not named lack it.
    gigabytes: free disk space that the environment needs with it.
    """

    label: str
    description: str
    index: Mapping[str, str | None]
    gigabytes: float


# cu130 and rocm7.2 name driver generations, as in README.md.
TORCH_BUILDS = {
    "cuda": TorchBuild(
        "NVIDIA GPU (CUDA)",
        "For NVIDIA graphics cards with a driver of 2025 or later",
        {"linux": None, "win32": "https://download.pytorch.org/whl/cu130"},
        9.0,
    ),
    "rocm": TorchBuild(
        "AMD GPU (ROCm)",
        "For AMD graphics cards on Linux with ROCm 7.2",
        {"linux": "https://download.pytorch.org/whl/rocm7.2"},
        18.0,
    ),
    "apple": TorchBuild("Apple GPU (Metal)", "For Macs with Apple silicon", {"darwin": None}, 2.0),
    "cpu": TorchBuild(
        "Processor only",
        "Without a graphics card: minutes instead of seconds with the released models",
        {
            "linux": "https://download.pytorch.org/whl/cpu",
            "win32": "https://download.pytorch.org/whl/cpu",
            "darwin": None,
        },
        2.5,
    ),
}


@dataclass(frozen=True)
class EnvironmentState:
    """kind: "missing", "broken" (detail says why) or "ready"; info: versions and devices it had when it was made."""

    kind: Literal["missing", "broken", "ready"]
    python: Path | None = None
    detail: str = ""
    info: dict[str, Any] = field(default_factory=dict)


def available_builds() -> dict[str, TorchBuild]:
    """Those that exist for this platform."""
    return {key: build for key, build in TORCH_BUILDS.items() if sys.platform in build.index}


def default_build() -> str:
    """The build that fits this machine as far as can be told at once."""
    builds = available_builds()
    if "apple" in builds:
        return "apple"
    if "cuda" in builds and shutil.which("nvidia-smi"):
        return "cuda"
    if "rocm" in builds and (shutil.which("rocminfo") or Path("/opt/rocm").is_dir()):
        return "rocm"
    return "cpu"


def find_python(place: Path) -> Path:
    """The Python at `place`, which is the program itself or the folder of an environment. Raises LotusError."""
    if not place.is_dir():
        if place.is_file():
            return place
        raise LotusError(f"There is no Python at {place}: choose another, or create an environment in the preferences.")
    for parts in (("bin", "python"), ("bin", "python3"), ("Scripts", "python.exe"), ("python.exe",)):
        if (python := place.joinpath(*parts)).is_file():
            return python
    raise LotusError(f"The folder {place} is no Python environment: choose one, or create it in the preferences.")


def environment_state(folder: Path) -> EnvironmentState:
    """What is in `folder`, told from a few files; starts nothing."""
    try:
        if not any(folder.iterdir()):
            return EnvironmentState("missing")
    except FileNotFoundError:
        return EnvironmentState("missing")
    except OSError as error:
        return EnvironmentState("broken", detail=f"{folder} cannot be read ({error.strerror}): repair it.")
    try:
        info = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        version = info["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return EnvironmentState("broken", detail="The environment is not complete: repair it.")
    try:
        python = find_python(folder)
    except LotusError:
        detail = "The environment's Python is gone, as happens when Blender is moved or updated: repair it."
        return EnvironmentState("broken", detail=detail, info=info)
    if version != __version__:
        detail = f"The environment has lotus-geometry {version}, the extension {__version__}: repair it."
        return EnvironmentState("broken", python, detail, info)
    return EnvironmentState("ready", python, info=info)


def install_environment(
    folder: Path,
    wheel: Path,
    constraints: Path,
    *,
    build: str,
    online: bool,
    log_folder: Path,
    base_python: Path | None = None,
) -> Task:
    """Make the environment in `folder`, or make it anew, and try it out; downloads one to several gigabytes.

    Args:
        wheel, constraints: of lotus-geometry, from the extension.
        build: a key of `available_builds()`.
        online: whether Blender may go online.
        base_python: Python 3.11 to 3.13 that the environment is made with; default: Blender's own.

    The task can be cancelled; `environment_state` then says "broken", and the next call begins anew. When done, its
    info has the versions.
    """
    if not online:
        return failed(
            "Creating the environment needs the internet: switch on Allow Online Access in the preferences under"
            " System > Network."
        )
    if build not in available_builds():
        return failed(
            f"There is no torch build {build!r} for this system: choose one of {', '.join(available_builds())}."
        )
    if (
        folder.exists()
        and any(folder.iterdir())
        and not any((folder / name).exists() for name in ("pyvenv.cfg", MARKER))
    ):
        return failed(f"{folder} holds other files: choose an empty folder for the environment.")
    try:
        torch = torch_pin(constraints)
    except LotusError as error:
        return failed(str(error))
    chosen = TORCH_BUILDS[build]
    return Installer(log_folder).submit(
        {
            "do": "install",
            "folder": str(folder),
            "wheel": str(wheel),
            "constraints": str(constraints),
            "torch": torch,
            "index": chosen.index[sys.platform],
            "gigabytes": chosen.gigabytes,
            "python": None if base_python is None else str(base_python),
            "marker": MARKER,
            "notes": {"version": __version__, "build": build},
        }
    )


def torch_pin(constraints: Path) -> str:
    """The version of torch that we are tested with, as a requirement. Raises LotusError."""
    try:
        found = re.search(r"^torch==\S+", constraints.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError as error:
        raise LotusError(f"{constraints} cannot be read ({error.strerror}): install the extension again.") from None
    if found is None:
        raise LotusError(f"{constraints} names no version of torch: install the extension again.")
    return found.group()


class Installer(Session):
    """Runs `programs/install.py` for one task."""

    name = "installer"
    restarts_when_killed = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, stall=SLOW_DOWNLOAD)

    def command(self) -> Sequence[str]:
        return own_program("install")

    def environment(self) -> Mapping[str, str]:
        return clean_environment(online=True)
