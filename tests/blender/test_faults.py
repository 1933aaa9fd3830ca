"""Whatever goes wrong outside Blender is one sentence in a panel that stays usable."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from .driving import begin, drive, fails, files_in, is_ready, is_usable, long_job, preferences, settings, working
from .scenes import MODULE, add_photo, checks, part
from .test_predict import photo_file, save_blend

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals, limits and shell scripts are POSIX")


@pytest.fixture
def photo(bpy: Any) -> Any:
    settings(bpy)
    return add_photo(bpy, checks(40, 60))


def python_that(place: Path, script: str) -> str:
    """A program to choose as Python: a shell script, in a folder whose name is hard on programs."""
    path = place / "mein pythön $HOME" / "python"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def worker() -> psutil.Process:
    return psutil.Process(part("jobs").jobs.backend().pid)


@POSIX
def test_a_worker_killed_in_mid_job(bpy: Any, photo: Any) -> None:
    long_job(bpy)
    begin(bpy)
    drive(working)
    worker().kill()
    drive()
    assert "was killed, most likely because memory ran out" in part("jobs").jobs.message
    is_usable(bpy)


@POSIX
def test_a_worker_that_stops_answering(bpy: Any, photo: Any) -> None:
    long_job(bpy)
    begin(bpy)
    drive(working)
    stuck = worker()
    part("jobs").jobs.backend()._silence_limit = 2.0
    stuck.suspend()
    start = time.monotonic()
    drive()
    assert 1.5 < time.monotonic() - start < 30
    assert "has not answered for 2 s" in part("jobs").jobs.message
    assert psutil.wait_procs([stuck], timeout=10)[1] == []
    is_ready(bpy)


@POSIX
def test_a_program_that_never_says_anything(bpy: Any, photo: Any, tmp_path: Path) -> None:
    preferences(bpy).python = python_that(tmp_path, "exec sleep 600")
    part("jobs").jobs.backend()._silence_limit = 1.0
    assert "has not answered for 1 s" in fails(bpy)
    preferences(bpy).python = sys.executable
    is_ready(bpy)


def test_cancelling_while_the_worker_starts(bpy: Any, photo: Any) -> None:
    bpy.ops.lotus.stop_worker()
    begin(bpy)
    bpy.ops.lotus.cancel()
    drive()
    assert part("jobs").jobs.message == ""
    is_usable(bpy)


@POSIX
def test_a_python_path_that_leads_nowhere(bpy: Any, photo: Any, tmp_path: Path) -> None:
    (tmp_path / "empty folder").mkdir()
    (tmp_path / "text").write_text("no program")
    for path, expected in (
        (tmp_path / "nothing", "There is no Python at"),
        (tmp_path / "empty folder", "is no Python environment"),
        (tmp_path / "text", "cannot be started"),
        (Path("/bin/echo"), "is not a worker"),
        (Path("/bin/false"), "ended while starting"),
    ):
        preferences(bpy).python = str(path)
        assert expected in fails(bpy), path


@POSIX
def test_an_environment_without_torch(bpy: Any, photo: Any, tmp_path: Path) -> None:
    place = tmp_path / "leere Umgebung ä"
    venv.create(place, symlinks=True)
    preferences(bpy).python = str(place)
    assert "has no lotus-geometry: create an environment in the preferences" in fails(bpy)
    core = Path(importlib.import_module("lotus_core").__file__ or "").parents[1]
    next(place.glob("lib/python*/site-packages")).joinpath("core.pth").write_text(f"{core}\n")
    message = fails(bpy)
    assert "has no working" in message
    assert "repair it or choose another" in message


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of another process")
def test_memory_that_runs_out(bpy: Any, photo: Any) -> None:
    import resource

    assert bpy.ops.lotus.predict() == {"FINISHED"}  # loads the model
    process = worker()
    before = process.rlimit(psutil.RLIMIT_AS)
    process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms + (8 << 20), resource.RLIM_INFINITY))
    settings(bpy, resolution=3000)
    assert "memory" in fails(bpy).lower()
    process.rlimit(psutil.RLIMIT_AS, before)
    settings(bpy)
    assert bpy.ops.lotus.predict() == {"FINISHED"}
    assert worker().pid == process.pid


@POSIX
def test_a_disk_that_is_full(bpy: Any, photo: Any, tmp_path: Path) -> None:
    """A limit on the size of files refuses writes as a full disk does, half-way through a file."""
    blend = save_blend(bpy, tmp_path / "b")
    photo = add_photo(bpy, checks(300, 400))
    preferences(bpy).place = "BESIDE"
    preferences(bpy).python = python_that(tmp_path, f'ulimit -f 100\nexec "{sys.executable}" "$@"')
    message = fails(bpy)
    assert "free some space" in message
    assert photo.lotus.depth is None
    assert files_in(blend.parent) == [blend.name]


@POSIX
def test_a_folder_that_cannot_be_written(bpy: Any, tmp_path: Path) -> None:
    blend = save_blend(bpy, tmp_path / "b")
    bpy.ops.lotus.open_photo(filepath=str(photo_file(tmp_path)))
    preferences(bpy).place = "BESIDE"
    if os.geteuid() == 0:  # may write everywhere, except where nobody can
        (blend.parent / "lotus_maps").symlink_to("/proc/fs")
    else:
        blend.parent.chmod(0o555)
    try:
        settings(bpy)
        assert bpy.ops.lotus.predict() == {"FINISHED"}
        (note,) = [note for note in part("jobs").jobs.notes if "packed" in note]
        assert "lotus_maps cannot be written" in note
        image = bpy.context.scene.lotus.image.lotus.depth
        assert image.packed_file is not None
        assert part("images").depth_of(bpy.context.scene.lotus.image).values.shape == (64, 96)
    finally:
        blend.parent.chmod(0o755)


def test_the_image_is_deleted_in_mid_job(bpy: Any, photo: Any) -> None:
    begin(bpy)
    drive(lambda run: True)
    bpy.data.images.remove(photo)
    drive()
    assert "photo was deleted while its maps were being predicted" in part("jobs").jobs.message
    assert not [image for image in bpy.data.images if image.lotus.kind != "NONE"]
    add_photo(bpy, checks(40, 60))
    is_usable(bpy)


def test_the_file_is_deleted_before_the_worker_reads_it(bpy: Any, tmp_path: Path) -> None:
    path = photo_file(tmp_path)
    bpy.ops.lotus.open_photo(filepath=str(path))
    settings(bpy)
    begin(bpy)
    path.unlink()
    drive()
    assert part("jobs").jobs.message in ("", f"There is no file {path}.")  # it may have been read already
    add_photo(bpy, checks(40, 60))
    is_usable(bpy)


def test_another_file_is_loaded_in_mid_job(bpy: Any, photo: Any) -> None:
    long_job(bpy)
    begin(bpy)
    drive(working)
    process = worker()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    assert part("jobs").jobs.notes == ["The prediction was stopped because another file was loaded."]
    assert psutil.wait_procs([process], timeout=10)[1] == []
    add_photo(bpy, checks(40, 60))
    is_ready(bpy)


def test_the_extension_is_disabled_in_mid_job(bpy: Any, photo: Any) -> None:
    addon_utils = importlib.import_module("addon_utils")
    long_job(bpy)
    begin(bpy)
    drive(working)
    process = worker()
    addon_utils.disable(MODULE, default_set=False)
    assert psutil.wait_procs([process], timeout=10)[1] == []
    assert not hasattr(bpy.types.Scene, "lotus")
    addon_utils.enable(MODULE, default_set=False)
    is_usable(bpy)


@pytest.fixture
def comfyui(bpy: Any, photo: Any) -> Any:
    chosen = preferences(bpy)
    chosen.backend = "COMFYUI"
    return chosen


def test_no_comfyui_answers(bpy: Any, comfyui: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        comfyui.comfyui_url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    assert "No ComfyUI answers at" in fails(bpy)
    for url, expected in (("localhost:8188", "is no address"), ("http://10.1.2.3:8188", "is on another computer")):
        comfyui.comfyui_url = url
        assert expected in fails(bpy)
    comfyui.backend = "WORKER"
    is_ready(bpy)


@pytest.fixture
def nonsense() -> Iterator[HTTPServer]:
    """A web server that is no ComfyUI: it answers every request with `server.answer`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.end_headers()
            self.wfile.write(self.server.answer)  # type: ignore[attr-defined]

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_something_else_answers_in_place_of_comfyui(bpy: Any, comfyui: Any, nonsense: HTTPServer) -> None:
    comfyui.comfyui_url = f"http://127.0.0.1:{nonsense.server_address[1]}"
    for status, answer, expected in (
        (200, b"<html>Welcome to your router</html>", "is not ComfyUI"),
        (200, b"\xff\xfe\x00garbage", "is not ComfyUI"),
        (200, b"{}", "is not ComfyUI"),
        (200, b"[1, 2]", "answers otherwise than a ComfyUI"),
        (500, b"", "answered /object_info/LoadImage with 500"),
    ):
        nonsense.status, nonsense.answer = status, answer  # type: ignore[attr-defined]
        assert expected in fails(bpy), answer


