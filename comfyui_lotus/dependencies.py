"""Nodes always register; what is missing or broken is said when one runs."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator

from lotus_core.errors import LotusError

NEEDED = {
    "diffusers": "0.31",
    "safetensors": "0.4.3",
    "scipy": "1.11",
    "trimesh": "4.4",
    "OpenEXR": "3.3",
    "tqdm": "4.66",
    "fast_simplification": "0.2",
}


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Turn whatever an import trips over into one sentence: which package, which version of it is there, what to do."""
    try:
        yield
    except LotusError:
        raise
    except Exception as error:  # broken packages raise ImportError, AttributeError, RuntimeError, TypeError …
        raise LotusError(_sentence(error)) from error


def _sentence(error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    package = _culprit(error)
    found = _version(package)
    if found is None:
        state = f"needs the package {package} {NEEDED[package]} or newer, which ComfyUI's Python does not have"
    else:
        state = f"cannot use the package {package}, found as version {found}{_place(package)}"
    return (
        f"Lotus {state} ({reason}): run `python -m pip install --upgrade {package}` with ComfyUI's Python, or remove"
        " the custom node that installs another version, and restart ComfyUI."
    )


def _culprit(error: BaseException | None) -> str:
    """The package of NEEDED that the error, or what caused it, is about; most are diffusers."""
    while error is not None:
        name = (getattr(error, "name", None) or "").split(".")[0]
        if name in NEEDED:
            return name
        error = error.__cause__ or error.__context__
    return "diffusers"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _place(package: str) -> str:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return ""
    return f" in {spec.origin}" if spec is not None and spec.origin else ""
