"""A GPU that is full: what ComfyUI, the node and the next prompt do. ComfyUI's own cache, as users have it.

The device is one that ComfyUI takes for a GPU; memory runs out because the probe says so (see packs/probe).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from . import graphs
from .graphs import DEPTH
from .server.client import Finished
from .server.running import Server, running_server
from .test_host import memory, predicting, probe
from .test_predictions import photo, predictor

SIZE = 8_000_000  # bytes; the included model's weights in float32 are more


@pytest.fixture(scope="module")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("gpu"), cache=(), environment={"PROBE_DEVICE": "gpu"}) as server:
        yield server


def full(server: Server, where: str, seed: int) -> dict[str, Any]:
    """A graph in which memory runs out there."""
    graph = predicting(server, seed=seed)
    graph["full"] = {"class_type": "ProbeFull", "inputs": {"after": ["load", 0], "where": where}}
    graph["depth"]["inputs"]["model"] = ["full", 0]
    graph["memory"] = probe(after=["depth", 0])
    return graph


def exact(server: Server, seed: int) -> bool:
    """Whether the map that the last prompt left is the one that enough memory gives."""
    return bool(
        np.array_equal(
            graphs.saved(server.base, "host-raw")["values0"], predictor(DEPTH).depth(photo(), seed=seed).values
        )
    )


def texts(finished: Finished) -> str:
    return " ".join(finished.texts["depth"])


def test_weights_that_do_not_fit_go_layer_by_layer_and_whole_again_next_time(gpu: Server) -> None:
    finished = gpu.client.run(full(gpu, "weights", seed=1))
    found = memory(finished)
    assert f"{DEPTH} does not fit the GPU's memory as a whole" in texts(finished)
    assert exact(gpu, 1)
    assert found["states"] == [["auto", True]]
    assert "LotusModel" not in found["held"]  # ComfyUI counts nothing that is not there
    again = predicting(gpu, seed=2)
    again["memory"] = probe(after=["depth", 0])
    found = memory(gpu.client.run(again))
    assert exact(gpu, 2)
    assert found["states"] == [["auto", False]]
    assert found["held"]["LotusModel"] > SIZE


def test_other_models_make_room_before_anything_is_done_in_smaller_pieces(gpu: Server) -> None:
    graph = full(gpu, "network", seed=3)
    graph["other"] = {"class_type": "ProbeOther", "inputs": {}}
    graph["full"]["inputs"]["and_after"] = ["other", 0]
    finished = gpu.client.run(graph)
    found = memory(finished)
    assert "ComfyUI unloaded the other models" in texts(finished)
    assert exact(gpu, 3)
    assert found["states"] == [["auto", False]]
    assert set(found["held"]) == {"LotusModel"}


def test_smaller_pieces_where_nothing_else_can_go_and_full_speed_next_time(gpu: Server) -> None:
    finished = gpu.client.run(full(gpu, "network", seed=4))
    found = memory(finished)
    assert "repeated in smaller pieces" in texts(finished)
    assert np.allclose(
        graphs.saved(gpu.base, "host-raw")["values0"], predictor(DEPTH).depth(photo(), seed=4).values, atol=2e-5
    )
    assert found["states"] == [["least", False]]  # the probe's device is a CPU after all, which offloads nothing
    again = predicting(gpu, seed=5)
    again["memory"] = probe(after=["depth", 0])
    assert memory(gpu.client.run(again))["states"] == [["auto", False]]
    assert exact(gpu, 5)
