"""What tells our single file from other safetensors files. No torch: listing models needs it."""

from __future__ import annotations

from ..errors import LotusError
from .header import Header
from .layouts import describe

FORMAT = "lotus-geometry"
WHOLE, WITH_REST = "1", "2"
"""Format versions: files that hold all of a model, and those that hold only what differs from another (`rest`)."""


def is_ours(header: Header) -> bool:
    """Whether it is that of a file in our own format, of any version."""
    return header.metadata.get("format") == FORMAT


def check_format(header: Header) -> None:
    """Raise LotusError unless `header` is that of a file that this version of Lotus wrote or could have written."""
    if not is_ours(header):
        raise not_ours(header)
    version = header.metadata.get("format_version")
    if version not in (WHOLE, WITH_REST):
        raise LotusError(
            f"{header.path} has format version {version} and this Lotus reads versions {WHOLE} and {WITH_REST}: upgrade"
            " Lotus."
        )


def not_ours(header: Header) -> LotusError:
    """The error for a file of another model, which says what it holds."""
    return LotusError(f"{header.path} is not a Lotus checkpoint but holds {describe(header)}.")
