"""Means and deviations over the seeds, from the results of all trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .ladder import FIG7_TIMESTEPS, FOOTNOTE, LADDER, Rung


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (NaN for one value) of the same number over several trainings."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """NaN where there is none."""
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def deviation(self) -> float:
        """Divided by N − 1."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan

    def __str__(self) -> str:
        if not self.values:
            return "–"
        return f"{self.mean:.3f}" + ("" if math.isnan(self.deviation) else f" ± {self.deviation:.3f}")

    def to_digits(self, digits: int) -> str:
        """Mean ± deviation to so many significant digits, for numbers of any size."""
        words = f"{self.mean:.{digits}g}"
        return words if math.isnan(self.deviation) else f"{words} ± {self.deviation:.{digits - 1}g}"

    def separate_from(self, other: Spread) -> bool:
        """Whether mean ± deviation of one does not touch that of the other."""
        return abs(self.mean - other.mean) > self.deviation + other.deviation


@dataclass(frozen=True)
class DenoisingPath:
    """Fig. 5 and 6: at every time-step the error and the variance of the predicted clean latents, over the seeds."""

    timesteps: list[int]
    error: list[Spread]
    variance: list[Spread]


class Results:
    """Everything that was saved: the scale, what to compare with, and every training's scores."""

    def __init__(self, saved: dict[str, Any]) -> None:
        self.scale: dict[str, Any] = saved["scale"]
        self.indoor: int = saved["indoor"]  # training scenes of that domain
        self.references: dict[str, Any] = saved["references"]
        self.runs: list[dict[str, Any]] = saved["runs"]

    def runs_of(self, rung: Rung | None) -> list[dict[str, Any]]:
        """The trainings of a rung, one for each seed."""
        return [run for run in self.runs if rung is not None and run["rung"] == asdict(rung)]

    def spread(self, rung: Rung | None, domain: str, metric: str, index: int | None = None) -> Spread:
        """A score over the seeds; `index` picks one of the thresholds where it is a list."""
        found = [run["domains"][domain][metric] for run in self.runs_of(rung) if domain in run["domains"]]
        return Spread(tuple(value if index is None else value[index] for value in found))

    @property
    def boundary_domain(self) -> str:
        """Where the detail preserver is shown: scenes of thin things, if they were measured."""
        return "thin" if "thin" in self.references else "indoor"

    def seeds(self) -> int:
        """Trainings of the rung of the ladder that has fewest."""
        return min(len(self.runs_of(rung)) for _, rung in LADDER)

    def fig7_seeds(self) -> int:
        """Trainings of the cell of Fig. 7 that has fewest."""
        return min((len(spread.values) for row in self.fig7().values() for spread in row.values()), default=0)

    def path(self, rung: Rung) -> DenoisingPath | None:
        """The denoising path of a rung, over the seeds that it was followed for, if it was."""
        paths = [run["path"] for run in self.runs_of(rung) if "path" in run]
        if not paths:
            return None
        error, variance = (
            [Spread(values) for values in zip(*(path[what] for path in paths), strict=True)]
            for what in ("error", "variance")
        )
        return DenoisingPath(paths[0]["timesteps"], error, variance)

    def fig7(self) -> dict[int, dict[int, Spread]]:
        """Number of indoor scenes (0: all) → T' → AbsRel indoors, where there is any."""
        table: dict[int, dict[int, Spread]] = {}
        for scenes in self.scale["sizes"]:
            for timesteps in FIG7_TIMESTEPS:
                spread = self.spread(Rung("x0", timesteps, scenes=scenes), "indoor", "abs_rel")
                if spread.values:
                    table.setdefault(scenes, {})[timesteps] = spread
        return table

    def steps(self) -> list[tuple[str, Rung]]:
        """The ladder, with the footnote's rung after direct adaptation."""
        return [LADDER[0], FOOTNOTE, *LADDER[1:]]


def mean_of_lists(spreads: Sequence[Spread]) -> tuple[list[float], list[float]]:
    """Means and deviations (0 for one value) of several spreads, for plots."""
    return [s.mean for s in spreads], [0.0 if math.isnan(s.deviation) else s.deviation for s in spreads]
