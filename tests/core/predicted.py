"""Predictions of known quality for runs of `evaluate`."""

from __future__ import annotations

import numpy as np

from lotus_core.evaluation.benchmarks import BenchmarkSample
from lotus_core.evaluation.predictions import Prediction, PredictionSource
from lotus_core.maps import Depth


class Disparity(PredictionSource):
    """Predicts the true disparity in [0, 1], with noise of known size, and counts how often it is asked."""

    def __init__(self, noise: float = 0.0, std: bool = False) -> None:
        self.noise, self.std, self.asked = noise, std, []  # type: ignore[var-annotated]

    def predict(self, sample: BenchmarkSample, index: int) -> Prediction:
        self.asked.append(index)
        disparity = 1 / np.maximum(sample.truth, 1)
        values = 0.1 + 0.8 * disparity
        rng = np.random.default_rng(index)
        strength = rng.gamma(1.0, size=values.shape) if self.std else np.ones(values.shape)
        values = values + self.noise * strength * rng.normal(size=values.shape)
        return Prediction(Depth(values.clip(0, 1), "disparity"), strength if self.std else None)
