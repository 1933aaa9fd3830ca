"""Where a still's maps go, and what the manifest says about them."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..errors import LotusError
from .items import Item
from .journal import Finished
from .reading import Stamp

if TYPE_CHECKING:
    from ..images import LoadedImage
    from ..maps import Depth, Normals, Uncertainty
    from .settings import Settings

Maps = Mapping[str, "Depth | Normals | Uncertainty"]


@contextmanager
def staged(staging: Path) -> Iterator[Path]:
    """A new folder in `staging`, deleted on any error; errors of writing do not name it."""
    folder = staging / secrets.token_hex(8)
    try:
        folder.mkdir(parents=True)
        yield folder
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise LotusError(f"Cannot write into {staging}: {reason}; free some space.") from error
        raise


def staged_hashes(folder: Path, parent: str) -> dict[str, str]:
    """Files of a staging folder by the path they will have in the destination, below `parent` ("" for the top)."""
    found = {}
    for path in sorted(folder.iterdir()):
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[f"{parent}/{path.name}" if parent not in ("", ".") else path.name] = digest
    return found


def write_still(
    maps: Maps, image: LoadedImage, item: Item, stamp: Stamp, facts: dict[str, Any], staging: Path, settings: Settings
) -> Finished:
    """Write `<stem>_<map>.<format>` and, where wanted, `<stem>_<map>_preview.png` into a folder of their own.

    Raises LotusError where they cannot be written.
    """
    from ..cli.predict import write_maps
    from ..cli.record import choose_camera

    output = PurePosixPath(item.output)
    with staged(staging) as folder:
        write_maps(dict(maps), folder, output.name, settings.format, settings.previews)
        files = staged_hashes(folder, str(output.parent))
    camera, source = choose_camera(image)
    facts = {"kind": item.kind, **facts, "camera": {**camera.to_dict(), "source": source}}
    return Finished(item.key, stamp, folder.name, facts, files)
