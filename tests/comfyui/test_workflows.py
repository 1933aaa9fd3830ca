"""The example workflows, as ComfyUI serves them and as its front end sends them."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import trimesh
from PIL import Image

from . import graphs, workflows
from .server.running import Server

THIRD_PARTY = {
    "New picture with ControlNet": (
        "checkpoints/v1-5-pruned-emaonly-fp16.safetensors",
        "controlnet/control_v11f1p_sd15_depth_fp16.safetensors",
        "controlnet/control_v11p_sd15_normalbae_fp16.safetensors",
    )
}
PHOTO_SIZE = (600, 400)
SMALL = 150_000  # bytes


@pytest.fixture(scope="module")
def object_info(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get("/object_info")
    return found


def test_the_templates_browser_gets_them(server: Server) -> None:
    assert sorted(server.client.get("/workflow_templates")["lotus"]) == workflows.NAMES
    assert len(workflows.NAMES) == 5
    for name in workflows.NAMES:
        place = f"/api/workflow_templates/lotus/{quote(name)}"
        assert server.client.get(f"{place}.json") == workflows.workflow(name)
        content = server.client.get_bytes(f"{place}.jpg")
        assert len(content) < SMALL
        with Image.open(io.BytesIO(content)) as thumbnail:
            assert thumbnail.format == "JPEG"
            assert min(thumbnail.size) >= 256
            assert np.asarray(thumbnail.convert("L")).std() > 20, "an empty picture"


@pytest.mark.parametrize("name", workflows.NAMES)
def test_the_recorded_prompt_is_of_this_workflow(name: str, object_info: dict[str, Any]) -> None:
    """After a change of a workflow or of a node's inputs: python -m tests.browser.pictures."""
    recorded = workflows.known_inputs(workflows.recorded(name), object_info)
    assert workflows.to_prompt(workflows.workflow(name), object_info) == recorded


@pytest.mark.parametrize("name", workflows.NAMES)
def test_nodes_do_not_overlap(name: str) -> None:
    title = 30  # LiteGraph's title bar lies above a node's position
    boxes = [
        (n["pos"][0], n["pos"][1] - title, n["pos"][0] + n["size"][0], n["pos"][1] + n["size"][1], n["type"])
        for n in workflows.workflow(name)["nodes"]
    ]
    for number, a in enumerate(boxes):
        for b in boxes[number + 1 :]:
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert apart, f"{a[4]} and {b[4]}"


def test_three_maps(server: Server) -> None:
    prompt = workflows.recorded("Photo to three maps")
    finished = graphs.must_succeed(server.client.run(prompt))
    for number in workflows.of_kind(prompt, "PreviewImage"):
        with Image.open(io.BytesIO(server.client.view(finished.outputs[number]["images"][0]))) as picture:
            assert picture.size == PHOTO_SIZE
            assert np.asarray(picture).std() > 10
    (save,) = workflows.of_kind(prompt, "LotusSaveMaps")
    saved = finished.outputs[save]["lotus_maps"]
    assert [entry["map"] for entry in saved] == ["depth", "normal", "uncertainty"]
    for entry in saved:
        path = server.base / "output" / entry["subfolder"] / entry["filename"]
        assert path.read_bytes()[24] == 16, "bits a channel, of the PNG header"


def test_textured_mesh(server: Server) -> None:
    prompt = workflows.recorded("Photo to textured 3D mesh")
    finished = graphs.must_succeed(server.client.run(prompt))
    (save,), (view,) = workflows.of_kind(prompt, "SaveGLB"), workflows.of_kind(prompt, "Preview3D")
    mesh = _glb(server.client.view(finished.outputs[save]["3d"][0]))
    assert len(mesh.faces) > 100_000
    assert mesh.visual.material.baseColorTexture.size == PHOTO_SIZE
    name, camera, *_ = finished.outputs[view]["result"]
    assert (server.base / "output" / name).is_file()
    assert camera["position"] == {"x": 0.0, "y": 0.0, "z": 0.0}, "where the photo was taken from"
    assert mesh.vertices[:, 2].max() < 0, "in front of it"
    towards_camera = (mesh.face_normals * -mesh.triangles_center).sum(axis=1) > 0
    assert towards_camera.mean() > 0.95, "seen from the front"


