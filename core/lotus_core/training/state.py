"""Checkpoints of a training run: written whole or not at all, never pickled.

A checkpoint is a folder `checkpoints/step-00001000/` of safetensors (weights, averaged weights, optimiser) and a
`state.json`. It is written under a temporary name, flushed to disk and renamed: a kill leaves the one before intact.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..errors import LotusError
from ..files import shared_mode

_PREFIX, _PARTIAL = "step-", ".partial-"


def save_checkpoint(
    folder: Path, step: int, tensors: dict[str, dict[str, torch.Tensor]], state: dict[str, Any], keep: int
) -> Path:
    """Write `tensors` (file stem → name → tensor) and `state` (JSON) of `step`; drop all but the newest `keep`.

    Raises LotusError where the disk is full or the folder cannot be written.
    """
    final = folder / f"{_PREFIX}{step:08d}"
    try:
        _write(folder / f"{_PARTIAL}{step:08d}", final, tensors, {**state, "step": step})
    except (OSError, SafetensorError) as error:
        raise LotusError(f"Cannot write the training checkpoint {final} ({error}): free space, then resume.") from error
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def _write(partial: Path, final: Path, tensors: dict[str, dict[str, torch.Tensor]], state: dict[str, Any]) -> None:
    for left_over in final.parent.glob(f"{_PARTIAL}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir(parents=True)
    for stem, named in tensors.items():
        file = partial / f"{stem}.safetensors"
        save_file({name: t.detach().cpu().contiguous() for name, t in named.items()}, file)
        shared_mode(file)
    (partial / "state.json").write_text(json.dumps(state))
    for file in partial.iterdir():
        _flush(file)
    _flush(partial)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    _flush(final.parent)


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob(f"{_PREFIX}*")) if folder.is_dir() else []


def load_checkpoint(path: Path) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """Read a checkpoint back as (tensors, state). Raises LotusError where it is damaged."""
    try:
        state = json.loads((path / "state.json").read_text())
        return {file.stem: load_file(file) for file in path.glob("*.safetensors")}, state
    except (OSError, ValueError, SafetensorError) as error:
        raise LotusError(
            f"The training checkpoint {path} cannot be read ({error}): delete it to use the one before."
        ) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """An optimiser's per-parameter state as flat names: `<index of the parameter>.<name>`."""
    return {
        f"{index}.{name}": value
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put back what `optimizer_tensors` read, in the parameters' memory layout: fused steps take tensors as they lie,
    and what a file holds is contiguous."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    per_parameter: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        p = parameters[int(index)]
        if value.shape == p.shape:
            value = torch.empty_like(p, dtype=value.dtype, requires_grad=False).copy_(value)
        per_parameter.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": per_parameter, "param_groups": optimizer.state_dict()["param_groups"]})


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
