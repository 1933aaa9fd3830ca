"""`lotus info`: what a checkpoint is, from its headers alone."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..checkpoints.diffusers_layout import INFO, PROMPT_FILE, read_part
from ..checkpoints.format import is_ours, not_ours
from ..checkpoints.header import Header, read_header
from ..checkpoints.hub import kept_snapshot
from ..checkpoints.layouts import PROMPT, Part, contents_of
from ..checkpoints.load import is_hub_name
from ..checkpoints.registry import PUBLISHED, embedded, hub_id, near_matches, place_of, published_name
from ..checkpoints.rest import parts_of
from ..errors import LotusError
from ..files import json_or_nothing
from ..model_info import RELEASED_RESOLUTION, ModelInfo
from .provenance import Lines, made_of

FOLDER_PARTS = {"unet": "U-Net", "vae": "autoencoder", "text_encoder": "text encoder", "tokenizer": "tokenizer"}
VARIANTS = {"g": "Lotus-G (generative: draws samples, has uncertainty)", "d": "Lotus-D (discriminative: one answer)"}
TELL = "pass --task, and --space for depth"


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("info", help="say what a checkpoint is, reading its headers only")
    parser.add_argument(
        "checkpoint", metavar="CKPT", help="name of a checkpoint, .safetensors file, diffusers folder or hub id"
    )
    parser.add_argument(
        "--training", action="store_true", help="print what it says of its training instead, config and all, as JSON"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print one fact a line, or the record."""
    name = args.checkpoint
    path = embedded().get(name, Path(name).expanduser())
    hub = hub_id(name) if not path.exists() and is_hub_name(name) else None
    lines = _lines(name, path, hub)
    if args.training:
        record = _record(kept_snapshot(hub) if hub else path)
        if not record:
            raise LotusError(f"{name} says nothing of its training: only checkpoints that Lotus wrote do.")
        print(json.dumps(record, indent=2))
        return
    for key, value in lines:
        print(f"{key + ':':<14}{value}")


def _lines(name: str, path: Path, hub: str | None) -> Lines:
    if hub is not None:
        return _on_the_hub(hub)
    if path.is_dir():
        return _folder(path, place_of(path))
    if path.exists():
        header = read_header(path)
        return _our_file(header) if is_ours(header) else _other_file(header)
    matches = near_matches(name)
    hint = f"did you mean {' or '.join(matches)}? " if matches else ""
    raise LotusError(f"There is no file, folder or embedded model {name!r}: {hint}see `lotus models`.")


def _our_file(header: Header) -> Lines:
    own = parts_of(header)
    info = ModelInfo.from_metadata(header.metadata)
    found = {"U-Net": own.unet, "autoencoder": own.vae}
    parts = {name: part for name, part in found.items() if part.shapes}
    missing = [name for name in found if name not in parts]
    prompt = own.prompt.tensors[PROMPT] if own.prompt else None
    lines = [
        ("name", info.name),
        ("layout", f"what differs from {own.rest.path.name} beside it" if own.rest else "one file of Lotus's own"),
        ("predicts", _predicts(info.task, info.space)),
        ("variant", _variant(parts.get("U-Net"))),
        ("longest edge", f"{info.resolution} pixels"),
        *((name, _weights(part)) for name, part in parts.items()),
        *([("empty prompt", f"{'×'.join(map(str, prompt.shape))} numbers, {prompt.dtype}")] if prompt else []),
        ("missing", ", ".join(missing + ([] if prompt else ["empty prompt"])) or "nothing"),
    ]
    return lines + made_of(info.training)


def _record(path: Path | None) -> dict[str, Any]:
    """What a checkpoint says of its training: nothing where it is not on this machine (None), or not ours."""
    if path is None:
        return {}
    if path.is_dir():
        record = json_or_nothing(path / INFO).get("training")
        return record if isinstance(record, dict) else {}
    header = read_header(path)
    return ModelInfo.from_metadata(header.metadata).training if is_ours(header) else {}


