"""Other versions of ComfyUI than the one that all other tests run on.

LOTUS_TEST_COMFYUI adds folders of further ones, separated as in PATH: `git clone --depth 1 --branch v0.3.64
https://github.com/comfyanonymous/ComfyUI` makes the one of the oldest version that the pack supports, which is on no
package index. benchmarks/comfyui.md records what came out.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import trimesh

from . import graphs
from .graphs import DEPTH, NORMAL
from .server.install import OLDEST
from .server.running import running_server
from .test_predictions import photo, predictor, put

MORE = [folder for folder in os.environ.get("LOTUS_TEST_COMFYUI", "").split(os.pathsep) if folder]
NODES = ("LoadLotus", "LotusDepth", "LotusNormal", "LotusUncertainty", "LotusMesh", "LotusSaveMaps")


@pytest.mark.parametrize("version", [OLDEST, *MORE])
def test_all_nodes_run(tmp_path: Path, version: str) -> None:
    with running_server(tmp_path, version=version) as server:
        known = server.client.get("/object_info")
        assert set(NODES) <= known.keys()
        seed = known["LotusDepth"]["input"]["required"]["seed"][1]
        assert seed["control_after_generate"] in (True, "fixed")
        graph = {
            "depth model": graphs.load(DEPTH),
            "normal model": graphs.load(NORMAL),
            "photo": graphs.image(put(server, "photo", photo()[None])),
            "depth": graphs.depth("depth model", "photo", seed=3),
            "normal": graphs.normal("normal model", "photo", seed=3),
            "uncertainty": graphs.uncertainty("depth model", "photo", seed=3),
            "mesh": graphs.mesh("depth", "photo", normal=["normal", 2], uncertainty=["uncertainty", 3]),
            "preview": {"class_type": "Preview3D", "inputs": {"model_file": ["mesh", 1], "camera_info": ["mesh", 2]}},
            "core glb": {"class_type": "SaveGLB", "inputs": {"mesh": ["mesh", 0], "filename_prefix": "mesh"}},
            "maps": {
                "class_type": "LotusSaveMaps",
                "inputs": {
                    "depth": ["depth", 2], "filename_prefix": "maps", "format": "exr", "convention": "lotus",
                    "folder": "output",
                },
            },
            **{f"save {name}": graphs.save(name, 0, name) for name in ("depth", "normal", "uncertainty")},
        }  # fmt: skip
        finished = graphs.must_succeed(server.client.run(graph))
        found = {name: graphs.saved(server.base, name)["tensor"][0] for name in ("depth", "normal", "uncertainty")}
        depth = predictor(DEPTH).depth(photo(), seed=3)
        spread = predictor(DEPTH).uncertainty(photo(), seed=3, samples=4)
        assert np.array_equal(found["depth"][..., 0], depth.values)
        assert np.array_equal(found["normal"], 0.5 * predictor(NORMAL).normal(photo(), seed=3).values + 0.5)
        assert np.array_equal(found["uncertainty"][..., 0], spread.std)
        preview = (server.base / "output" / finished.outputs["preview"]["result"][0]).read_bytes()
        core = server.client.view(finished.outputs["core glb"]["3d"][0])
        faces = [len(trimesh.load(io.BytesIO(glb), file_type="glb", force="mesh").faces) for glb in (preview, core)]
        assert faces[0] == faces[1] > 10_000
        assert server.client.view(finished.outputs["maps"]["lotus_maps"][0])
