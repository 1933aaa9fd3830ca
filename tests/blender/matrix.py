"""Run the Blender tests on every release that the extension supports: `python -m tests.blender.matrix`.

Each release gets a fresh environment with its own bpy, beside the versions that constraints.txt pins. It takes minutes
and gigabytes, so it is run by hand; docs/blender.md records what came of it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Release:
    """A release of bpy and the Python that it is made for."""

    bpy: str
    python: str


RELEASES = (Release("4.2.23", "3.11"), Release("5.0.1", "3.11"), Release("5.2.3", "3.13"))
_PACKAGES = ("pytest", "hypothesis", "psutil", "websocket-client")


def main(arguments: list[str] | None = None) -> int:
    """Returns the number of releases that failed."""
    parser = argparse.ArgumentParser(description="Run tests/blender on each supported release of Blender.")
    parser.add_argument("--work", type=Path, required=True, help="folder for the environments; kept, and used again")
    parser.add_argument("--only", action="append", metavar="VERSION", help="of bpy; may be given several times")
    parser.add_argument(
        "--python", action="append", default=[], metavar="3.13=PATH", help="an interpreter that is not on PATH"
    )
    parser.add_argument("tests", nargs="*", default=["tests/blender"], help="what to run (tests/blender)")
    options = parser.parse_args(arguments)
    interpreters = dict(given.split("=", 1) for given in options.python)
    rows, failed = [], 0
    for release in RELEASES:
        if options.only and release.bpy not in options.only:
            continue
        python = environment(release, options.work, interpreters)
        started = time.monotonic()
        done = subprocess.run(
            [python, "-m", "pytest", "-p", "no:cacheprovider", *options.tests], cwd=ROOT, capture_output=True, text=True
        )
        print(done.stdout[-4000:], done.stderr[-2000:], flush=True)
        failed += done.returncode != 0
        rows.append((release, numpy_of(python), outcome(done.stdout), time.monotonic() - started))
    print("| bpy | Python | numpy | tests | seconds |", "|---|---|---|---|---|", sep="\n")
    for release, numpy, tests, seconds in rows:
        print(f"| {release.bpy} | {release.python} | {numpy} | {tests} | {seconds:.0f} |")
    return failed


def environment(release: Release, work: Path, interpreters: dict[str, str]) -> Path:
    """The Python of the release's environment, made where it is missing."""
    folder = work.resolve() / f"bpy-{release.bpy}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    marker = folder / "complete"
    if not marker.exists():
        base = interpreters.get(release.python) or shutil.which(f"python{release.python}")
        if base is None:
            raise SystemExit(f"No python{release.python} on PATH: give one as --python {release.python}=PATH.")
        subprocess.run([base, "-m", "venv", "--clear", str(folder)], check=True)
        pins = folder / "constraints.txt"
        lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        pins.write_text("\n".join(line for line in lines if not line.startswith("bpy==")), encoding="utf-8")
        wanted = [f"{ROOT}[hub,mesh]", f"bpy=={release.bpy}", *_PACKAGES]
        subprocess.run([python, "-m", "pip", "install", "-q", *wanted, "-c", pins], check=True)
        # The sources are tested, not the copy that pip made of them.
        subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "-e", ROOT], check=True)
        marker.touch()
    return python


def numpy_of(python: Path) -> str:
    """The version of numpy in an environment."""
    code = "import importlib.metadata as m; print(m.version('numpy'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def outcome(output: str) -> str:
    """pytest's counts, as "141 passed, 1 skipped"."""
    found = re.findall(r"\d+ (?:passed|failed|skipped|errors?|xfailed)", output)
    return ", ".join(found[-4:]) or "did not run"


if __name__ == "__main__":
    sys.exit(main())
