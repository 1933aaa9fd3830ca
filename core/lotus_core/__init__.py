"""Lotus for artists: depth, normals, uncertainty and 3D geometry from one photo.

Importing this package costs milliseconds and never imports torch: every public name below is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME_OF = {
    "Cancelled": "errors",
    "LotusError": "errors",
    "Depth": "maps",
    "Normals": "maps",
    "Uncertainty": "maps",
    "LotusModel": "model",
    "LotusPredictor": "predict",
    "load_image": "images",
    "load_model": "checkpoints",
}

__all__ = ["__version__", *sorted(_HOME_OF)]

if TYPE_CHECKING:
    from .checkpoints import load_model as load_model
    from .errors import Cancelled as Cancelled
    from .errors import LotusError as LotusError
    from .images import load_image as load_image
    from .maps import Depth as Depth
    from .maps import Normals as Normals
    from .maps import Uncertainty as Uncertainty
    from .model import LotusModel as LotusModel
    from .predict import LotusPredictor as LotusPredictor


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
