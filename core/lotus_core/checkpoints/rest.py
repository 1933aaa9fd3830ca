"""The parts of a model in our single file, and of one that lies in two: a file may hold only what differs from another.

Its metadata then names that one, in the same folder (REST), and says by a fingerprint which it was (REST_FINGERPRINT).
No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LotusError
from .fingerprint import fingerprint
from .format import check_format, is_ours
from .header import Header, is_plain_name, read_header
from .layouts import PROMPT, SCALE, Part

REST, REST_FINGERPRINT = "rest", "rest_fingerprint"


@dataclass(frozen=True)
class OwnParts:
    """What a model of ours is made of. `rest`: the other file's header; `prompt`: that of the file with PROMPT."""

    unet: Part
    vae: Part
    prompt: Header | None
    rest: Header | None


def parts_of(header: Header) -> OwnParts:
    """Those of a file of ours, with what it takes from another one.

    Raises LotusError for another version's file, and where that other one is not there, or not the one it was.
    """
    check_format(header)
    rest = _rest_of(header)
    headers = (header,) if rest is None else (header, rest)
    prompt = next((one for one in headers if PROMPT in one.tensors), None)
    return OwnParts(_part(headers, "unet."), _part(headers, "vae."), prompt, rest)


def files_of(path: Path) -> list[Path]:
    """`path`, and where it is a file of ours that takes tensors from another one, that one, which may be missing.

    Raises LotusError for damaged safetensors.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return [path]
    header = read_header(path)
    return [path] if _names_no_rest(header) else [path, _rest_path(header)]


def rest_metadata(path: Path) -> dict[str, str]:
    """What a file says of `path`, the file of its folder that has the rest."""
    return {REST: path.name, REST_FINGERPRINT: fingerprint(path, [path])}


def _rest_of(header: Header) -> Header | None:
    if _names_no_rest(header):
        return None
    path = _rest_path(header)
    if not path.is_file():
        raise LotusError(
            f"{header.path} holds only what differs from {path.name}, which is not in its folder: put it there, or make"
            " a whole file by `lotus convert` where both are."
        )
    rest = read_header(path)
    check_format(rest)
    if not rest_metadata(path).items() <= header.metadata.items():
        raise LotusError(
            f"{path} is not the file that {header.path.name} takes the rest of its weights from, but another of that"
            " name: put that one back, or make both anew."
        )
    return rest


def _names_no_rest(header: Header) -> bool:
    return not is_ours(header) or REST not in header.metadata


def _rest_path(header: Header) -> Path:
    name = header.metadata[REST]
    if not is_plain_name(name):
        raise LotusError(
            f"{header.path} takes weights from {name[:80]!r}, which is no safetensors file beside it: download it"
            " again."
        )
    return header.path.parent / name


def _part(headers: Sequence[Header], prefix: str) -> Part:
    """The tensors whose names start with `prefix`, each of the first file that has it."""
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
