"""A ComfyUI client as the front end is one: HTTP for prompts and results, a websocket for what happens meanwhile."""

from __future__ import annotations

import json
import struct
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import websocket

TEXT = 3  # protocol.py of ComfyUI: BinaryEventTypes.TEXT; the others are preview pictures
Graph = dict[str, dict[str, Any]]


@dataclass
class Finished:
    """How a prompt ended.

    status: "success" or "error". outputs: node id → what the node gave the UI. error: ComfyUI's record of the failed
    node, with node_id and exception_message. cached: ids of nodes that did not run. messages: all that came over the
    websocket, with the time it came at. texts: node id → what the node said while it ran.
    """

    status: str
    outputs: dict[str, Any]
    error: dict[str, Any]
    cached: set[str]
    messages: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    prompt_id: str = ""
    texts: dict[str, list[str]] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """What the UI shows of the error."""
        return str(self.error.get("exception_message", "")).strip()


class Refused(Exception):
    """The server did not accept a prompt: its answer to POST /prompt."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(json.dumps(answer)[:2000])
        self.answer = answer

    @property
    def node_errors(self) -> dict[str, list[str]]:
        """Node id → what is wrong with it."""
        errors = self.answer.get("node_errors", {})
        return {node: [f"{e['message']}: {e['details']}" for e in found["errors"]] for node, found in errors.items()}


class Client:
    """Talks to the server at 127.0.0.1:`port`."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.id = uuid.uuid4().hex

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=60) as answer:
            return json.load(answer)

    def get_bytes(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=60) as answer:
            body: bytes = answer.read()
        return body

    def view(self, entry: dict[str, str]) -> bytes:
        """The file that a node's UI output names."""
        return self.get_bytes(f"/view?{urllib.parse.urlencode(entry)}")

    def post(self, path: str, content: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://{self.address}{path}", json.dumps(content).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise Refused(json.load(error)) from None
        return json.loads(text) if text else None

    def run(
        self,
        graph: Graph,
        timeout: float = 300,
        on_message: Callable[[str, dict[str, Any]], None] | None = None,
        png_words: dict[str, Any] | None = None,
    ) -> Finished:
        """Queue a graph and wait for its end. Raises Refused where it does not validate.

        png_words: what a front end sends for savers to put into files, such as the workflow.
        on_message(type, data) is called for what comes over the websocket meanwhile.
        """
        socket = websocket.create_connection(f"ws://{self.address}/ws?clientId={self.id}", timeout=timeout)
        messages: list[tuple[float, str, dict[str, Any]]] = []
        extra = {} if png_words is None else {"extra_pnginfo": png_words}
        texts: dict[str, list[str]] = {}
        try:
            prompt_id = self.post("/prompt", {"prompt": graph, "client_id": self.id, "extra_data": extra})["prompt_id"]
            until = time.monotonic() + timeout
            while time.monotonic() < until:
                text = socket.recv()
                if not isinstance(text, str):
                    _add_text(texts, text)
                    continue
                message = json.loads(text)
                kind, data = message["type"], message["data"]
                if data.get("prompt_id", prompt_id) != prompt_id:
                    continue
                messages.append((time.monotonic(), kind, data))
                if on_message is not None:
                    on_message(kind, data)
                if kind in ("execution_success", "execution_error", "execution_interrupted"):
                    finished = self._finished(prompt_id, messages)
                    finished.texts = texts
                    return finished
        finally:
            socket.close()
        raise TimeoutError(f"The prompt did not end within {timeout} s.")

    def _finished(self, prompt_id: str, messages: list[tuple[float, str, dict[str, Any]]]) -> Finished:
        for _ in range(600):  # the history is written a moment after the last message
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                break
            time.sleep(0.05)
        record = history[prompt_id]
        of_kind = dict(record["status"]["messages"])
        return Finished(
            status=record["status"]["status_str"],
            outputs=record["outputs"],
            error=of_kind.get("execution_error", {}),
            cached=set(of_kind.get("execution_cached", {}).get("nodes", [])),
            messages=messages,
            prompt_id=prompt_id,
        )


def _add_text(texts: dict[str, list[str]], frame: bytes) -> None:
    """Read a binary frame: its kind (4 bytes); if that is text, the length of the node's id (4), the id, the text."""
    kind, length = struct.unpack(">II", frame[:8])
    if kind == TEXT:
        texts.setdefault(frame[8 : 8 + length].decode(), []).append(frame[8 + length :].decode())
