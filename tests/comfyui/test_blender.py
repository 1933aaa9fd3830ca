"""Blender's ComfyUI backend on the real server: Blender asks, the server predicts, the maps come back as floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lotus_core as lotus
from lotus_core.maps.storage import read_map

from ..blender.fresh import FreshBlender
from ..blender.scenes import checks
from .server.running import Server, running_server

ASK = """
import time
WORDS = ("space", "unit", "samples", "model")
url, photo, blend = arguments
jobs = part("jobs").jobs
chosen = preferences()
chosen.backend, chosen.comfyui_url = "COMFYUI", url
report = {"check": list(bpy.ops.lotus.check_backend()), "notes": jobs.notes, "models": jobs.known_models("normal")}
bpy.ops.wm.save_as_mainfile(filepath=blend)
bpy.ops.lotus.open_photo(filepath=photo)
lotus = bpy.context.scene.lotus
lotus.quality, lotus.resolution, lotus.seed = "CUSTOM", 64, 7
lotus.use_uncertainty, lotus.samples = True, 3
report["predicted"] = list(bpy.ops.lotus.predict())
report["mesh"] = list(bpy.ops.lotus.scene_mesh())
report["maps"] = {
    kind: [bpy.path.abspath(image.filepath), *(getattr(image.lotus, word) for word in WORDS)]
    for kind in ("depth", "normal", "uncertainty") if (image := getattr(lotus.image.lotus, kind))
}

# Cancelled in mid-job.
lotus.use_depth = lotus.use_normal = False
lotus.samples, lotus.resolution = 64, 384
jobs.begin(part("prediction").PredictionRun(lotus.image, lotus, jobs.backend()))
end = time.monotonic() + 60
while jobs.step() and (jobs.run.fraction or 0) < 0.06 and time.monotonic() < end:
    time.sleep(0.02)
report["text"], start = jobs.run.text, time.monotonic()
jobs.cancel()
while jobs.step():
    time.sleep(0.02)
report["cancelled after"], report["message"] = time.monotonic() - start, jobs.message

# A model that the server lacks.
lotus.depth_model, lotus.samples, lotus.resolution = "lotus-enormous", 2, 64
try:
    bpy.ops.lotus.predict()
except RuntimeError as error:
    report["lacks"] = str(error)
report["torch"] = "torch" in sys.modules
answer(**report)
"""


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("Fotos é") / "été 世界.png"
    Image.fromarray(checks(48, 80)).save(path)
    return path


@pytest.fixture(scope="module")
def report(server: Server, fresh_blender: FreshBlender, photo: Path) -> dict[str, Any]:
    return fresh_blender.run(ASK, f"http://{server.client.address}", photo, photo.parent / "Szene 1.blend")


def test_maps_come_from_the_server_bit_by_bit(report: dict[str, Any], photo: Path) -> None:
    assert report["predicted"] == report["mesh"] == ["FINISHED"]
    path, space, _, _, model = report["maps"]["depth"]
    assert model == "lotus-tiny-depth-g"
    depth = lotus.LotusPredictor(lotus.load_model(model, device="cpu")).depth(str(photo), resolution=64, seed=7)
    assert space == depth.space
    np.testing.assert_allclose(read_map(path).values, depth.values, atol=1e-4)
    path, _, _, _, model = report["maps"]["normal"]
    normals = lotus.LotusPredictor(lotus.load_model(model, device="cpu")).normal(str(photo), resolution=64, seed=7)
    found = lotus.Normals.from_vectors(2 * read_map(path).values - 1, "opengl")
    assert found.angle_to(normals).max() < 0.05
    path, _, unit, samples, _ = report["maps"]["uncertainty"]
    assert (unit, samples) == ("depth", 3)
    assert 0 < read_map(path).values.max() < 1
    assert report["torch"] is False


def test_the_panel_hears_of_the_server_s_models(report: dict[str, Any]) -> None:
    assert report["check"] == ["FINISHED"]
    assert any("ComfyUI: version" in note for note in report["notes"])
    assert "lotus-tiny-normal-g" in report["models"]
    assert "no model 'lotus-enormous'" in report["lacks"]


def test_cancelling_stops_the_server_s_work_too(report: dict[str, Any], server: Server) -> None:
    assert report["text"] not in {"", "Starting", "Waiting in ComfyUI's queue"}
    assert report["cancelled after"] < 3  # 0.5 s on an idle machine
    assert report["message"] == ""
    queue = server.client.get("/queue")
    assert queue["queue_running"] == queue["queue_pending"] == []


def test_a_comfyui_without_our_nodes(fresh_blender: FreshBlender, photo: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    (nothing / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    with running_server(tmp_path / "comfyui", pack=nothing, packs=()) as other:
        answer = fresh_blender.run(
            "url, photo = arguments\n"
            "preferences().backend, preferences().comfyui_url = 'COMFYUI', url\n"
            "bpy.ops.lotus.open_photo(filepath=photo)\n"
            "try:\n"
            "    bpy.ops.lotus.predict()\n"
            "except RuntimeError:\n"
            "    answer(message=part('jobs').jobs.message, usable=bpy.ops.lotus.predict.poll())\n",
            f"http://{other.client.address}",
            photo,
        )
    assert "lacks the Lotus nodes (LoadLotus" in answer["message"]
    assert "install or update the node pack there and restart it" in answer["message"]
    assert answer["usable"]
