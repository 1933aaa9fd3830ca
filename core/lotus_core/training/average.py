"""The mean of several trainings' weights, which often holds on unseen data where each of them alone does not.

    python -m lotus_core.training.average OUT.safetensors MODEL MODEL [MODEL ...] [--shares 0.5 0.5]

For models that were trained from one another, such as a base and what was fine-tuned from it (WiSE-FT, arXiv
2109.01903; model soups, arXiv 2203.05482): the mean of strangers is noise.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from ..checkpoints.load import load_model
from ..checkpoints.single_file import save_model
from ..errors import LotusError
from ..model import LotusModel
from .derived import origin, run_command
from .growth import deepened, is_output, layers_of


def average(models: Sequence[str], shares: Sequence[float] | None = None) -> LotusModel:
    """A model whose U-Net and empty prompt are the mean of those of `models` (names, files or folders), float32.

    shares: one for each model, ≥ 0, of any sum; None: equal ones. A model from before layers were added to another's
    attention (`transformer_layers`) counts with the added layers as they are there, but without their effect. The
    autoencoder, which must be the same in all, and name, space and resolution are the first's. `info.training` has
    `mean_of`: name, share and record of each part, and no config, steps or hours of its own.

    Raises LotusError where the models differ in more than the U-Net's numbers, or the shares do not fit.
    """
    if len(models) < 2:
        raise LotusError("A mean needs at least two models.")
    shares = [1.0] * len(models) if shares is None else list(shares)
    if len(shares) != len(models):
        raise LotusError(f"There are {len(models)} models and {len(shares)} shares: give one for each model.")
    if any(not math.isfinite(share) or share < 0 for share in shares) or sum(shares) <= 0:
        raise LotusError(f"Shares must be ≥ 0 and not all zero, but they are {shares}.")
    parts = [share / sum(shares) for share in shares]
    loaded = [load_model(name, "cpu", torch.float32) for name in models]
    layers = [layers_of(model.unet) or 0 for model in loaded]
    deepest = loaded[layers.index(max(layers))].unet
    for model, own in zip(loaded, layers, strict=True):
        if own < max(layers):
            model.unet = _as_deep(model.unet, deepest, max(layers))
    first = loaded[0]
    total = {name: tensor * parts[0] for name, tensor in first.unet.state_dict().items()}
    prompt = first.prompt_embeds * parts[0]
    record = [{**origin(first, models[0]), "share": parts[0]}]
    for name, other, part in zip(models[1:], loaded[1:], parts[1:], strict=True):
        _check_alike(first, other, models[0], name)
        for key, tensor in other.unet.state_dict().items():
            total[key] += part * tensor
        prompt += part * other.prompt_embeds
        record.append({**origin(other, name), "share": part})
    first.unet.load_state_dict(total)
    first.prompt_embeds = prompt
    first.info = replace(first.info, training={"mean_of": record})
    return first


def _as_deep(unet: UNet2DConditionModel, deepest: UNet2DConditionModel, layers: int) -> UNet2DConditionModel:
    """What computes the same with the `layers` of `deepest`: the added ones are as there, but their outputs are 0."""
    grown = deepened(unet, layers)
    theirs, present = deepest.state_dict(), unet.state_dict().keys()
    values = {
        name: theirs[name] if name in theirs and name not in present and not is_output(name) else value
        for name, value in grown.state_dict().items()
    }
    grown.load_state_dict(values)
    return grown


def _check_alike(first: LotusModel, other: LotusModel, name: str, other_name: str) -> None:
    def shapes(model: LotusModel) -> dict[str, torch.Size]:
        return {key: tensor.shape for key, tensor in model.unet.state_dict().items()}

    def meaning(model: LotusModel) -> str:
        return " ".join(filter(None, (f"Lotus-{model.variant.upper()}", model.info.task, model.info.space)))

    if meaning(first) != meaning(other):
        raise LotusError(f"{name} is a {meaning(first)}, {other_name} a {meaning(other)}: they have no mean.")
    if shapes(first) != shapes(other) or first.prompt_embeds.shape != other.prompt_embeds.shape:
        raise LotusError(f"The U-Nets of {name} and {other_name} have different shapes: they have no mean.")
    own, theirs = first.vae.state_dict(), other.vae.state_dict()
    # Half and 8-bit files of the same autoencoder differ by their rounding.
    if own.keys() != theirs.keys() or any(
        not torch.allclose(tensor, theirs[key], rtol=0, atol=0.01 * float(tensor.abs().max()) + 1e-6)
        for key, tensor in own.items()
    ):
        raise LotusError(f"{name} and {other_name} have different autoencoders, so their latents have no mean.")


def main(argv: list[str] | None = None) -> int:
    """Command line of the module docstring; 0, or 2 after a sentence about what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--shares", nargs="+", type=float)
    return run_command(parser, lambda a: save_model(average(a.models, a.shares), a.out, torch.float32), argv)


if __name__ == "__main__":
    sys.exit(main())