CLOSING = """
import os, sys, time
import bpy
sys.path.insert(0, {root!r})
from tests.blender.inside import enable
from tests.blender import driving, scenes
enable({repository!r})
driving.preferences(bpy).python = {python!r}
scenes.add_photo(bpy, scenes.checks(40, 60))
driving.long_job(bpy)
driving.begin(bpy)
driving.drive(driving.working)
print(scenes.part('jobs').jobs.backend().pid, flush=True)
{end}
"""


@POSIX
@pytest.mark.parametrize("end", ["bpy.ops.wm.quit_blender()", "os.kill(os.getpid(), 9)"])
def test_closing_blender_in_mid_job_leaves_no_process(bpy: Any, end: str, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    code = CLOSING.format(root=str(root), repository=str(tmp_path / "repo"), python=sys.executable, end=end)
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(tmp_path / "user")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=500)
    numbers = [line for line in done.stdout.splitlines() if line.isdigit()]
    assert numbers, done.stderr[-2000:]
    end_by = time.monotonic() + 15
    while is_running(int(numbers[0])) and time.monotonic() < end_by:
        time.sleep(0.1)
    assert not is_running(int(numbers[0]))
    assert -done.returncode != signal.SIGSEGV


def is_running(pid: int) -> bool:
    """Also False for one that has ended and that nobody has asked for its exit code, as in containers without init."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
