"""`lotus models`: what --model can name."""

from __future__ import annotations

import argparse
from typing import Any

from ..checkpoints.registry import PUBLISHED, PUBLISHED_FILES, hub_id, list_models, published_name
from ..checkpoints.rest import REST
from ..model_info import RELEASED_RESOLUTION
from .console import table


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("models", help="list the models that --model knows by name")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the table of embedded and published checkpoints, and of published U-Net files."""
    rows = [("NAME", "PREDICTS", "VARIANT", "LONGEST EDGE", "WHERE")]
    for name, header in list_models().items():
        words = header.metadata
        predicts = words.get("space") or words.get("task", "?")
        rest = words.get(REST, "").removesuffix(".safetensors")
        size = f"with {rest}" if rest else f"{header.path.stat().st_size / 1e6:.1f} MB"
        rows.append(
            (name, predicts, _variant(words.get("variant")), words.get("resolution", "?"), f"in this package, {size}")
        )
    for name, meaning in PUBLISHED.items():
        predicts = meaning.space or meaning.task
        rows.append((hub_id(name), predicts, _variant(meaning.variant), str(RELEASED_RESOLUTION), "Hugging Face hub"))
    for file, repository in PUBLISHED_FILES.items():
        known = published_name(file)
        assert known is not None
        meaning = PUBLISHED[known]
        predicts = meaning.space or meaning.task
        rows.append((file, predicts, _variant(meaning.variant), str(RELEASED_RESOLUTION), f"U-Net file, {repository}"))
    print(table(rows))


def _variant(letter: str | None) -> str:
    return {"g": "Lotus-G", "d": "Lotus-D"}.get(letter or "", "?")
