"""The worker process: what it answers, what it keeps, and that it ends with its parent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

import lotus_core as lotus
from lotus_core.maps.storage import read_map
from lotus_core.worker import PROTOCOL

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and fork are POSIX")


class Parent:
    """Starts a worker and speaks with it as a host does, but waits for its answers."""

    def __init__(self, log: Path) -> None:
        self.log = log
        with log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-u", "-m", "lotus_core.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
            )

    def send(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def next(self, *events: str, id: str | None = None) -> dict[str, Any]:
        """The next of these events (of this request), every line before it being a well-formed event too."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message: dict[str, Any] = json.loads(line)
            if message["event"] in events and id in (None, message.get("id")):
                return message
        raise AssertionError(f"the worker ended: {self.log.read_text()}")

    def predict(self, id: str, image: str | Path, folder: Path, *maps: str, **more: Any) -> dict[str, Any]:
        """Send a request and wait for its end."""
        self.send(do="predict", id=id, image=str(image), folder=str(folder), maps=maps, **more)
        return self.next("done", "failed", "cancelled", id=id)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parent]:
    parent = Parent(tmp_path_factory.mktemp("worker") / "log")
    try:
        assert parent.next("hello")["protocol"] == PROTOCOL
        info = parent.next("ready")
        assert {model["name"] for model in info["models"]} >= {"lotus-tiny-depth-g", "lotus-tiny-normal-g"}
        assert info["device"] in info["devices"]
        yield parent
        assert parent.process.poll() is None, "it must survive every request"
    finally:
        assert parent.process.stdin is not None
        parent.process.stdin.close()
        assert parent.process.wait(10) == 0


def test_maps_equal_those_of_the_library_and_models_stay_loaded(parent: Parent, photo: str, tmp_path: Path) -> None:
    options = {"res": 64, "seed": 5, "samples": 2, "device": "cpu"}
    folder = tmp_path / "Grüße, мир 世界"
    image = tmp_path / "Foto – 1 é.jpg"
    image.write_bytes(Path(photo).read_bytes())
    done = parent.predict("a", image, folder, "depth", "normal", "uncertainty", options=options)
    assert done["event"] == "done"
    assert {map_: Path(path) for map_, path in done["files"].items()} == {
        map_: folder / f"Foto – 1 é_{map_}.npy" for map_ in ("depth", "normal", "uncertainty")
    }
    predictor = lotus.LotusPredictor(lotus.load_model("lotus-tiny-depth-g", device="cpu"))
    depth = lotus.Depth.load(done["files"]["depth"])
    expected = predictor.depth(str(image), resolution=64, seed=5)
    assert depth.space == expected.space
    np.testing.assert_allclose(depth.values, expected.values, atol=1e-5)  # the worker may use more threads
    normals = lotus.Normals.load(done["files"]["normal"])
    assert normals.values.shape == (*depth.values.shape, 3)
    assert lotus.Uncertainty.load(done["files"]["uncertainty"]).samples == 2
    with Image.open(done["previews"]["depth"]) as preview:
        assert preview.size == depth.values.shape[::-1]
    record = json.loads(Path(done["record"]).read_text(encoding="utf-8"))
    assert record["maps"]["depth"]["model"] == "lotus-tiny-depth-g"
    assert record["seed"] == 5

    parent.send(do="predict", id="b", image=str(image), folder=str(folder), maps=["depth"], options=options)
    texts = []
    while (event := parent.next("progress", "done", id="b"))["event"] == "progress":
        texts.append(event["text"])
    assert texts
    assert not any("Loading" in text for text in texts)
    np.testing.assert_array_equal(lotus.Depth.load(event["files"]["depth"]).values, depth.values)


def test_progress_only_grows_and_ends_at_one(parent: Parent, photo: str, tmp_path: Path) -> None:
    parent.send(do="predict", id="p", image=photo, folder=str(tmp_path / "o"), maps=["depth", "uncertainty"])
    fractions = []
    while (event := parent.next("progress", "done", id="p"))["event"] == "progress":
        fractions.append(event["fraction"])
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert 0 <= fractions[0] < 0.5


def test_images_of_the_maps_where_a_host_wants_them(parent: Parent, photo: str, tmp_path: Path) -> None:
    options = {"res": 64, "samples": 2}
    done = parent.predict("t", photo, tmp_path / "o", "depth", "uncertainty", options=options, textures=".exr")
    assert done["event"] == "done"
    for map_, texture in done["textures"].items():
        assert Path(texture["file"]).suffix == ".exr"
        assert np.load(texture["thumbnail"]).dtype == np.uint8
        assert texture["meaning"]["kind"] == map_
    exr = read_map(done["textures"]["depth"]["file"]).values
    np.testing.assert_array_equal(exr, lotus.Depth.load(done["files"]["depth"]).values)
    refused = parent.predict("j", photo, tmp_path / "j", "depth", textures=".jpg")
    assert "end in .exr or .png" in refused["message"]


