"""A server on 127.0.0.1 with the hub's endpoints for models: info, file tree, files with ranges. Real HTTP.

The hub itself cannot be reached from a test. What is served are folders: <root>/<account>/<name>/.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "c0ffee" + "0" * 34


class HubServer(ThreadingHTTPServer):
    """Attributes: `requests`, what was asked for ("GET /path bytes=…"); `cut_after`, see `cut_off`; `status`, of all
    answers where it is not None."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.requests: list[str] = []
        self.cut_after: int | None = None
        self.status: int | None = None
        self.pause = 0.0  # seconds before the contents of a file

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of the tests."""

    def cut_off(self, after: int) -> None:
        """Break the connection after so many bytes of the next file that is larger, then answer nothing (410)."""
        self.cut_after = after

    def sent(self, name: str) -> list[str]:
        """Requests for the contents of files whose path holds `name`."""
        return [request for request in self.requests if request.startswith("GET") and name in request]


@contextlib.contextmanager
def serving(root: Path) -> Iterator[HubServer]:
    server = HubServer(root)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        if self.server.status is not None:
            self._json({"error": "out of order"}, self.server.status)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+)?", path):
            self._model(match[1])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/[^/]+(?:/(.*))?", path):
            self._json([{"type": "file", "path": n, **self._sizes(f)} for n, f in self._files(match[1]).items()])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            self._file(match[1], match[2], body)
        else:
            self._json({"error": "not found"}, 404)

    def _files(self, model: str) -> dict[str, Path]:
        folder = self.server.root / model
        return {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}

    def _sizes(self, file: Path) -> dict[str, Any]:
        return {"size": file.stat().st_size, "oid": _digest(file)}

    def _model(self, model: str) -> None:
        if not (self.server.root / model).is_dir():
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return
        siblings = [
            {"rfilename": n, "size": f.stat().st_size, "blobId": _digest(f)} for n, f in self._files(model).items()
        ]
        self._json(
            {
                "_id": "0",
                "id": model,
                "modelId": model,
                "sha": COMMIT,
                "private": False,
                "tags": [],
                "siblings": siblings,
            }
        )

    def _file(self, model: str, name: str, body: bool) -> None:
        file = self._files(model).get(name)
        if file is None:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        content, begin = file.read_bytes(), 0
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            begin = int(match[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.send_header("ETag", f'"{_digest(file)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if not body:
            return
        time.sleep(self.server.pause)
        if self.server.cut_after is not None and len(content) - begin > self.server.cut_after:
            self.wfile.write(content[begin : begin + self.server.cut_after])
            self.wfile.flush()
            self.server.cut_after, self.server.status = None, 410
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(content[begin:])

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        for key, text in (headers or {}).items():
            self.send_header(key, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
