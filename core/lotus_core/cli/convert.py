"""`lotus convert`: a checkpoint as safetensors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("convert", help="write a checkpoint as .safetensors")
    parser.add_argument("source", metavar="SRC", help="pickle (.ckpt .pt .pth .bin), diffusers folder, hub id or name")
    parser.add_argument("target", metavar="DST", type=Path, help=".safetensors file to write")
    parser.add_argument("--task", choices=("depth", "normal"), help="of a diffusers folder that does not say it")
    parser.add_argument("--space", choices=("disparity", "depth"), help="of a diffusers folder that does not say it")
    parser.add_argument("--dtype", choices=("fp16", "bf16", "fp32"), default="fp16", help="of a model (default: fp16)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Convert, then say what was written."""
    import torch

    from ..checkpoints.convert import convert
    from ..checkpoints.load import DTYPES

    dtype = getattr(torch, DTYPES[args.dtype])
    written = convert(args.source, args.target, task=args.task, space=args.space, dtype=dtype)
    print(f"{args.target}: {written}.")
