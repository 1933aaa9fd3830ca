"""Graphs in the API format, node by node, as the front end sends them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .server.client import Finished

DEPTH, NORMAL = "lotus-tiny-depth-g", "lotus-tiny-normal-g"
RUNNING = {"shared_noise": True, "chunk_size": 1, "tile": 0, "decoder": "exact"}


def load(model: str = DEPTH, **inputs: Any) -> dict[str, Any]:
    automatic = dict.fromkeys(("vae", "fast_decoder", "predicts"), "automatic")
    return _node("LoadLotus", {"model": model, "precision": "auto", **automatic}, inputs)


def depth(model: str, image: str, **inputs: Any) -> dict[str, Any]:
    own = {"seed": 0, "resolution": 0, "near": "white", "range": "raw", "samples": 1}
    return _node("LotusDepth", {"model": [model, 0], "image": [image, 0], **own, **RUNNING}, inputs)


def normal(model: str, image: str, **inputs: Any) -> dict[str, Any]:
    own = {"seed": 0, "resolution": 0, "convention": "lotus", "samples": 1}
    return _node("LotusNormal", {"model": [model, 0], "image": [image, 0], **own, **RUNNING}, inputs)


def uncertainty(model: str, image: str, **inputs: Any) -> dict[str, Any]:
    own = {"seed": 0, "resolution": 0, "samples": 4, "threshold": 0.05, "range": "raw"}
    return _node("LotusUncertainty", {"model": [model, 0], "image": [image, 0], **own, **RUNNING}, inputs)


def mesh(depth: str, image: str, **inputs: Any) -> dict[str, Any]:
    own = {"mode": "perspective", "fov": 0.0, "far": 10.0, "cut": 0.04, "target_faces": 20_000, "sky": 0.0}
    own |= {"max_uncertainty": 1.0, "base": 2.0, "relief_height": 10.0, "frame": 0}
    return _node("LotusMesh", {"depth": [depth, 2], "image": [image, 0], **own}, inputs)


def image(file: str, copies: int = 1) -> dict[str, Any]:
    return _node("ProbeImage", {"file": file, "copies": copies}, {})


def mask(file: str) -> dict[str, Any]:
    return _node("ProbeMask", {"file": file, "copies": 1}, {})


def text(text: str) -> dict[str, Any]:
    return _node("ProbeText", {"text": text}, {})


def save(node: str, output: int, name: str) -> dict[str, Any]:
    return _node("ProbeSave", {"value": [node, output], "name": name}, {})


def saved(base: Path, name: str) -> dict[str, np.ndarray]:
    """What ProbeSave wrote under `name`."""
    with np.load(base / "output" / f"{name}.npz") as arrays:
        return dict(arrays)


def must_succeed(finished: Finished) -> Finished:
    assert finished.status == "success", finished.sentence
    return finished


def _node(kind: str, defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    assert set(given) <= {*defaults, "normal", "uncertainty", "mask", "mirror"}, given
    return {"class_type": kind, "inputs": {**defaults, **given}}
