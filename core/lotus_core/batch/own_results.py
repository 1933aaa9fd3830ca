"""What a search for pictures passes over: hidden files, and what Lotus itself has written among the pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..files import json_or_nothing

_JOURNALS = ".lotus-batch/journal*.jsonl"  # of `manifest.Record`, in the destination


def passed_over(root: Path, destination: Path) -> Callable[[Path], bool]:
    """Tells of a file or folder below `root` whether it is never a source.

    That is what is hidden; all in a destination below `root`; what runs into this destination, or into another folder
    around the file, have written; and the maps in a record of `lotus predict` beside them.
    """
    real = RealPaths()
    here, there = root.resolve(), destination.resolve()
    whole = there if here in there.parents else None
    results: set[Path] = set()
    searched: set[Path] = set()

    def search(folder: Path) -> None:
        """Add what runs into `folder`, or a folder around it, have written."""
        for around in (folder, *folder.parents):
            if around in searched:
                return
            searched.add(around)
            results.update(real(around / file) for file in _listed(around))

    search(there)

    def passed(path: Path) -> bool:
        if any(part.startswith(".") and part != ".." for part in path.relative_to(root).parts):
            return True
        place = real(path)
        if whole is not None and place.is_relative_to(whole):
            return True
        search(place.parent)
        return place in results or _is_recorded(place)

    return passed


class RealPaths:
    """Paths without symbolic links on the way to them. Resolving is slow: once for each folder."""

    def __init__(self) -> None:
        self._folders: dict[Path, Path] = {}

    def __call__(self, path: Path) -> Path:
        folder = self._folders.get(path.parent)
        if folder is None:
            folder = self._folders[path.parent] = path.parent.resolve()
        return folder / path.name


def _listed(destination: Path) -> set[str]:
    """The files of all runs into `destination` so far, relative to it. The manifest lacks those of a killed run."""
    from .manifest import MANIFEST

    listed = {MANIFEST}
    items = json_or_nothing(destination / MANIFEST).get("items")
    for item in items.values() if isinstance(items, dict) else ():
        listed.update(_files(item))
    for journal in destination.glob(_JOURNALS):
        with open(journal, "rb") as lines:
            for line in lines:
                with suppress(ValueError):  # a run is in the middle of it, or was killed there
                    listed.update(_files(json.loads(line)))
    return listed


def _files(entry: Any) -> Iterable[str]:
    files = entry.get("files") if isinstance(entry, dict) else None
    return files if isinstance(files, dict | list) else ()


def _is_recorded(path: Path) -> bool:
    """Whether `lotus predict` wrote this map or preview, by the record beside it (`cli.predict.write_record`)."""
    photo, underscore, _ = path.stem.removesuffix("_preview").rpartition("_")  # <photo>_<map>, <photo>_<map>_preview
    maps = json_or_nothing(path.with_name(f"{photo}.json")).get("maps") if underscore else None
    entries = maps.values() if isinstance(maps, dict) else ()
    return any(path.name in (e.get("file"), e.get("preview")) for e in entries if isinstance(e, dict))
