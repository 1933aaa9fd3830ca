"""What several tests need: small checkpoints with random weights, and a photo."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import lotus_core

if TYPE_CHECKING:
    from lotus_core.evaluation.depth_benchmarks import DepthBenchmark

# One thread, set before torch is imported: a child forked from a process that has OpenMP threads hangs at its first
# convolution, and several tests fork.
os.environ["OMP_NUM_THREADS"] = "1"
# Programs that a test starts run the same code that the test itself imports.
SOURCE = str(Path(lotus_core.__file__).parent.parent)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Embeddings that tests compute stay out of the user's cache, and its own out of the tests."""
    os.environ["LOTUS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of random-weight checkpoints by kind: "depth" and "normal" (Lotus-G), "depth-d" (Lotus-D)."""
    from lotus_core.checkpoints import save_model

    from .models import tiny_model

    folder = tmp_path_factory.mktemp("checkpoints")
    paths = {}
    for kind, variant, task in (("depth", "g", "depth"), ("normal", "g", "normal"), ("depth-d", "d", "depth")):
        paths[kind] = str(folder / f"{kind}.safetensors")
        save_model(tiny_model(variant, task), paths[kind])
    return paths


@pytest.fixture
def photo(tmp_path: Path) -> str:
    """A JPEG of 96×64 pixels with something to see."""
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[0:64, 0:96]
    ball = (x - 48) ** 2 + (y - 32) ** 2 < 400
    rgb = np.dstack([x * 2, y * 3, np.where(ball, 220, 40)]).astype(np.uint8)
    path = tmp_path / "photo.jpg"
    Image.fromarray(rgb).save(path, quality=95)
    return str(path)


@pytest.fixture(scope="session")
def ingredients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes and an autoencoder for short training runs (`training_runs.write_ingredients`); nobody writes there."""
    import torch

    from .training_runs import write_ingredients

    torch.set_num_threads(1)  # before the first fork: no pool of threads that a child would lack
    folder = tmp_path_factory.mktemp("ingredients")
    write_ingredients(folder)
    return folder


@pytest.fixture(scope="session")
def scannet(tmp_path_factory: pytest.TempPathFactory) -> DepthBenchmark:
    """ScanNet's benchmark in three small samples; nobody writes there."""
    from lotus_core.evaluation.depth_benchmarks import DepthBenchmark

    from .benchmark_files import write_scannet

    root = tmp_path_factory.mktemp("scannet")
    write_scannet(root)
    return DepthBenchmark("scannet", root)