def _other_file(header: Header) -> Lines:
    contents = contents_of(header)
    if contents.unet is None and contents.vae is not None:
        return [
            ("name", header.path.name),
            ("layout", f"autoencoder in {contents.vae.layout} names, for --vae"),
            ("autoencoder", _weights(contents.vae)),
            ("missing", "U-Net, empty prompt"),
        ]
    if contents.unet is None or not contents.unet.is_lotus:
        raise not_ours(header)
    place = place_of(header.path)
    vae = [("autoencoder", _weights(contents.vae))] if contents.vae else []
    missing = [] if contents.vae else ["autoencoder (--vae)"]
    return [
        ("name", header.path.name),
        ("layout", f"{'U-Net with autoencoder' if contents.vae else 'U-Net alone'} in {contents.unet.layout} names"),
        *_published(place, contents.unet),
        ("variant", _variant(contents.unet)),
        ("U-Net", _weights(contents.unet)),
        *vae,
        ("missing", ", ".join([*missing, "empty prompt (--text-encoder)"])),
    ]


def _folder(folder: Path, place: str) -> Lines:
    missing = [part for part in FOLDER_PARTS if not (folder / part).is_dir()]
    if "unet" in missing:
        raise LotusError(
            f"{folder} holds no checkpoint: give a .safetensors file or a folder with unet/ and vae/ in it."
        )
    if (folder / PROMPT_FILE).is_file():  # what text encoder and tokenizer are for
        missing = [part for part in missing if part in ("unet", "vae")]
    parts: dict[str, Part] = {}
    for part in ("unet", "vae"):
        try:
            parts[part] = read_part(folder / part)
        except LotusError:
            missing += [] if part in missing else [f"weights of the {FOLDER_PARTS[part]}"]
    texts = [read_header(file) for file in sorted((folder / "text_encoder").glob("*.safetensors"))]
    stated = json_or_nothing(folder / INFO)
    predicts = (
        [("predicts", _predicts(stated["task"], stated.get("space")))]
        if "task" in stated
        else _published(place, parts.get("unet"))
    )
    return [
        ("name", place.rsplit("/", 1)[-1]),
        ("layout", "diffusers folder"),
        *predicts,
        ("variant", _variant(parts.get("unet"))),
        *((part, f"{_weights(found)}, {_files(found)}") for part, found in parts.items()),
        *(("text_encoder", f"{text.parameters():,} numbers, {text.path.name}") for text in texts),
        ("missing", ", ".join(missing) or "nothing"),
        *made_of(_record(folder)),
    ]


def _on_the_hub(name: str) -> Lines:
    """From this machine's copy where there is one, else what the name says. Asks no network."""
    folder = kept_snapshot(name)
    if folder is not None:
        return [*_folder(folder, name), ("on the hub", f"{name}, copy in {folder}")]
    known = published_name(name)
    if known is None:
        raise LotusError(
            f"{name} is neither on this machine nor a published name, so its headers cannot be read: `lotus models`"
            " lists what is available."
        )
    meaning = PUBLISHED[known]
    return [
        ("name", known),
        ("layout", "diffusers folder on the hub"),
        ("predicts", _predicts(meaning.task, meaning.space)),
        ("variant", VARIANTS[meaning.variant]),
        ("longest edge", f"{RELEASED_RESOLUTION} pixels"),
        ("on the hub", f"{name}, not on this machine: --model {name} downloads it"),
    ]


def _published(place: str, unet: Part | None) -> Lines:
    """What the name says, unless the weights contradict it."""
    known = published_name(place)
    if known is None:
        return [("predicts", f"unknown, its name is none of the published ones: {TELL}")]
    meaning = PUBLISHED[known]
    if unet is not None and unet.variant not in (None, meaning.variant):
        return [("predicts", f"unknown, named like a Lotus-{meaning.variant.upper()}, which it is not: {TELL}")]
    return [("predicts", _predicts(meaning.task, meaning.space)), ("published as", hub_id(known))]


def _predicts(task: str, space: str | None) -> str:
    near = {"disparity": "disparity (1 = near)", "depth": "depth (1 = far)"}
    return near.get(space or "", "normals (x left, y up, z toward the camera)") if task != "depth" or space else "depth"


def _variant(unet: Part | None) -> str:
    if unet is None or unet.channels is None:
        return "unknown"
    into, out = unet.channels
    return VARIANTS.get(unet.variant or "", f"none of Lotus: {into} channels in, {out} out")


def _weights(part: Part) -> str:
    return f"{part.numbers:,} numbers, {part.dtypes}, {part.bytes / 1e6:.1f} MB"


def _files(part: Part) -> str:
    first = part.sources[0][0].path.name
    return first if len(part.sources) == 1 else f"{len(part.sources)} files from {first} on"
