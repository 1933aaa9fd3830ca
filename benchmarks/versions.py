"""Whether Lotus works with the oldest diffusers, transformers and huggingface_hub that it states, and the newest.

    python -m benchmarks.versions oldest [--torch]     # with --torch the oldest torch, too: gigabytes on Linux
    python -m benchmarks.versions newest [--report FILE]

Each in an environment of its own, made in a temporary folder: these packages from the package index, the rest from
the environment that runs this. The tests of loading, downloading, parity and prediction run there.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("diffusers", "transformers", "huggingface_hub")
TESTS = (
    "test_checkpoints.py", "test_checkpoints_folder.py", "test_checkpoints_layouts.py", "test_checkpoints_hostile.py",
    "test_hub.py", "test_parity.py", "test_cli_convert.py", "test_fast_decoder.py", "test_folding.py",
    "test_predict.py", "test_import.py",
)  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("oldest", "newest"))
    parser.add_argument("--report", type=Path)
    parser.add_argument("--torch", action="store_true")
    a = parser.parse_args(argv)
    packages = [*PACKAGES, *(["torch"] if a.torch else [])]
    wanted = [f"{name}=={stated()[name]}" for name in packages] if a.which == "oldest" else packages
    with tempfile.TemporaryDirectory() as folder:
        python = environment(Path(folder), wanted)
        versions = run(python, "-c", _SHOW).strip()
        tests = [str(ROOT / "tests" / "core" / name) for name in TESTS]
        done = subprocess.run(
            [python, "-m", "pytest", "-o", "addopts=--import-mode=importlib", "-q", *tests],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    lines = [
        f"`python -m benchmarks.versions {a.which}`: {versions}",
        "",
        f"{done.stdout.splitlines()[-1]}",
        *failed,
        "",
    ]
    print(done.stdout[-6000:] if failed else "", *lines, sep="\n")
    if a.report:
        with a.report.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    sys.exit(done.returncode)


def stated() -> dict[str, str]:
    """The least version of each package in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    found = {match[1]: match[2] for line in required if (match := re.fullmatch(r"([\w-]+)>=([\d.]+)", line))}
    return {name: found[name] for name in (*PACKAGES, "torch")}


def environment(folder: Path, wanted: list[str]) -> str:
    """Make it; returns its Python. What it does not install comes from the environment that runs this."""
    venv.create(folder, with_pip=True)
    python = str(folder / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    run(python, "-m", "pip", "install", "--quiet", *wanted, *_kept())
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    here = [sysconfig.get_path("purelib"), *(path for path in sys.path if path.endswith("site-packages"))]
    (Path(site) / "rest.pth").write_text("\n".join(dict.fromkeys([*here, str(ROOT / "core"), str(ROOT)])))
    return python


def _kept() -> list[str]:
    """What both need at the version that is here: numpy decides which compiled packages work."""
    return [f"numpy=={importlib.metadata.version('numpy')}"]


def run(*command: str) -> str:
    """Standard output of a command that has to succeed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


_SHOW = f"""
import importlib.metadata as m
print(", ".join(f"{{name}} {{m.version(name)}}" for name in {(*PACKAGES, "tokenizers", "torch")!r}))
"""


if __name__ == "__main__":
    main()
