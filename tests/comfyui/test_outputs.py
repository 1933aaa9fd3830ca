"""Maps, meshes and files that leave the graph."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import numpy as np
import OpenEXR
import pytest
import trimesh
from PIL import Image

import lotus_core as lotus
from lotus_core.checkpoints import save_model
from lotus_core.maps.png import read_png

from . import graphs
from .graphs import DEPTH, NORMAL
from .server.running import Server
from .test_predictions import photo, predictor, put


def saver(images: str, prefix: str, kind: str, depth: str, space: str) -> dict[str, object]:
    inputs = {"images": [images, 0], "filename_prefix": prefix, "format": kind}
    return {
        "class_type": "SaveImageAdvanced",
        "inputs": {**inputs, "format.bit_depth": depth, "format.input_color_space": space},
    }


def test_a_ramp_survives_to_16_bit_png_and_exr_without_banding(server: Server) -> None:
    """The core's own saver on our IMAGE: 8-bit banding is what users complained about most."""
    down = np.linspace(0, 1, 768, dtype=np.float32)[:, None, None]
    ramp = np.broadcast_to(down, (768, 1024, 3)) * np.linspace(0.6, 1, 1024, dtype=np.float32)[:, None]
    graph = {
        "load": graphs.load(),
        "ramp": graphs.image(put(server, "ramp", np.ascontiguousarray(ramp)[None])),
        "depth": graphs.depth("load", "ramp", range="per image"),
        "probe": graphs.save("depth", 0, "ramp-depth"),
        "png": saver("depth", "ramp", "png", "16-bit", "sRGB"),
        "exr": saver("depth", "ramp", "exr", "32-bit float", "linear"),
    }
    finished = graphs.must_succeed(server.client.run(graph))
    exact = graphs.saved(server.base, "ramp-depth")["tensor"][0]
    files = {kind: server.client.view(finished.outputs[kind]["images"][0]) for kind in ("png", "exr")}
    for kind, content in files.items():
        (server.base / f"ramp.{kind}").write_bytes(content)
    pixels, _ = read_png(server.base / "ramp.png")
    assert pixels.dtype == np.uint16
    assert len(np.unique(pixels[..., 0])) >= 10_000
    assert np.abs(pixels / 65535 - exact).max() <= 1 / 65535
    with OpenEXR.File(str(server.base / "ramp.exr"), separate_channels=True) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    assert np.array_equal(channels["R"], exact[..., 0])
    assert len(np.unique(channels["R"])) >= 10_000


def test_saved_maps_say_what_they_are_and_lose_nothing(server: Server) -> None:
    graph = {
        "depth model": graphs.load(DEPTH),
        "normal model": graphs.load(NORMAL),
        "photo": graphs.image(put(server, "maps", photo()[None]), copies=2),
        "depth": graphs.depth("depth model", "photo"),
        "normal": graphs.normal("normal model", "photo"),
        "uncertainty": graphs.uncertainty("depth model", "photo"),
        "save": {
            "class_type": "LotusSaveMaps",
            "inputs": {
                "depth": ["depth", 2],
                "normal": ["normal", 2],
                "uncertainty": ["uncertainty", 3],
                "filename_prefix": "lotus/test",
                "format": "npy",
                "convention": "opengl",
                "folder": "temp",
            },
        },
    }
    finished = graphs.must_succeed(server.client.run(graph))
    entries = finished.outputs["save"]["lotus_maps"]
    assert [entry["map"] for entry in entries] == ["depth"] * 2 + ["normal"] * 2 + ["uncertainty"] * 2
    assert len({entry["filename"] for entry in entries}) == 6
    for entry in entries:
        words = {**entry, "filename": entry["filename"] + ".json"}
        for part in (entry, words):
            file = {key: part[key] for key in ("filename", "subfolder", "type")}
            (server.base / part["filename"]).write_bytes(server.client.view(file))
    depth = lotus.Depth.load(server.base / entries[1]["filename"])
    assert depth.space == entries[1]["space"] == "disparity"
    assert np.array_equal(depth.values, predictor(DEPTH).depth(photo(), seed=0).values)
    normals = lotus.Normals.load(server.base / entries[3]["filename"])
    assert normals.convention == entries[3]["convention"] == "opengl"
    assert np.array_equal(normals.values, predictor(NORMAL).normal(photo(), seed=0).to("opengl").values)
    assert lotus.Uncertainty.load(server.base / entries[5]["filename"]).unit == "depth"


