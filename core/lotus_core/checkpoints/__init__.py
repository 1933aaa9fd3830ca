"""Find, read and write checkpoints. Only `load_model` and `save_model` load torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .header import Header, read_header
from .load import load_model
from .registry import list_models

if TYPE_CHECKING:
    from .single_file import save_model as save_model

__all__ = ["Header", "list_models", "load_model", "read_header", "save_model"]


def __getattr__(name: str) -> Any:
    if name != "save_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .single_file import save_model

    return save_model
