"""What decides a batch's results: the same settings, the same files, on whatever machine and in whatever order."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

NoiseKind = Literal["shared", "motion", "fresh"]
RangeKind = Literal["two-pass", "causal", "frame"]
VideoCodec = Literal["ffv1", "x265", "prores"]


@dataclass(frozen=True)
class Settings:
    """Options of `lotus batch` that change what is written. Docs: docs/batch.md.

    maps: of "depth", "normal", "uncertainty"; empty for what the models predict. exposure: stops, None for automatic.
    video: codec for clips, None for a file per frame. noise, range, smooth, cuts: how frames of a clip belong together.
    fps: of the videos made of image sequences.
    """

    maps: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    space: str | None = None
    res: int | None = None
    tile: int | None = None
    mirror: bool = False
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    offload: bool = False
    reference: bool = False
    samples: int = 10
    vae: str | None = None
    text_encoder: str | None = None
    fast_decoder: str | None = None
    fast_encoder: bool = False
    format: Literal["png", "exr", "npy"] = "png"
    previews: bool = True
    exposure: float | None = None
    video: VideoCodec | None = None
    noise: NoiseKind = "shared"
    range: RangeKind = "two-pass"
    smooth: float = 0.8
    cuts: bool = True
    fps: float = 24.0

    def to_json(self) -> dict[str, Any]:
        """As JSON gives it back: lists for tuples."""
        table: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return table

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> Settings:
        return cls(**{**table, "maps": tuple(table["maps"]), "models": tuple(table["models"])})

    @classmethod
    def of(cls, args: argparse.Namespace) -> Settings:
        """The settings among parsed arguments of the same names."""
        table = {name: getattr(args, name) for name in cls.__dataclass_fields__ if hasattr(args, name)}
        return replace(cls(), **table)

    def namespace(self) -> argparse.Namespace:
        """As parsed arguments, for `cli.predictors.Predictors`."""
        return argparse.Namespace(**asdict(self))

    def deciding(self) -> dict[str, Any]:
        """What a destination must agree on to be resumed: all but where the network runs."""
        table = {name: value for name, value in self.to_json().items() if name not in ("device", "offload")}
        if not self.models and self.maps == ("depth",):
            table["maps"] = []  # what the models predict, which without any named is depth
        table["mirror"] = self.mirror or None  # None counts as not recorded, as in batches from before the option
        return table
