"""Where the predictions to be scored come from: a model, or files that were saved before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..data.reading import listed
from ..errors import LotusError
from ..maps import Depth, Normals
from ..maps.depth import Space
from ..maps.normals import Convention
from ..maps.storage import mask_from_words, mask_to_words, read_map, words_path
from .benchmarks import BenchmarkSample

if TYPE_CHECKING:
    from ..predict import LotusPredictor

_SUFFIXES = (".npy", ".exr", ".png")


@dataclass(frozen=True)
class Prediction:
    """A map at the picture's size; std: its uncertainty H×W (units of the map's values, or degrees), where known."""

    map: Depth | Normals
    std: NDArray | None = None


class PredictionSource(Protocol):
    """Gives the prediction for a sample of a benchmark."""

    def check(self, names: Sequence[str]) -> None:
        """Raise LotusError where the prediction for any of these samples is known to be missing."""
        return

    def predict(self, sample: BenchmarkSample, index: int) -> Prediction:
        """index: the sample's number in the benchmark, which also numbers its noise."""
        ...

    def fingerprint(self, name: str) -> str:
        """What tells that the prediction for the sample `name` is as it was; "" where the run's settings tell it."""
        return ""


class ModelPredictions(PredictionSource):
    """Predictions of a model.

    samples: 1, or how many noise samples to average; from 2 on the spread is the uncertainty (Lotus-G only).
    options: for every call of the predictor: resolution (longest edge the network sees, 0 for the picture's own), seed,
        reference, mirror.
    """

    def __init__(self, predictor: LotusPredictor, samples: int = 1, **options: Any) -> None:
        self._predictor, self._samples, self._options = predictor, samples, options

    def predict(self, sample: BenchmarkSample, index: int) -> Prediction:
        """The model's map of the picture."""
        predictor, options = self._predictor, {**self._options, "index": index}
        if self._samples > 1:
            spread = predictor.uncertainty(sample.image, samples=self._samples, **options)
            return Prediction(spread.mean, spread.std)
        if predictor.model.info.task == "depth":
            return Prediction(predictor.depth(sample.image, **options))
        return Prediction(predictor.normal(sample.image, **options))


class SavedPredictions(PredictionSource):
    """Predictions in files: `<sample name>.npy`, `.exr` or `.png` below a folder, as `lotus eval` itself saves them.

    space, convention: for files that do not say it.

    Of depth, values that are not finite count as unknown.

    Raises (on reading):
        LotusError: a file is missing, there are two for one sample, or it cannot be read as such a map.
    """

    def __init__(
        self,
        folder: Path,
        task: Literal["depth", "normal"],
        space: Space | None = None,
        convention: Convention | None = None,
    ) -> None:
        if not folder.is_dir():
            raise LotusError(f"There is no folder of predictions {folder}: check --predictions.")
        self._folder, self._task, self._space, self._convention = folder, task, space, convention

    def check(self, names: Sequence[str]) -> None:
        """Raise LotusError that names the samples without a file."""
        missing = [name for name in names if not self._files(name)]
        if missing:
            raise self._missing(missing)

    def predict(self, sample: BenchmarkSample, index: int) -> Prediction:
        """The stored map of the picture."""
        path = self._file(sample.name)
        try:
            if self._task == "depth":
                return Prediction(self._depth(path))
            return Prediction(Normals.load(path, self._convention))
        except LotusError as error:
            if str(path) in str(error):
                raise
            raise LotusError(f"{path}: {error}") from error

    def fingerprint(self, name: str) -> str:
        """Of the file's bytes, and of the words beside it that say what they mean."""
        path = self._file(name)
        digest = hashlib.sha256(path.suffix.encode())
        for file in (path, words_path(path)):
            if file.is_file():
                digest.update(file.read_bytes())
        return digest.hexdigest()[:32]

    def _depth(self, path: Path) -> Depth:
        stored = read_map(path)
        values = stored.values[..., 0] if stored.values.ndim == 3 and stored.values.shape[2] == 1 else stored.values
        words, finite = stored.words, np.isfinite(values)
        if values.ndim == 2 and not finite.all():
            known = mask_from_words(words, values.shape, path)
            words = words | mask_to_words(finite if known is None else finite & known)
            values = np.where(finite, values, 0)
        return Depth.from_stored(replace(stored, values=values, words=words), path, self._space)

    def _files(self, name: str) -> list[Path]:
        paths = (self._folder / f"{name}{suffix}" for suffix in _SUFFIXES)
        return [path for path in paths if path.is_file()]

    def _file(self, name: str) -> Path:
        files = self._files(name)
        if not files:
            raise self._missing([name])
        if len(files) > 1:
            raise LotusError(f"There are two predictions for {name}, {files[0]} and {files[1]}: remove one of them.")
        return files[0]

    def _missing(self, names: Sequence[str]) -> LotusError:
        return LotusError(
            f"There is no prediction {self._folder / listed(names)} ({', '.join(_SUFFIXES)}): predict"
            f" {'it' if len(names) == 1 else 'them'}, or check --predictions."
        )