def test_uncertain_parts_are_left_out(server: Server) -> None:
    prompt = workflows.recorded("Mesh without uncertain parts")
    (node,) = workflows.of_kind(prompt, "LotusMesh")
    prompt |= {"all": {"class_type": "LotusMesh", "inputs": dict(prompt[node]["inputs"])}}
    del prompt["all"]["inputs"]["mask"]
    for name in (node, "all"):
        save = {"mesh": [name, 1], "filename_prefix": f"uncertain/{name}"}
        prompt[f"save {name}"] = {"class_type": "SaveGLB", "inputs": save}
    (uncertain,) = workflows.of_kind(prompt, "LotusUncertainty")
    prompt["mask"] = graphs.save(uncertain, 1, "uncertain")
    finished = graphs.must_succeed(server.client.run(prompt))
    kept, whole = (
        _covered(_glb(server.client.view(finished.outputs[f"save {name}"]["3d"][0]))) for name in (node, "all")
    )
    left_out = graphs.saved(server.base, "uncertain")["tensor"].mean()
    assert 0.02 < left_out < 0.5
    assert abs((whole - kept) / whole - left_out) < 0.05


def test_video_has_one_range(server: Server) -> None:
    prompt = workflows.recorded("Video depth with one range")
    (depth,), (save,) = workflows.of_kind(prompt, "LotusDepth"), workflows.of_kind(prompt, "SaveVideo")
    finished = graphs.must_succeed(server.client.run(prompt | {"frames": graphs.save(depth, 0, "frames")}))
    entry = finished.outputs[save]["images"][0]
    assert (server.base / "output" / entry["subfolder"] / entry["filename"]).stat().st_size > 5_000
    frames = graphs.saved(server.base, "frames")["tensor"][..., 0]
    assert frames.shape == (12, 320, 480)
    assert frames.min() == 0
    assert frames.max() == 1
    # 2 % of the whole clip are clipped at either end, not 2 % of each frame.
    clipped = np.stack([(frames == 0).mean(axis=(1, 2)), (frames == 1).mean(axis=(1, 2))])
    assert np.allclose(clipped.mean(axis=1), 0.02, atol=0.002)
    assert np.ptp(clipped, axis=1).max() > 0.005
    assert np.abs(np.diff(frames.mean(axis=(1, 2)))).max() < 0.05, "no flicker"


def test_controlnet(server: Server) -> None:
    """Accepted where the third-party files are there; its control images have the range and colours they need."""
    name = "New picture with ControlNet"
    prompt = workflows.recorded(name)
    files = [server.base / "models" / file for file in THIRD_PARTY[name]]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    try:
        answer = server.client.post("/prompt", {"prompt": prompt})
        assert answer["node_errors"] == {}
        server.client.post("/interrupt", {})
    finally:
        for file in files:
            file.unlink()
    names = {node["class_type"]: node["inputs"] for node in prompt.values()}
    assert names["LotusDepth"]["near"] == "white"
    assert names["LotusNormal"]["convention"] == "lotus"
    previews = workflows.of_kind(prompt, "PreviewImage")
    finished = graphs.must_succeed(server.client.run(workflows.upstream(prompt, *previews)))
    pictures = {}
    for number in previews:
        with Image.open(io.BytesIO(server.client.view(finished.outputs[number]["images"][0]))) as picture:
            pictures[prompt[number]["_meta"]["title"].split()[0]] = np.asarray(picture.convert("RGB"))
    assert pictures["Depth"].min() == 0
    assert pictures["Depth"].max() == 255
    assert pictures["Normals"][..., 2].mean() > 128, "blue faces the camera"


def test_files_of_other_makers_can_be_fetched() -> None:
    """Each names the address that ComfyUI offers to download a missing file from."""
    for name, files in THIRD_PARTY.items():
        offered = [m for n in workflows.workflow(name)["nodes"] for m in n["properties"].get("models", [])]
        assert {f"{model['directory']}/{model['name']}" for model in offered} == set(files)
        for model in offered:
            assert model["url"].startswith("https://huggingface.co/")
            assert model["url"].endswith("/" + model["name"])


def _glb(content: bytes) -> Any:
    return trimesh.load(io.BytesIO(content), file_type="glb", force="mesh")


def _covered(mesh: Any) -> float:
    """How much of the picture a mesh covers: its area on the plane one unit before the camera."""
    x, y, z = np.moveaxis(mesh.triangles, -1, 0)
    flat = np.stack([x / -z, y / -z], -1)
    a, b = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    return float(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / 2)
