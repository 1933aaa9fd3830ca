"""What the modules share that make a model of other models without training: its record, and their command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import LotusError
from ..model import LotusModel


def origin(model: LotusModel, place: str) -> dict[str, Any]:
    """What the record says of a model that another one is made of; `place` is what the user calls it."""
    # The last part of where it lies: whole paths are nobody else's business.
    return {"model": Path(place).name, "training": model.info.training}


def run_command(
    parser: argparse.ArgumentParser, make: Callable[[argparse.Namespace], None], argv: Sequence[str] | None
) -> int:
    """Hand `make` the arguments; 0, or 2 after a sentence about what is wrong."""
    arguments = parser.parse_args(argv)
    try:
        make(arguments)
    except LotusError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
