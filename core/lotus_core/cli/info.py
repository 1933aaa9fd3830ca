"""`lotus info`: what a checkpoint is, from its headers alone."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..checkpoints.format import FORMAT, check_format
from ..checkpoints.header import Header, read_header
from ..checkpoints.registry import Meaning, embedded, meaning_of, near_matches
from ..errors import LotusError
from ..model_info import ModelInfo

OUR_PARTS = {"unet.": "U-Net", "vae.": "autoencoder", "prompt_embeds": "empty prompt"}
FOLDER_PARTS = ("unet", "vae", "text_encoder", "tokenizer")
IN_CHANNELS = {"conv_in.weight": 1, "model.diffusion_model.input_blocks.0.0.weight": 1, "unet.conv_in.weight": 1}
OUT_CHANNELS = {"conv_out.weight": 0, "model.diffusion_model.out.2.weight": 0, "unet.conv_out.weight": 0}

Lines = list[tuple[str, str]]


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("info", help="say what a checkpoint is, reading its headers only")
    parser.add_argument(
        "checkpoint", metavar="CKPT", help="name of an embedded checkpoint, .safetensors file or folder"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print one fact a line."""
    path = embedded().get(args.checkpoint, Path(args.checkpoint).expanduser())
    if path.is_dir():
        lines = _folder(path)
    elif path.exists():
        header = read_header(path)
        lines = _our_file(header) if header.metadata.get("format") == FORMAT else _bare_unet(header)
    else:
        matches = near_matches(args.checkpoint)
        hint = f"did you mean {' or '.join(matches)}? " if matches else ""
        raise LotusError(f"There is no file, folder or embedded model {args.checkpoint!r}: {hint}see `lotus models`.")
    for key, value in lines:
        print(f"{key + ':':<14}{value}")


def _our_file(header: Header) -> Lines:
    check_format(header)
    info = ModelInfo.from_metadata(header.metadata)
    missing = [name for prefix, name in OUR_PARTS.items() if not any(key.startswith(prefix) for key in header.tensors)]
    lines = [
        ("name", info.name),
        ("predicts", _predicts(info.task, info.space)),
        ("variant", _variant(_channels(header, IN_CHANNELS), _channels(header, OUT_CHANNELS))),
        ("longest edge", f"{info.resolution} pixels"),
        *((name, _weights(header, prefix)) for prefix, name in OUR_PARTS.items() if name not in missing),
        ("missing", ", ".join(missing) or "nothing"),
    ]
    return lines + [
        (key, value if isinstance(value, str) else json.dumps(value, indent=2)) for key, value in info.training.items()
    ]


def _bare_unet(header: Header) -> Lines:
    into, out = _channels(header, IN_CHANNELS), _channels(header, OUT_CHANNELS)
    if into is None or out is None:
        check_format(header)  # says what it holds instead
    return [
        ("name", header.path.name),
        ("predicts", _known(meaning_of(header.path.stem))),
        ("variant", _variant(into, out)),
        ("U-Net", _weights(header)),
        ("missing", "autoencoder, empty prompt"),
    ]


def _folder(folder: Path) -> Lines:
    missing = [part for part in FOLDER_PARTS if not (folder / part).is_dir()]
    if "unet" in missing:
        raise LotusError(
            f"{folder} holds no checkpoint: give a .safetensors file or a folder with unet/ and vae/ in it."
        )
    files = [file for part in FOLDER_PARTS for file in sorted((folder / part).glob("*.safetensors"))]
    unet = next((read_header(file) for file in files if file.parent.name == "unet"), None)
    stated = _json(folder / "lotus.json")
    predicts = (
        _predicts(stated["task"], stated.get("space"))
        if "task" in stated
        else _known(meaning_of(str(folder.resolve())))
    )
    return [
        ("name", folder.resolve().name),
        ("predicts", predicts),
        ("variant", _variant(_channels(unet, IN_CHANNELS), _channels(unet, OUT_CHANNELS)) if unet else "unknown"),
        *((file.parent.name, f"{_weights(read_header(file))}, {file.name}") for file in files),
        ("missing", ", ".join(missing + ([] if unet else ["weights of the U-Net"])) or "nothing"),
    ]


def _predicts(task: str, space: str | None) -> str:
    near = {"disparity": "disparity (1 = near)", "depth": "depth (1 = far)"}
    return near.get(space or "", "normals (x left, y up, z toward the camera)") if task != "depth" or space else "depth"


def _known(meaning: Meaning | None) -> str:
    return _predicts(meaning.task, meaning.space) if meaning else "unknown: its name is none of the published ones"


def _channels(header: Header, names: dict[str, int]) -> int | None:
    return next((header.tensors[name].shape[axis] for name, axis in names.items() if name in header.tensors), None)


def _variant(into: int | None, out: int | None) -> str:
    if into is None or out is None:
        return "unknown"
    if into == 2 * out:
        return "Lotus-G (generative: draws samples, has uncertainty)"
    return "Lotus-D (discriminative: one answer)" if into == out else f"none of Lotus: {into} channels in, {out} out"


def _weights(header: Header, prefix: str = "") -> str:
    entries = [entry for name, entry in header.tensors.items() if name.startswith(prefix)]
    size = sum(entry.end - entry.begin for entry in entries)
    kinds = "/".join(sorted({entry.dtype for entry in entries}))
    return f"{header.parameters(prefix):,} numbers, {kinds}, {size / 1e6:.1f} MB"


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
