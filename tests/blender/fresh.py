"""A Blender as a user has it: its Python knows what comes with Blender, and all that is added is the zip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# bpy and what it requires; Blender's own Python has these too.
OF_BLENDER = (
    "bpy", "numpy", "numpy.libs", "requests", "certifi", "charset_normalizer", "idna", "urllib3", "zstandard",
    "cattrs", "cattr", "attrs", "attr", "typing_extensions.py",
)  # fmt: skip
MODULE = "bl_ext.user_default.lotus_geometry"
_ANSWER = "answer: "
_PRELUDE = f"""
import json, sys
import bpy
import numpy as np

def answer(**values):
    print({_ANSWER!r} + json.dumps(values), flush=True)

def part(name):
    return sys.modules[{MODULE!r} + "." + name]

def preferences():
    return bpy.context.preferences.addons[{MODULE!r}].preferences

arguments = sys.argv[1:]
"""


@dataclass(frozen=True)
class FreshBlender:
    """python: Blender's. user: its folder of settings and extensions."""

    python: Path
    user: Path

    @classmethod
    def make(cls, place: Path) -> FreshBlender:
        """A Blender in `place` that was never started."""
        venv.create(place / "python", symlinks=True)
        packages = place / "packages"
        packages.mkdir()
        # Once bpy is imported, its own folder of scripts comes first, where another package has its name.
        folders = [Path(folder) for folder in sys.path if "bpy" not in Path(folder).parts]
        for name in OF_BLENDER:
            found = next((folder / name for folder in folders if (folder / name).exists()), None)
            if found is not None:
                (packages / name).symlink_to(found, target_is_directory=found.is_dir())
        folder = next((place / "python").glob("[Ll]ib/**/site-packages"))
        folder.joinpath("packages.pth").write_text(f"{packages}\n", encoding="utf-8")
        python = place / "python" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        return cls(python, place / "user")

    def run(self, script: str, *arguments: object, seconds: float = 600) -> dict[str, Any]:
        """Run a script in this Blender, with the extension that was installed; returns what it gave to `answer`."""
        load = "bpy.ops.wm.read_userpref()\n" if self.user.exists() else ""
        foreign = ("PYTHON", "VIRTUAL_ENV")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        done = subprocess.run(
            [str(self.python), "-I", "-X", "utf8", "-c", _PRELUDE + load + script, *map(str, arguments)],
            env=environment | {"BLENDER_USER_RESOURCES": str(self.user), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            encoding="utf-8",
            timeout=seconds,
        )
        answers = [line for line in done.stdout.splitlines() if line.startswith(_ANSWER)]
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        assert answers, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        found: dict[str, Any] = json.loads(answers[-1].removeprefix(_ANSWER))
        return found
