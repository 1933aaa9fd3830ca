"""Cancelling before the server has answered. A stand-in for it, since a real one cannot be held in mid-answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from blender_lotus.backends.base import Job
from blender_lotus.backends.comfyui import ComfyUIBackend

NODE = {
    "input": {"required": {"model": [["lotus-tiny-depth-g"], {}]}, "optional": {}},
    "output_name": ["depth", "normal", "uncertainty"],
}


class Slow(ThreadingHTTPServer):
    """A ComfyUI that holds the answer to a POST of one path until `answer` is set."""

    held = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked, self.answer = threading.Event(), threading.Event()
        self.posted: list[str] = []
        self.queue: list[str] = []


class Answers(BaseHTTPRequestHandler):
    server: Slow

    def do_GET(self) -> None:
        if self.path.startswith("/object_info/"):
            self.say({self.path.rsplit("/", 1)[1]: NODE})
        elif self.path == "/queue":
            self.say({"queue_running": [], "queue_pending": [[0, prompt] for prompt in self.server.queue]})
        else:
            self.say({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append(self.path)
        if self.path == self.server.held:
            self.server.asked.set()
            self.server.answer.wait(20)
        if self.path == "/prompt":
            self.server.queue.append("ours")
        if self.path == "/queue":
            self.server.queue = [one for one in self.server.queue if one not in json.loads(body)["delete"]]
        self.say({"name": "photo.png", "subfolder": "lotus", "prompt_id": "ours"})

    def say(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def slow() -> Iterator[Slow]:
    server = Slow()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.answer.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("held", ["/upload/image", "/prompt"])
def test_what_is_cancelled_while_it_is_sent_does_not_stay_in_the_queue(slow: Slow, tmp_path: Path, held: str) -> None:
    slow.held = held
    Image.new("RGB", (32, 24)).save(tmp_path / "photo.png")
    backend = ComfyUIBackend(f"http://127.0.0.1:{slow.server_address[1]}", tmp_path)
    try:
        task = backend.start(Job(tmp_path / "photo.png", tmp_path / "maps", ("depth",)))
        patience = time.monotonic() + 60
        while not slow.asked.is_set() and time.monotonic() < patience:
            task.poll()
            time.sleep(0.01)
        task.cancel()
        while task.poll() and time.monotonic() < patience:
            time.sleep(0.01)
        assert task.state == "cancelled"
        slow.answer.set()
        patience = time.monotonic() + 20
        while held == "/prompt" and slow.posted[-1] != "/interrupt" and time.monotonic() < patience:
            time.sleep(0.01)
        time.sleep(0.2)  # for what should not come
    finally:
        backend.close()
    assert slow.queue == []
    later = ["/prompt", "/queue", "/interrupt"] if held == "/prompt" else []
    assert slow.posted == ["/upload/image", *later]