def test_pixels_as_an_array_give_what_the_picture_gives(parent: Parent, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.save(tmp_path / "b.npy", pixels.astype(np.float32) / 255)
    depths = []
    for name in ("a.png", "b.npy"):
        done = parent.predict(name, tmp_path / name, tmp_path / "out", "depth", options={"res": 64})
        depths.append(lotus.Depth.load(done["files"]["depth"]).values)
    np.testing.assert_allclose(depths[0], depths[1], atol=1e-6)


def test_bad_requests_are_one_sentence_and_the_worker_goes_on(parent: Parent, photo: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY nonsense")
    (tmp_path / "file").write_text("")
    attempts: list[tuple[str, dict[str, Any]]] = [
        ("There is no file", {"image": str(tmp_path / "gone.jpg")}),
        ("not a readable NPY", {"image": str(tmp_path / "bad.npy")}),
        ("There is no file", {"image": str(tmp_path / "gone.npy")}),
        ("There is no model", {"models": ["lotus-enormous"]}),
        ("Ask for one or more", {"maps": ["albedo"]}),
        ("Ask for one or more", {"maps": []}),
        ("lacks a field", {"folder": None}),
        ("unrecognized arguments", {"options": {"frobnicate": 1}}),
        ("not an option of a request", {"options": {"help": True}}),
        ("too small", {"options": {"samples": 1}}),
        ("Cannot write into", {"folder": str(tmp_path / "file" / "out")}),
        ("no request", {"do": "dance"}),
    ]
    for number, (expected, change) in enumerate(attempts):
        request = {"do": "predict", "image": photo, "folder": str(out), "maps": ["depth"], **change}
        parent.send(id=str(number), **request)
        failed = parent.next("done", "failed", id=str(number))
        assert failed["event"] == "failed", change
        assert expected in failed["message"]
        assert "\n" not in failed["message"]
    assert not out.exists()
    assert parent.process.stdin is not None
    parent.process.stdin.write(b"this is no JSON\n[1]\n")
    assert parent.predict("after", photo, out, "depth", options={"res": 64})["event"] == "done"


def test_cancelling_writes_nothing_and_keeps_the_models(parent: Parent, photo: str, tmp_path: Path) -> None:
    request = {"do": "predict", "image": photo, "folder": str(tmp_path / "out"), "maps": ["uncertainty"]}
    parent.send(id="long", options={"samples": 100_000, "res": 64}, **request)
    parent.next("progress", id="long")
    parent.send(do="cancel", id="long")
    assert parent.next("done", "failed", "cancelled", id="long")["event"] == "cancelled"
    assert not (tmp_path / "out").exists()
    parent.send(id="next", options={"samples": 2, "res": 64}, **request)
    first = parent.next("progress", "done", id="next")
    assert "Loading" not in first["text"]
    assert parent.next("done", "failed", id="next")["event"] == "done"


def test_a_photo_deleted_while_it_is_worked_on_still_gives_its_maps(parent: Parent, photo: str, tmp_path: Path) -> None:
    parent.send(do="predict", id="d", image=photo, folder=str(tmp_path / "out"), maps=["depth"])
    parent.next("progress", id="d")
    Path(photo).unlink()
    assert parent.next("done", "failed", id="d")["event"] == "done"


def test_a_file_of_weights_that_was_replaced_is_read_again(
    parent: Parent, checkpoints: dict[str, str], photo: str, tmp_path: Path
) -> None:
    model = tmp_path / "mine.safetensors"
    results = []
    for source in ("depth", "normal"):
        model.write_bytes(Path(checkpoints[source]).read_bytes())
        os.utime(model, ns=(0, len(results) + 1))
        results.append(parent.predict(source, photo, tmp_path / "out", source, models=[str(model)]))
    assert [result["event"] for result in results] == ["done", "done"]


def test_it_ends_in_mid_job_when_stdin_is_closed(photo: str, tmp_path: Path) -> None:
    parent = Parent(tmp_path / "log")
    out = tmp_path / "out"
    parent.send(do="predict", id="1", image=photo, folder=str(out), maps=["uncertainty"], options={"samples": 100_000})
    parent.next("progress", id="1")
    assert parent.process.stdin is not None
    parent.process.stdin.close()
    assert parent.process.wait(20) == 0
    assert not [path for path in out.rglob("*") if path.is_file()]  # a busy machine may leave it no time for the folder


@POSIX
def test_it_ends_with_its_parent_even_where_a_fork_holds_the_pipe(tmp_path: Path) -> None:
    """As when an add-on uses multiprocessing: the copy of Blender inherits the pipe and outlives Blender."""
    code = (
        "import os, subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'lotus_core.worker']\n"
        "worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
        "while b'ready' not in worker.stdout.readline(): pass\n"
        "copy = os.fork()\n"
        "if copy == 0:\n"
        "    time.sleep(120)\n"
        "    os._exit(0)\n"
        "print(worker.pid, copy, flush=True)\n"
        "time.sleep(120)\n"
    )
    host = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    worker, copy = (psutil.Process(int(pid)) for pid in host.stdout.readline().split())
    try:
        host.kill()
        host.wait()
        gone, _ = psutil.wait_procs([worker], timeout=20)
        assert gone
        assert copy.is_running()
    finally:
        copy.kill()
        if worker.is_running():
            worker.kill()


def test_what_libraries_print_stays_out_of_the_answers(tmp_path: Path) -> None:
    """Python's print and a C library's write to stdout both."""
    code = (
        "import os, sys\n"
        "from lotus_core.worker.channel import Channel\n"
        "channel = Channel()\n"
        "print('from Python')\n"
        "os.write(1, b'from C\\n')\n"
        "os.system('echo from a child')\n"
        "channel.send('hello', path='\\udce9 \\u4e16')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert [json.loads(line) for line in ran.stdout.splitlines()] == [{"event": "hello", "path": "\udce9 世"}]
    assert all(words in ran.stderr for words in (b"from Python", b"from C", b"from a child"))


def test_signs_of_life_come_while_it_works(parent: Parent, photo: str, tmp_path: Path) -> None:
    start = time.monotonic()
    parent.send(
        do="predict", id="l", image=photo, folder=str(tmp_path), maps=["uncertainty"], options={"samples": 100_000}
    )
    for _ in range(3):
        parent.next("alive")
    assert time.monotonic() - start >= 1.5
    parent.send(do="cancel", id="l")
    parent.next("cancelled", id="l")
