"""`lotus models`: what --model can name."""

from __future__ import annotations

import argparse
from typing import Any

from ..checkpoints.registry import PUBLISHED, hub_id, list_models
from ..model_info import RELEASED_RESOLUTION
from .console import table


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("models", help="list the models that --model knows by name")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the table of embedded and published checkpoints."""
    rows = [("NAME", "PREDICTS", "VARIANT", "LONGEST EDGE", "WHERE")]
    for name, header in list_models().items():
        words = header.metadata
        predicts = words.get("space") or words.get("task", "?")
        size = f"in this package, {header.path.stat().st_size / 1e6:.1f} MB"
        rows.append((name, predicts, _variant(words.get("variant")), words.get("resolution", "?"), size))
    for name, meaning in PUBLISHED.items():
        predicts = meaning.space or meaning.task
        rows.append((hub_id(name), predicts, _variant(meaning.variant), str(RELEASED_RESOLUTION), "Hugging Face hub"))
    print(table(rows))


def _variant(letter: str | None) -> str:
    return {"g": "Lotus-G", "d": "Lotus-D"}.get(letter or "", "?")
