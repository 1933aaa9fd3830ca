"""The terms that all backends share: what is asked for, how far it is, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from lotus_core.errors import LotusError
from lotus_core.maps import TYPES, Depth, Normals, Uncertainty
from lotus_core.maps.textures import Texture

State = Literal["running", "done", "failed", "cancelled"]
Map = Depth | Normals | Uncertainty


@dataclass(frozen=True)
class Job:
    """Maps wanted of one image.

    image:   absolute path of a picture file, or of .npy pixels: H×W, H×W×3 or H×W×4, top row first,
             uint8, uint16 or floats in [0, 1], display-referred.
    folder:  for the results; made where missing, its parent must be there.
    maps:    some of TYPES.
    models:  "depth" or "normal" → name, file, folder or hub id; kinds that are not named: the embedded one.
    options: long options of `lotus predict` without their dashes: {"res": 768, "seed": 3, "samples": 8}.
    textures: ".exr" or ".png", where images of the maps are wanted as well; "": none.
    """

    image: Path
    folder: Path
    maps: tuple[str, ...] = ("depth", "normal")
    models: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    textures: str = ""


def read_file(path: Path, kind: str, **hints: Any) -> Map:
    """Read a map that one of our own programs wrote. Raises LotusError."""
    return TYPES[kind].load(path, **hints)


@dataclass(frozen=True)
class Prediction:
    """Finished maps.

    files:    map → file.
    previews: map → 8-bit picture of it, where there is one.
    record:   what is known of their making: models, camera, seed, versions; {} where nothing is.
    hints:    map → what `read` has to be told of files that do not say what they hold.
    textures: map → image of it, where they were asked for and the backend makes them.
    read:     reads one of the files, given its path, the map and its hints.
    """

    files: dict[str, Path]
    previews: dict[str, Path] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    hints: dict[str, dict[str, Any]] = field(default_factory=dict)
    read: Callable[..., Map] = read_file
    textures: dict[str, Texture] = field(default_factory=dict)

    def load(self) -> dict[str, Map]:
        """Read the maps: float32, top row first, without loss. Raises LotusError for files that cannot be read."""
        return {map_: self.load_one(map_) for map_ in self.files}

    def load_one(self, map_: str) -> Map:
        """Read one of them. Raises LotusError."""
        return self.read(self.files[map_], map_, **self.hints.get(map_, {}))


class Task:
    """Something that goes on outside Blender. Poll it from a timer until `poll` returns False.

    state:      "running", "done", "failed" or "cancelled".
    fraction:   of the work, 0 to 1; None while it cannot be told.
    text:       what is being done, in a few words.
    message:    one sentence on what went wrong and how to put it right, where it failed.
    prediction: what came of a Job, when done.
    info:       what else came of it, when done.
    """

    def __init__(self, text: str = "") -> None:
        self.state: State = "running"
        self.fraction: float | None = None
        self.text = text
        self.message = ""
        self.prediction: Prediction | None = None
        self.info: dict[str, Any] = {}

    def poll(self) -> bool:
        """Take in what has happened; True while running."""
        return self.state == "running"

    def cancel(self) -> None:
        """Ask to stop. A few polls later, within half a second, the state is "cancelled"."""
        self.finish("cancelled")

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the process behind it wrote to its log."""
        return ""

    def finish(self, state: State, message: str = "") -> None:
        """Called by the backend, once: what comes later is ignored."""
        if self.state == "running":
            self.state, self.message = state, message
            self.text = {"done": "Done", "failed": "Failed", "cancelled": "Cancelled"}.get(state, "")
            if state == "done":
                self.fraction = 1.0


def failed(message: str) -> Task:
    """A task that failed before it began."""
    task = Task()
    task.finish("failed", message)
    return task


class Backend(Protocol):
    """What the panel and the operators use."""

    def start(self, job: Job) -> Task:
        """Begin a job. One at a time: another one fails while the first is running."""

    def check(self) -> Task:
        """See whether it works; the task's info says what it has."""

    def close(self) -> None:
        """Stop everything at once. A later `start` begins anew."""

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the log."""


def read_record(path: Path) -> dict[str, Any]:
    """The JSON record beside maps. Raises LotusError."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LotusError(f"{path} is not a readable record of maps ({error}): delete it or predict again.") from None
    if not isinstance(record, dict):
        raise LotusError(f"{path} is not a record of maps: delete it or predict again.")
    return record
