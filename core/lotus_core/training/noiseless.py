"""A Lotus-D made of a Lotus-G without training: it answers what the Lotus-G answers to noise of zero.

    python -m lotus_core.training.noiseless OUT.safetensors MODEL

The noise half of the U-Net's first layer goes, all other weights stay, so `lotus convert --rest` can leave those to
the Lotus-G's own file where both are made of half precision. `lotus train` with `variant = "d"` and the Lotus-G as base
sets out from the same network.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from ..checkpoints.load import load_model
from ..checkpoints.single_file import save_model
from ..errors import LotusError
from ..model import LotusModel
from .base import narrow_input
from .derived import origin, run_command


def noiseless(source: str, name: str) -> LotusModel:
    """The Lotus-D called `name` of the Lotus-G that a user calls `source`, float32. Its record has that one's, and
    no config, steps or hours of its own.

    Raises LotusError for a Lotus-D.
    """
    model = load_model(source, "cpu", torch.float32)
    if model.variant != "g":
        raise LotusError(f"{source} is a Lotus-D already: name a Lotus-G.")
    narrow_input(model.unet)
    record = {"noiseless": origin(model, source)}
    return LotusModel(
        model.unet, model.vae, model.prompt_embeds, replace(model.info, name=name, training=record)
    ).eval()


def main(argv: list[str] | None = None) -> int:
    """Command line of the module docstring; 0, or 2 after a sentence about what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("model", metavar="MODEL")
    return run_command(parser, lambda a: save_model(noiseless(a.model, a.out.stem), a.out), argv)


if __name__ == "__main__":
    sys.exit(main())
