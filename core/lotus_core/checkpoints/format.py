"""What tells our single file from other safetensors files. No torch: listing models needs it."""

from __future__ import annotations

from ..errors import LotusError
from .header import Header

FORMAT = "lotus-geometry"
FORMAT_VERSION = "1"


def check_format(header: Header) -> None:
    """Raise LotusError unless `header` is that of a file that this version of Lotus wrote or could have written."""
    if header.metadata.get("format") != FORMAT:
        raise LotusError(f"{header.path} is not a Lotus checkpoint but holds {_describe(header)}.")
    version = header.metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise LotusError(
            f"{header.path} has format version {version} and this Lotus reads version {FORMAT_VERSION}: upgrade with"
            " `pip install -U lotus-geometry`."
        )


def _describe(header: Header) -> str:
    names = header.tensors
    bare = {"conv_in.weight", "class_embedding.linear_1.weight"} <= names.keys()
    if bare or "model.diffusion_model.input_blocks.0.0.weight" in names:
        return "a U-Net without its autoencoder: load the diffusers folder that it came from"
    first = ", ".join(sorted(names)[:3]) or "no tensors"
    return f"{len(names)} tensors of another model ({first}): run `lotus models` for what is available"
