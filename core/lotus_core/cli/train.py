"""`lotus train`: adapt a base model to dense prediction, or train one from scratch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "train",
        help="train the model that a TOML file describes",
        description="Train the model of a TOML file. On many GPUs: accelerate launch -m lotus_core train CONFIG",
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the run's TOML file")
    parser.add_argument("--resume", action="store_true", help="continue from the run's newest checkpoint")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Train and print what was written."""
    from ..training import train

    print(train(args.config, resume=args.resume))
