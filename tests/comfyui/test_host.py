"""What ComfyUI's own options and memory management ask of the nodes: one server with many of them.

Its device is one that ComfyUI takes for a GPU, in the state that --novram sets (see packs/probe).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from . import graphs
from .graphs import DEPTH, NORMAL
from .server.client import Finished
from .server.running import Server, running_server
from .test_predictions import photo, predictor, put
from .test_trouble import WEIGHTS, choices


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("host")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for place in ("unets/lotus/of a subfolder.safetensors", "geometry/copy.safetensors"):
        (elsewhere / place).parent.mkdir(parents=True)
        shutil.copyfile(WEIGHTS / f"{DEPTH}.safetensors", elsewhere / place)
    paths = base / "paths.yaml"
    paths.write_text(
        f"another_program:\n  base_path: {elsewhere}\n  diffusion_models: unets\n  geometry_estimation: geometry\n"
    )
    options = ("--fp16-intermediates", "--extra-model-paths-config", str(paths))
    with running_server(base, *options, environment={"PROBE_DEVICE": "novram"}) as server:
        yield server


def predicting(server: Server, model: str = DEPTH, **inputs: Any) -> dict[str, Any]:
    return {
        "load": graphs.load(model),
        "photo": graphs.image(put(server, "host", photo()[None])),
        "depth": graphs.depth("load", "photo", **inputs),
        "save": graphs.save("depth", 0, "host-image"),
        "raw": graphs.save("depth", 2, "host-raw"),
    }


def memory(finished: Finished) -> dict[str, Any]:
    """What ProbeModels found, the node "memory" of a graph. ComfyUI forgets what a later graph has no use for."""
    found = json.loads(graphs.must_succeed(finished).outputs["memory"]["models"][0])
    assert isinstance(found, dict)
    return found


def probe(**after: list[Any]) -> dict[str, Any]:
    return {"class_type": "ProbeModels", "inputs": after}


def test_images_are_halves_where_comfyui_wants_it_and_raw_maps_stay_exact(host: Server) -> None:
    finished = graphs.must_succeed(host.client.run(predicting(host, seed=1)))
    exact = predictor(DEPTH).depth(photo(), seed=1).values
    assert json.loads(finished.outputs["save"]["probe"][0])["dtype"] == "torch.float16"
    assert np.array_equal(graphs.saved(host.base, "host-image")["tensor"][0, ..., 0], exact.astype(np.float16))
    assert np.array_equal(graphs.saved(host.base, "host-raw")["values0"], exact)


@pytest.mark.parametrize("name", ["diffusion_models/lotus/of a subfolder", "geometry_estimation/copy"])
def test_extra_model_paths_and_their_subfolders_are_listed(host: Server, name: str) -> None:
    assert f"{name}.safetensors" in choices(host)
    graphs.must_succeed(host.client.run(predicting(host, f"{name}.safetensors", seed=2)))
    expected = predictor(DEPTH).depth(photo(), seed=2).values
    assert np.array_equal(graphs.saved(host.base, "host-raw")["values0"], expected)


def test_nodes_of_one_graph_encode_an_image_once(host: Server) -> None:
    graph = {
        "depth model": graphs.load(DEPTH),
        "normal model": graphs.load(NORMAL),
        "photo": graphs.image(put(host, "host", photo()[None])),
        "depth": graphs.depth("depth model", "photo"),
        "normal": graphs.normal("normal model", "photo"),
        "uncertainty": graphs.uncertainty("depth model", "photo", samples=2),
        "memory": probe(after=["depth", 0], and_after=["normal", 0], also_after=["uncertainty", 0]),
    }
    found = memory(host.client.run(graph))
    assert (found["lotus_models"], found["encodings"]) == (2, 1)


def test_other_packs_models_stay_and_ours_goes_when_comfyui_unloads(host: Server) -> None:
    graph = predicting(host, seed=4)
    graph["other"] = {"class_type": "ProbeOther", "inputs": {}}
    graph["memory"] = probe(after=["other", 0], and_after=["depth", 0])
    found = memory(host.client.run(graph))
    assert {"OtherModel", "LotusModel"} <= found["held"].keys()
    assert found["encodings"] == 1
    host.client.post("/free", {"unload_models": True, "free_memory": True})
    alone = {"photo": graph["photo"], "memory": probe(after=["photo", 0])}
    for _ in range(20):  # the queue's worker does it when it wakes up next, which a busy machine may put off
        time.sleep(1)
        found = memory(host.client.run(alone))
        if not found["held"]:
            break
    assert found == {"held": {}, "lotus_models": 0, "encodings": 0, "states": []}
    graphs.must_succeed(host.client.run(predicting(host, seed=4)))


def test_weights_that_stay_on_the_cpu_give_the_same_map(host: Server) -> None:
    graph = predicting(host, seed=5)
    graph["offload"] = {"class_type": "ProbeOffload", "inputs": {"model": ["load", 0]}}
    graph["depth"]["inputs"]["model"] = ["offload", 0]
    for _ in range(2):  # and again after ComfyUI unloaded everything
        graphs.must_succeed(host.client.run(graph))
        exact = predictor(DEPTH).depth(photo(), seed=5).values
        assert np.array_equal(graphs.saved(host.base, "host-raw")["values0"], exact)
        host.client.post("/free", {"unload_models": True})
        time.sleep(1)
        graph["depth"]["inputs"]["shared_noise"] = False  # so that it is not cached; a single frame sees the same


def test_memory_that_runs_out_is_met_with_fewer_samples_at_once_and_said(host: Server) -> None:
    """A real limit: the process may grow by 900 MB, and 32 samples in one pass need 2.4 GB, so that what
    earlier tests left to the server's allocator does not do."""
    large = np.tile(photo(), (6, 6, 1))[:512, :768]
    graph = {
        "load": graphs.load(),
        "photo": graphs.image(put(host, "large", np.ascontiguousarray(large)[None])),
        "limit": {"class_type": "ProbeLimit", "inputs": {"after": ["photo", 0], "more": 900_000_000}},
        "map": graphs.uncertainty("load", "limit", samples=32, chunk_size=32, resolution=512),
        "save": graphs.save("map", 0, "limited"),
    }
    try:
        finished = host.client.run(graph)
    finally:
        lifted = {"photo": graph["photo"], "limit": {**graph["limit"], "inputs": {"after": ["photo", 0], "more": 0}}}
        host.client.run(lifted)
    graphs.must_succeed(finished)
    assert any("Memory ran out" in text and "samples at once" in text for text in finished.texts["map"]), finished.texts
