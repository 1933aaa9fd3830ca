"""Other packs in the same process, and other versions of what we need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from . import graphs
from .server.install import old_package
from .server.running import running_server
from .test_predictions import photo, predictor, put

DEPTH = graphs.DEPTH


def test_a_pack_that_owns_the_name_core_and_a_package_that_is_missing(tmp_path: Path) -> None:
    missing = {"PROBE_MISSING": "fast_simplification"}
    with running_server(tmp_path, packs=("probe", "a_core_hog"), environment=missing) as server:
        graph = {
            "hog": {"class_type": "CoreHog", "inputs": {}},
            "load": graphs.load(),
            "photo": graphs.image(put(server, "photo", photo()[None])),
            "depth": graphs.depth("load", "photo"),
            "save": graphs.save("depth", 0, "depth"),
        }
        finished = graphs.must_succeed(server.client.run(graph))
        assert "a_core_hog" in finished.outputs["hog"]["core"][0]
        found = graphs.saved(server.base, "depth")["tensor"][0, ..., 0]
        assert np.array_equal(found, predictor(DEPTH).depth(photo(), seed=0).values)
        graph["mesh"] = graphs.mesh("depth", "photo")
        graph["save mesh"] = graphs.save("mesh", 0, "mesh")
        failed = server.client.run(graph)
        assert failed.error["node_id"] == "mesh"
        assert failed.sentence.startswith("Lotus cannot use the package fast_simplification, found as version ")
        assert "run `python -m pip install --upgrade fast_simplification` with ComfyUI's Python" in failed.sentence


@pytest.mark.parametrize("version", ["0.24.0", "0.31.0"])
def test_a_pack_that_brings_an_old_diffusers(tmp_path: Path, version: str) -> None:
    """0.24 cannot be imported beside today's huggingface_hub, which is what users report most; 0.31 is our oldest."""
    environment = {"OLD_DIFFUSERS": str(old_package("diffusers", version))}
    with running_server(tmp_path, packs=("probe", "an_old_diffusers"), environment=environment) as server:
        assert "LotusDepth" in server.client.get("/object_info")
        graph = {
            "load": graphs.load(),
            "photo": graphs.image(put(server, "photo", photo()[None])),
            "depth": graphs.depth("load", "photo"),
            "save": graphs.save("depth", 0, "depth"),
        }
        finished = server.client.run(graph)
        if version == "0.31.0":
            graphs.must_succeed(finished)
            found = graphs.saved(server.base, "depth")["tensor"][0, ..., 0]
            assert np.abs(found - predictor(DEPTH).depth(photo(), seed=0).values).max() < 1e-5
            return
        assert finished.error["node_id"] == "load"
        assert finished.error["exception_type"].endswith("LotusError"), "".join(finished.error["traceback"])
        assert finished.sentence.startswith("Lotus cannot use the package diffusers, found as version 0.24.0 in ")
        assert environment["OLD_DIFFUSERS"] in finished.sentence
        assert "run `python -m pip install --upgrade diffusers` with ComfyUI's Python" in finished.sentence
        assert server.client.get("/queue") == {"queue_running": [], "queue_pending": []}
