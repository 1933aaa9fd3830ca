"""`lotus convert`: a checkpoint in another layout."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .console import progress_bar, silent
from .options import add_part_options, add_quiet, place


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("convert", help="one .safetensors file, or a diffusers folder, of a checkpoint")
    parser.add_argument(
        "source",
        metavar="SRC",
        help="U-Net file, diffusers folder, hub id, name, one of our files, or a pickle (.ckpt .pt .pth .bin)",
    )
    parser.add_argument(
        "target", metavar="DST", type=place, help=".safetensors file to write; without that ending, a diffusers folder"
    )
    parser.add_argument("--task", choices=("depth", "normal"), help="of a model that does not say it")
    parser.add_argument("--space", choices=("disparity", "depth"), help="of a model that does not say it")
    parser.add_argument("--dtype", choices=("fp16", "bf16", "fp32", "int8"), help="of a model (default: fp16)")
    add_part_options(parser)
    parser.add_argument(
        "--rest",
        metavar="FILE",
        type=Path,
        help="one of our files beside DST: write only what differs from it, so that both files are the model",
    )
    add_quiet(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Convert, then say what was written."""
    import torch

    from ..checkpoints.convert import convert
    from ..checkpoints.load import DTYPES

    dtypes = {None: None, "int8": torch.int8} | {name: getattr(torch, full) for name, full in DTYPES.items()}
    with progress_bar(args.quiet) as progress:
        written = convert(
            args.source,
            args.target,
            task=args.task,
            space=args.space,
            dtype=dtypes[args.dtype],
            vae=args.vae,
            text_encoder=args.text_encoder,
            rest=args.rest,
            progress=progress or silent,
        )
    if not args.quiet:
        print(f"{args.target}: {written}.")