def saving(depth: list[Any], name: str, **inputs: Any) -> dict[str, Any]:
    given = {"filename_prefix": f"lotus/{name}", "format": "png", "convention": "lotus", "folder": "output", **inputs}
    return {"class_type": "LotusSaveMaps", "inputs": {"depth": depth, **given}}


def test_near_is_white_whatever_the_model_predicts_where_that_is_asked(server: Server) -> None:
    model = lotus.load_model(DEPTH, "cpu")
    model.info = dataclasses.replace(model.info, space="depth")
    folder = server.base / "models" / "diffusion_models"
    folder.mkdir(exist_ok=True)
    save_model(model, folder / "far.safetensors")
    exact = lotus.LotusPredictor(lotus.load_model(folder / "far.safetensors", "cpu", fold=True)).depth(photo(), seed=0)
    for near, space, said in (
        ("as predicted", "depth", "near is 0, black"),
        ("white", "disparity", "near is 1, white"),
        ("black", "depth", "near is 0, black"),
    ):
        graph = {
            "load": graphs.load("diffusion_models/far.safetensors"),
            "photo": graphs.image(put(server, "maps", photo()[None])),
            "depth": graphs.depth("load", "photo"),
            "save": saving(["depth", 2], f"near {near}", near=near),
        }
        finished = graphs.must_succeed(server.client.run(graph))
        (entry,) = finished.outputs["save"]["lotus_maps"]
        path = server.base / "output" / entry["subfolder"] / entry["filename"]
        found = lotus.Depth.load(path)
        assert found.space == entry["space"] == space
        assert finished.texts["save"] == [f"output/lotus/{entry['filename']} ({space}: {said})"]
        assert np.abs(found.values - exact.to_space(space).values).max() <= 1 / 65535


def test_a_saved_png_is_shown_and_brings_its_graph_back(server: Server) -> None:
    graph = {
        "load": graphs.load(DEPTH),
        "photo": graphs.image(put(server, "maps", photo()[None])),
        "depth": graphs.depth("load", "photo"),
        "save": saving(["depth", 2], "graph"),
    }
    finished = graphs.must_succeed(server.client.run(graph, png_words={"workflow": {"nodes": ["é"]}}))
    (entry,) = finished.outputs["save"]["images"]
    with Image.open(io.BytesIO(server.client.view(entry))) as picture:
        assert picture.mode.startswith("I")  # 16 bits
        prompt = json.loads(picture.text["prompt"])  # type: ignore[attr-defined]
        assert {name: node["inputs"] for name, node in prompt.items()} == {
            n: node["inputs"] for n, node in graph.items()
        }
        assert json.loads(picture.text["workflow"]) == {"nodes": ["é"]}  # type: ignore[attr-defined]


def test_mesh_for_the_3d_nodes(server: Server) -> None:
    """The MESH that the core saves and our GLB are the same surface, textured by the photo, seen from its camera."""
    graph = {
        "depth model": graphs.load(DEPTH),
        "normal model": graphs.load(NORMAL),
        "photo": graphs.image(put(server, "mesh", photo()[None])),
        "depth": graphs.depth("depth model", "photo"),
        "normal": graphs.normal("normal model", "photo"),
        "mesh": graphs.mesh("depth", "photo", normal=["normal", 2], target_faces=0),
        "probe": graphs.save("mesh", 0, "mesh"),
        "glb": {"class_type": "SaveGLB", "inputs": {"mesh": ["mesh", 1], "filename_prefix": "ours"}},
        "core": {"class_type": "SaveGLB", "inputs": {"mesh": ["mesh", 0], "filename_prefix": "core"}},
        "preview": {"class_type": "Preview3D", "inputs": {"model_file": ["mesh", 1], "camera_info": ["mesh", 2]}},
    }
    finished = graphs.must_succeed(server.client.run(graph))
    found = graphs.saved(server.base, "mesh")
    assert found["vertices"].shape[0] == found["faces"].shape[0] == 1
    assert np.array_equal(found["texture"][0], np.rint(photo() * 255).astype(np.float32) / 255)
    # The texture under a vertex is the pixel that it is seen at: glTF's v points down, the camera looks along −z.
    camera = finished.outputs["preview"]["result"][1]
    assert camera["position"] == {"x": 0.0, "y": 0.0, "z": 0.0}
    x, y, z = found["vertices"][0].T
    scale = 1 / np.tan(np.radians(camera["fov"]) / 2)
    assert np.allclose(0.5 - 0.5 * scale * y / -z, found["uvs"][0, :, 1], atol=1e-4)
    assert np.allclose(0.5 + 0.5 * scale * (96 / 144) * x / -z, found["uvs"][0, :, 0], atol=1e-4)
    surfaces = {}
    for name in ("glb", "core"):
        content = server.client.view(finished.outputs[name]["3d"][0])
        surfaces[name] = trimesh.load(io.BytesIO(content), file_type="glb", force="mesh")
    assert len(surfaces["glb"].faces) == len(surfaces["core"].faces) == found["faces"].shape[1] > 10_000
    assert np.allclose(surfaces["glb"].bounds, surfaces["core"].bounds, atol=1e-5)
    assert (server.base / "output" / finished.outputs["preview"]["result"][0]).is_file()


