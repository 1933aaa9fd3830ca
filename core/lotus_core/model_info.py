"""What a checkpoint is, apart from its weights: torch-free, so that listing models costs nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from .errors import LotusError

TASKS = ("depth", "normal")
SPACES = ("disparity", "depth")
RELEASED_RESOLUTION = 768  # longest edge of the released weights (default processing resolution of the original code)


@dataclass(frozen=True)
class ModelInfo:
    """Name and meaning of a checkpoint's output.

    name:              what `lotus models` calls it.
    task:              "depth" or "normal".
    space:             of depth only: "disparity" (1 = near) or "depth" (1 = far); None for normals.
    resolution:        longest edge, in pixels, that the network was trained to see.
    normal_convention: axes of the network's own normals.
    training:          free record of how the weights were made.
    scheduler_config:  noise schedule of the base model (diffusers names). Training reads it; the single step does not.

    Raises LotusError where task and space do not fit together.
    """

    name: str
    task: str
    space: str | None = None
    resolution: int = RELEASED_RESOLUTION
    normal_convention: str = "lotus"
    training: dict[str, Any] = field(default_factory=dict)
    scheduler_config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise LotusError(f"The task of a model is one of {', '.join(TASKS)}, not {self.task!r}.")
        if self.task == "depth" and self.space not in SPACES:
            raise LotusError(f"A depth model needs a space, one of {', '.join(SPACES)}, not {self.space!r}.")
        if self.task == "normal" and self.space is not None:
            raise LotusError(f"A normal model has no depth space, but {self.space!r} was given: leave it out.")
        if not isinstance(self.resolution, int) or self.resolution < 1:
            raise LotusError(f"The resolution of a model is a positive number of pixels, not {self.resolution!r}.")

    def to_metadata(self) -> dict[str, str]:
        """The strings that go into the header of our single file."""
        metadata = {
            "name": self.name,
            "task": self.task,
            "resolution": str(self.resolution),
            "normal_convention": self.normal_convention,
            "training": json.dumps(self.training, sort_keys=True),
            "scheduler_config": json.dumps(self.scheduler_config, sort_keys=True),
        }
        if self.space is not None:
            metadata["space"] = self.space
        return metadata

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], where: str = "The checkpoint") -> ModelInfo:
        """Read the strings that `to_metadata` wrote.

        Raises LotusError for what is missing or makes no sense; `where` names the file in it.
        """
        try:
            return cls(
                name=metadata["name"],
                task=metadata["task"],
                space=metadata.get("space"),
                resolution=int(metadata["resolution"]),
                normal_convention=metadata.get("normal_convention", "lotus"),
                training=_json_object(metadata, "training"),
                scheduler_config=_json_object(metadata, "scheduler_config"),
            )
        except KeyError as error:
            raise LotusError(f"{where} lacks {error.args[0]!r} in its header: write the file again.") from None
        except ValueError as error:
            raise LotusError(f"{where} has a header that cannot be read ({error}): write the file again.") from None


def _json_object(metadata: dict[str, str], key: str) -> dict[str, Any]:
    value = json.loads(metadata.get(key, "{}"))
    if not isinstance(value, dict):
        raise ValueError(f"{key!r} is not a JSON object")
    return value
