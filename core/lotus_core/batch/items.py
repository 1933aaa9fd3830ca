"""What a batch is made of: stills, image sequences and videos, each with a name that does not depend on the machine."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ..errors import LotusError
from .own_results import RealPaths, passed_over

Kind = Literal["still", "sequence", "video", "latents", "samples"]

STILLS = frozenset({".jpg", ".jpeg", ".jpe", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm",
                    ".tga", ".jp2", ".avif", ".psd", ".dds", ".exr", ".hdr", ".heic", ".heif", ".hif"})  # fmt: skip
VIDEOS = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mxf", ".mpg", ".mpeg", ".wmv", ".ts", ".mts",
                    ".m2ts", ".ogv"})  # fmt: skip
SHORTEST_SEQUENCE = 3  # files `name.0001.exr`, `name.0002.exr`, … in a folder; fewer are stills
_NUMBERED = re.compile(r"^(?P<name>.+)\.(?P<number>\d{3,})$")  # a stem as renderers and editors write it: shot.1001
_PATTERN = re.compile(r"#+|%0?(\d*)d")


@dataclass(frozen=True)
class Item:
    """One unit of work.

    key:     what the manifest calls it: path relative to the source, with forward slashes; a sequence has #### in it.
    kind:    how it is read.
    files:   absolute paths: one, or the frames of a sequence in order.
    numbers: the frame numbers of a sequence; source, first and one past the last sample of a shard for training.
    output:  what its results are called: path relative to the destination, without suffix. No two items share one,
             also where file names ignore case.
    content: of a shard for training, a digest of all that decides it; empty for pictures, whose files do.
    """

    key: str
    kind: Kind
    files: tuple[str, ...]
    output: str
    numbers: tuple[int, ...] = ()
    content: str = ""

    @property
    def id(self) -> str:
        """A file name for it (`id_of` its key)."""
        return id_of(self.key)

    @property
    def missing(self) -> tuple[int, int]:
        """How many frames a sequence lacks in its midst, and the first of them; (0, 0) for none. Every second or third
        number, as renders on twos have it, is a whole sequence."""
        if self.kind != "sequence" or len(self.numbers) < 3:
            return 0, 0
        step = math.gcd(*(after - before for before, after in pairwise(self.numbers)))
        gaps = [(before, after) for before, after in pairwise(self.numbers) if after - before > step]
        return sum((after - before) // step - 1 for before, after in gaps), gaps[0][0] + step if gaps else 0

    def in_shard(self, number: int, count: int) -> bool:
        """Whether it belongs to shard `number` of 1 … `count`: a function of the key alone."""
        return int(self.id, 16) % count == number - 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> Item:
        return cls(**{**table, "files": tuple(table["files"]), "numbers": tuple(table["numbers"])})


def id_of(key: str) -> str:
    """16 hexadecimal digits of the key's SHA-256."""
    # Keys of file names that are not valid UTF-8 hold lone surrogates, which encode() alone refuses.
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:16]


def find_items(source: str, destination: Path, sequences: bool = True) -> tuple[list[Item], int]:
    """The items of a folder (with all below it), a glob, a frame pattern (`shot.####.exr`, `shot.%04d.exr`) or a file.

    Returns them ordered by key, and how many files were passed over because of their suffix. What `passed_over` tells
    is passed over silently. `sequences`: group numbered files of a folder into sequences.

    Raises LotusError where there is nothing to work on, or a result would take the place of one of the pictures.
    """
    path = Path(source).expanduser()
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise LotusError(f"{source!r} is not a file name: {error}.") from None
    if exists and path.is_dir():
        root, found = path, list(_walk(path, destination))
    elif exists:
        root, found = path.parent, [path]
    elif _PATTERN.search(path.name):
        return _named([_sequence_of_pattern(path)]), 0
    elif any(mark in source for mark in "*?["):
        root, found = _glob(path, destination)
    else:
        raise LotusError(f"There is no {source}: give a folder, a file, a glob in quotes, or frames as shot.####.exr.")
    known = [file for file in found if file.suffix.lower() in STILLS | VIDEOS]
    if not known:
        raise LotusError(f"{source} holds no pictures or videos: JPEG, PNG, TIFF, EXR, HDR, MP4, MOV, MKV and others.")
    items = _named(_grouped(root, known, sequences))
    _check_places(items, destination)
    return items, len(found) - len(known)


def _check_places(items: list[Item], destination: Path) -> None:
    """Raise LotusError where a picture in `destination` has a name that a result of another one may get."""
    from ..cli.predictors import MAPS

    result = re.compile(rf"(?P<output>.+)_(?:{'|'.join(MAPS)})(?:_preview|\.\d+)?")
    outputs = {item.output: item.key for item in items}
    outputs |= {f"{i.output}/{PurePosixPath(i.output).name}": i.key for i in items if i.kind != "still"}
    real, there = RealPaths(), destination.resolve()
    for item in items:
        for file in map(real, map(Path, item.files)):
            if not file.is_relative_to(there):
                continue
            match = result.fullmatch(file.relative_to(there).with_suffix("").as_posix())
            if match is not None and (other := outputs.get(match["output"])) is not None:
                raise LotusError(f"Results of {other} may take the place of {file}: choose another destination.")