def test_mask_leaves_out_what_is_black(server: Server) -> None:
    right = np.zeros((1, 96, 144), np.float32)
    right[:, :, 72:] = 1
    graph = {
        "load": graphs.load(),
        "photo": graphs.image(put(server, "mesh", photo()[None])),
        "mask": graphs.mask(put(server, "right", right)),
        "depth": graphs.depth("load", "photo"),
        "mesh": graphs.mesh("depth", "photo", mask=["mask", 0]),
        "probe": graphs.save("mesh", 0, "masked"),
    }
    graphs.must_succeed(server.client.run(graph))
    assert graphs.saved(server.base, "masked")["vertices"][0, :, 0].min() >= 0


def test_a_small_island_is_kept_where_that_is_asked(server: Server) -> None:
    island = np.zeros((1, 96, 144), np.float32)
    island[:, 40:46, 60:66] = 1
    graph = {
        "load": graphs.load(),
        "photo": graphs.image(put(server, "mesh", photo()[None])),
        "mask": graphs.mask(put(server, "island", island)),
        "depth": graphs.depth("load", "photo"),
        "mesh": graphs.mesh("depth", "photo", mask=["mask", 0], cut=10.0),
        "probe": graphs.save("mesh", 0, "island"),
    }
    refused = server.client.run(graph)
    assert "fewer than 64 faces; lower that minimum" in refused.error["exception_message"]
    graph["mesh"]["inputs"]["min_faces"] = 1
    graphs.must_succeed(server.client.run(graph))
    assert graphs.saved(server.base, "island")["faces"].shape == (1, 2 * 5 * 5, 3)


def test_a_relief_for_printing_is_closed(server: Server) -> None:
    graph = {
        "load": graphs.load(),
        "photo": graphs.image(put(server, "mesh", photo()[None])),
        "depth": graphs.depth("load", "photo"),
        "mesh": graphs.mesh("depth", "photo", mode="relief", base=3.0, relief_height=8.0),
        "glb": {"class_type": "SaveGLB", "inputs": {"mesh": ["mesh", 1], "filename_prefix": "relief"}},
        "preview": {"class_type": "Preview3D", "inputs": {"model_file": ["mesh", 1], "camera_info": ["mesh", 2]}},
    }
    finished = graphs.must_succeed(server.client.run(graph))
    content = server.client.view(finished.outputs["glb"]["3d"][0])
    solid = trimesh.load(io.BytesIO(content), file_type="glb", force="mesh")
    solid.merge_vertices(merge_tex=True, merge_norm=True)
    assert solid.is_watertight
    assert np.isclose(np.ptp(solid.vertices[:, 0]), 100, atol=1)
    assert np.ptp(solid.vertices[:, 2]) == pytest.approx(11, abs=1e-3)
    # The camera stands in front, looks at the middle and sees all of it, not too small, in a square view.
    camera = finished.outputs["preview"]["result"][1]
    position, target = (np.array([camera[name][axis] for axis in "xyz"]) for name in ("position", "target"))
    assert np.allclose(target, solid.bounds.mean(axis=0), atol=1e-3)
    assert np.allclose(position[:2], target[:2])
    assert position[2] > solid.bounds[1, 2] + 10
    offset = np.abs(solid.vertices - position)
    seen = offset[:, :2] / offset[:, 2:] / np.tan(np.radians(camera["fov"]) / 2)
    assert 0.6 < seen.max() < 0.95
