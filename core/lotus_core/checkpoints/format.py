"""What tells our single file from other safetensors files. No torch: listing models needs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from ..errors import LotusError
from .header import Header, read_header
from .layouts import SCALE, Part, describe

FORMAT = "lotus-geometry"
FORMAT_VERSION = "1"
REST = "rest"
"""Of the metadata: the name of a file of ours in the same folder, which has the tensors that are not here."""


def check_format(header: Header) -> None:
    """Raise LotusError unless `header` is that of a file that this version of Lotus wrote or could have written."""
    if header.metadata.get("format") != FORMAT:
        raise not_ours(header)
    version = header.metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise LotusError(
            f"{header.path} has format version {version} and this Lotus reads version {FORMAT_VERSION}: upgrade with"
            " `pip install -U lotus-geometry`."
        )


def with_rest(header: Header) -> tuple[Header, ...]:
    """`header`, and after it that of the file that holds the rest of the model where `header` names one.

    Raises LotusError where that file is not there, or not one of ours that is whole.
    """
    name = header.metadata.get(REST)
    if name is None or header.metadata.get("format") != FORMAT:
        return (header,)
    path = header.path.parent / PurePath(name).name
    if path.name != name or not path.is_file():
        raise LotusError(
            f"{header.path} holds only what differs from {name}, which is not in its folder: put it there, or make a"
            " whole file by `lotus convert` where both are."
        )
    rest = read_header(path)
    check_format(rest)
    if REST in rest.metadata:
        raise LotusError(f"{path} is to hold the rest of {header.path.name} and is not whole itself: convert it first.")
    return header, rest


def part_of(headers: Sequence[Header], prefix: str) -> Part:
    """The tensors of a model of ours whose names start with `prefix` ("unet." or "vae."), each of the first file that
    has it."""
    sources, found = [], set[str]()
    for header in headers:
        names = {
            name: name.removeprefix(prefix)
            for name in header.tensors
            if name.startswith(prefix) and not name.endswith(SCALE) and name not in found
        }
        found |= names.keys()
        sources.append((header, names))
    return Part.of(sources, "diffusers", str(headers[0].path))


def not_ours(header: Header) -> LotusError:
    """The error for a file of another model, which says what it holds."""
    return LotusError(f"{header.path} is not a Lotus checkpoint but holds {describe(header)}.")
