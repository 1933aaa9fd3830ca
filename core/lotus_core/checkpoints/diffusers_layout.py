"""Files of the official layout, by their names and headers: no torch, no weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from ..errors import LotusError
from .header import is_plain_name, read_header, refuse_pickle
from .layouts import Part, same

WEIGHTS = "diffusion_pytorch_model"
INFO = "lotus.json"  # says what a folder predicts where its name does not: {"task": …, "space": …, "resolution": …}
PROMPT_FILE = "prompt_embeds.safetensors"  # the embedding itself, written by `lotus convert`


def read_part(folder: Path, half: bool = False, rename: Callable[[Collection[str]], dict[str, str]] = same) -> Part:
    """The tensors of one network's folder by their headers alone; of two precisions the lower one if `half`."""
    headers = [read_header(file) for file in weight_files(folder, half)]
    return Part.of([(header, rename(header.tensors)) for header in headers], "diffusers", str(folder))


def weight_files(folder: Path, half: bool) -> list[Path]:
    """The safetensors of one network: a single file or the shards that its index names; half precision first if `half`.

    Raises LotusError where there are none, or the index names files elsewhere.
    """
    for variant in (".fp16", "") if half else ("", ".fp16"):
        single = folder / f"{WEIGHTS}{variant}.safetensors"
        if single.is_file():
            return [single]
        index = folder / f"{WEIGHTS}.safetensors.index{variant}.json"
        if index.is_file():
            shards = read_json(index).get("weight_map")
            if not isinstance(shards, dict) or not shards or not all(map(is_plain_name, shards.values())):
                raise LotusError(
                    f"{index} names files that are not safetensors beside it, as the shards of weights are: download it"
                    " again."
                )
            return [folder / shard for shard in sorted(set(shards.values()))]
    for pickled in sorted(folder.glob("*.bin")):
        refuse_pickle(pickled)
    raise LotusError(f"{folder} holds no {WEIGHTS}.safetensors: download the model again.")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, or LotusError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise LotusError(f"{path} cannot be read as a JSON object: download it again.")
    return value