def _walk(folder: Path, destination: Path) -> Iterator[Path]:
    """All files below `folder`, of each real folder once: where links lead to it as well, by the path without any."""
    passed = passed_over(folder, destination)
    begin, entered = [folder], {folder.resolve()}
    while begin:
        links = []
        for place, folders, files in os.walk(begin.pop(0)):
            here, real = Path(place), Path(place).resolve()
            wanted = [name for name in sorted(folders) if not passed(here / name)]
            links += [here / name for name in wanted if (here / name).is_symlink()]
            folders[:] = [name for name in wanted if not (here / name).is_symlink() and real / name not in entered]
            entered.update(real / name for name in folders)
            yield from (path for path in (here / name for name in sorted(files)) if not passed(path))
        for link in links:
            target = link.resolve()
            if target not in entered:
                entered.add(target)
                begin.append(link)


def _glob(pattern: Path, destination: Path) -> tuple[Path, list[Path]]:
    """The folder above all wildcards, and the files that match, without those that are passed over."""
    parts = pattern.parts
    first = next(index for index, part in enumerate(parts) if any(mark in part for mark in "*?["))
    root = Path(*parts[:first]) if first else Path()
    matches = sorted(path for path in root.glob(str(Path(*parts[first:]))) if path.is_file())
    if not matches:
        raise LotusError(f"Nothing matches {pattern}: check it, and quote it so that the shell leaves it alone.")
    passed = passed_over(root, destination)
    found = [path for path in matches if not passed(path)]
    if not found:
        raise LotusError(
            f"All that {pattern} matches is hidden, lies in {destination} or was written by a run into it: name other"
            " pictures, or another destination."
        )
    return root, found


def _sequence_of_pattern(pattern: Path) -> Item:
    mark = _PATTERN.search(pattern.name)
    assert mark is not None
    digits = len(mark.group()) if mark.group().startswith("#") else int(mark.group(1) or 1)
    before, after = pattern.name[: mark.start()], pattern.name[mark.end() :]
    number = re.compile(re.escape(before) + rf"(\d{{{digits},}})" + re.escape(after))
    frames = []
    for path in pattern.parent.iterdir() if pattern.parent.is_dir() else ():
        if match := number.fullmatch(path.name):
            frames.append((int(match.group(1)), path))
    if not frames:
        raise LotusError(f"No frames match {pattern}: there should be {before}{'1'.zfill(digits)}{after} or the like.")
    if Path("frame" + after).suffix.lower() not in STILLS:
        raise LotusError(f"{pattern} are not pictures that can be read: give JPEG, PNG, TIFF, EXR or HDR frames.")
    return _sequence(f"{before}{'#' * digits}{after}", before.rstrip("._-") or "frames", sorted(frames))


def _sequence(key: str, output: str, frames: list[tuple[int, Path]]) -> Item:
    for (number, path), (after, other) in pairwise(frames):
        if number == after:
            raise LotusError(
                f"{path} and {other.name} are both frame {number} of {key}, so that one's maps would replace the"
                " other's: rename or remove one of them."
            )
    numbers = tuple(number for number, _ in frames)
    return Item(key, "sequence", tuple(str(path.absolute()) for _, path in frames), output, numbers)


def _grouped(root: Path, files: Iterable[Path], sequences: bool) -> list[Item]:
    items, numbered = [], defaultdict(list)
    for path in files:
        inside = PurePosixPath(path.relative_to(root).as_posix())
        match = _NUMBERED.match(path.stem) if sequences and path.suffix.lower() in STILLS else None
        if match is not None:
            numbered[inside.parent, match["name"], path.suffix].append((match["number"], path))
        else:
            items.append(_single(path, inside))
    for (folder, name, suffix), frames in numbered.items():
        if len(frames) < SHORTEST_SEQUENCE:
            items += [_single(path, folder / path.name) for _, path in frames]
            continue
        digits = min(len(number) for number, _ in frames)
        ordered = sorted((int(number), path) for number, path in frames)
        items.append(_sequence((folder / f"{name}.{'#' * digits}{suffix}").as_posix(), str(folder / name), ordered))
    return items


def _single(path: Path, inside: PurePosixPath) -> Item:
    kind: Kind = "video" if path.suffix.lower() in VIDEOS else "still"
    return Item(inside.as_posix(), kind, (str(path.absolute()),), inside.with_suffix("").as_posix())


def _named(items: list[Item]) -> list[Item]:
    """Ordered by key; items that would share an output name keep the suffix of their file in it."""
    users: dict[str, int] = defaultdict(int)
    for item in items:
        users[item.output.casefold()] += 1
    named = []
    for item in items:
        shared = users[item.output.casefold()] > 1
        output = item.output + PurePosixPath(item.key).suffix if shared else item.output
        named.append(Item(item.key, item.kind, item.files, output, item.numbers))
    seen: dict[str, str] = {}
    for item in named:
        other = seen.setdefault(item.output.casefold(), item.key)
        if other != item.key:
            raise LotusError(f"{other} and {item.key} would be written under the same name: rename one of them.")
    return sorted(named, key=lambda item: item.key)
