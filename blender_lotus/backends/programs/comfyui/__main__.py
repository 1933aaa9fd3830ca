"""Takes requests of the worker's protocol to a ComfyUI server and brings the maps back as files.

Requests: {"do": "predict", "url": …} with the worker's fields, but "models" by kind: {"depth": …, "normal": …};
{"do": "models", "url": …}, {"do": "cancel", "id": …}.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
import traceback
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from lotus_core.errors import LotusError
from lotus_core.files import atomic_path
from lotus_core.maps import TYPES
from lotus_core.maps.textures import write_texture
from lotus_core.worker import ALIVE_SECONDS
from lotus_core.worker.channel import Channel, read_lines

from . import graph
from .server import Refused, Server, picture
from .websocket import Listener

LOOK_SECONDS = 0.5  # between two looks at the history, which decides; the websocket only shows progress
WORDS = {"photo": "Sending the photo", "image": "Reading the photo", graph.SAVE: "Saving"}


class Stopped(Exception):
    """The request was cancelled."""


class Client:
    """One request after the other; another thread hears of cancelling."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._requests: queue.Queue[dict[str, Any]] = queue.Queue()
        self._cancelled: set[str] = set()
        self._id = ""
        self._running: tuple[Server, str] | None = None  # what the server does for us, until it is told to stop
        self._lock = threading.Lock()
        for task in (self._listen, self._show_life):
            threading.Thread(target=task, daemon=True).start()

    def run(self) -> None:
        """Serve for ever: `_listen` ends the process."""
        while True:
            request = self._requests.get()
            self._id = id_ = str(request["id"])
            try:
                server = Server(request["url"])
                if request["do"] == "models":
                    answer: dict[str, Any] = self._models(server)
                else:
                    answer = self._predict(server, request)
                self._end(id_, "done", **answer)
            except Stopped:
                self._interrupt()  # the prompt may have entered the queue after the cancelling
            except (Refused, LotusError) as error:
                self._end(id_, "failed", message=str(error))
            except OSError as error:
                reason = f"{error.filename or 'A file'}: {error.strerror or error}"
                self._end(id_, "failed", message=f"{reason}; free some space or choose another folder.")
            except (KeyError, TypeError, ValueError, IndexError, AttributeError):
                traceback.print_exc()
                message = f"{request['url']} answers otherwise than a ComfyUI: update it, or change the address."
                self._end(id_, "failed", message=message)
            finally:
                self._id, self._running = "", None

    def _end(self, id_: str, event: str, **answer: Any) -> None:
        """Tell how a request ended, unless it was cancelled, which has been told."""
        with self._lock:
            if id_ not in self._cancelled:
                self._channel.send(event, id=id_, **answer)

    def _models(self, server: Server) -> dict[str, Any]:
        types = graph.node_types(server)
        system = server.get("/system_stats").get("system", {})
        return {"models": graph.models(types), "comfyui": system.get("comfyui_version", "")}

    def _predict(self, server: Server, request: dict[str, Any]) -> dict[str, Any]:
        start = time.perf_counter()
        self._report(0.0, "Asking ComfyUI")
        name, content = picture(Path(request["image"]))
        types = graph.node_types(server)
        folder = Path(request["folder"])
        folder.mkdir(exist_ok=True)
        self._report(0.02, "Sending the photo")
        prompt = graph.build(types, server.upload(name, content), request)
        client = uuid.uuid4().hex
        listener = _listen_to(server, client)
        try:
            self._report(0.04, "Asking for the maps")
            answer = server.post("/prompt", {"prompt": prompt, "client_id": client})
            if "prompt_id" not in answer:
                raise Refused(_objections(answer))
            self._running = server, answer["prompt_id"]
            history = self._wait(server, answer["prompt_id"], prompt, listener)
        finally:
            if listener is not None:
                listener.close()
        self._report(0.95, "Fetching the maps")
        answer = _fetch(server, history, Path(request["image"]).stem, folder, request, prompt)
        return {**answer, "seconds": round(time.perf_counter() - start, 3)}

    def _wait(self, server: Server, prompt_id: str, prompt: graph.Graph, listener: Listener | None) -> dict[str, Any]:
        """The record of a finished prompt. Raises Refused where it failed, Stopped."""
        begun: list[str] = []
        next_look = 0.0
        self._report(0.05, "Waiting in ComfyUI's queue")
        while True:
            if self._id in self._cancelled:
                raise Stopped
            if listener is None:
                time.sleep(LOOK_SECONDS / 5)
            else:
                try:
                    for text in listener.messages(LOOK_SECONDS / 5):
                        if self._hear(json.loads(text), prompt_id, prompt, begun):
                            next_look = 0.0
                except (OSError, ValueError):  # progress is a nicety
                    listener.close()
                    listener = None
            if time.monotonic() < next_look:
                continue
            next_look = time.monotonic() + LOOK_SECONDS
            history = server.get(f"/history/{prompt_id}").get(prompt_id)
            if history is not None:
                _check(history)
                return dict(history)
            waiting = server.get("/queue")
            known = [entry[1] for part in ("queue_running", "queue_pending") for entry in waiting[part]]
            # Between leaving the queue and entering the history there is a moment.
            if prompt_id not in known and prompt_id not in server.get("/history/" + prompt_id):
                time.sleep(LOOK_SECONDS)
                if prompt_id not in server.get("/history/" + prompt_id):
                    raise Refused("The prediction was removed from ComfyUI's queue: start it again.")

    def _hear(self, message: dict[str, Any], prompt_id: str, prompt: graph.Graph, begun: list[str]) -> bool:
        """Report what a message says of our prompt; True where it has ended."""
        kind, data = message.get("type"), message.get("data") or {}
        if data.get("prompt_id") != prompt_id:
            return False
        node = data.get("node")
        if kind == "executing" and node in prompt and node not in begun:
            begun.append(node)
        if kind in ("executing", "progress") and node in prompt:
            part = data["value"] / max(data["max"], 1) if kind == "progress" else 0.0
            done = (max(len(begun) - 1, 0) + min(part, 1.0)) / len(prompt)
            words = (
                f"Loading the {node[6:]} model" if node.startswith("model ") else WORDS.get(node, f"Predicting {node}")
            )
            self._report(0.05 + 0.9 * done, words)
        return str(kind).startswith("execution_") and kind not in ("execution_start", "execution_cached")

    def _report(self, fraction: float, text: str) -> None:
        if self._id in self._cancelled:
            raise Stopped
        self._channel.send("progress", id=self._id, fraction=round(fraction, 4), text=text)

    def _listen(self) -> None:
        for line in read_lines(0):
            message = json.loads(line)
            if message["do"] == "cancel":
                # At once: the server may take longer to answer than we are given to obey.
                with self._lock:
                    self._cancelled.add(str(message["id"]))
                    self._channel.send("cancelled", id=message["id"])
                if message["id"] == self._id:
                    self._interrupt()
            else:
                self._requests.put(message)
        # Blender has ended, or has given us up: the server must not go on for nobody.
        self._interrupt()
        os._exit(0)

    def _interrupt(self) -> None:
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            server, prompt_id = running
            with suppress(Refused):
                server.post("/queue", {"delete": [prompt_id]})
                server.post("/interrupt", {"prompt_id": prompt_id})

    def _show_life(self) -> None:
        while True:
            time.sleep(ALIVE_SECONDS)
            if self._id:
                self._channel.send("alive")


def _listen_to(server: Server, client: str) -> Listener | None:
    if server.secure or server.host is None:
        return None
    try:
        return Listener(server.host, server.port or 80, server.path(f"/ws?clientId={client}"))
    except OSError:
        return None


def _check(history: dict[str, Any]) -> None:
    """Raise Refused for a prompt that did not succeed, with the reason that the node gave."""
    status = history.get("status") or {}
    if status.get("status_str") == "success":
        return
    for kind, data in status.get("messages", []):
        if kind == "execution_error":
            reason = " ".join(str(data.get("exception_message", "")).split()) or "it says not why"
            raise Refused(f"ComfyUI could not do it: {reason}")
        if kind == "execution_interrupted":
            raise Refused("The prediction was stopped in ComfyUI: start it again.")
    raise Refused("ComfyUI could not do it and does not say why: its log may.")


def _objections(answer: dict[str, Any]) -> str:
    """What is wrong with a graph, in one sentence."""
    said = [
        f"{error.get('message', '')} ({error.get('details', '')})"
        for node in (answer.get("node_errors") or {}).values()
        for error in node.get("errors", [])
    ]
    reason = said[0] if said else str((answer.get("error") or {}).get("message", "it says not why"))
    return f"ComfyUI refuses the graph: {' '.join(reason.split())}; update the Lotus nodes there."


def _fetch(
    server: Server, history: dict[str, Any], stem: str, folder: Path, request: dict[str, Any], prompt: graph.Graph
) -> dict[str, Any]:
    """Write the maps, their words and the record into `folder`; returns the fields of "done"."""
    files: dict[str, str] = {}
    described: dict[str, Any] = {}
    for entry in history["outputs"][graph.SAVE]["lotus_maps"]:
        path = folder / f"{stem}_{entry['map']}.npy"
        for suffix in (".json", ""):  # the words first: a map without them could not be read
            data = server.view({**entry, "filename": entry["filename"] + suffix})
            if data is None:
                raise Refused(f"ComfyUI has lost {entry['filename']}{suffix} before it was fetched: try again.")
            with atomic_path(path.with_name(path.name + suffix)) as temporary:
                temporary.write_bytes(data)
        model = prompt[prompt[entry["map"]]["inputs"]["model"][0]]["inputs"]["model"]
        meaning = {word: entry[word] for word in ("space", "convention", "unit") if word in entry}
        described[entry["map"]] = {"file": path.name, "model": model, **meaning}
        files[entry["map"]] = str(path)
    if set(files) != set(request["maps"]):
        raise Refused("ComfyUI did not make all the maps: update the Lotus nodes there.")
    textures = {}
    if request.get("textures"):
        for kind, file in files.items():
            value = TYPES[kind].load(file)
            textures[kind] = write_texture(value, Path(file).with_suffix(request["textures"])).to_dict()
    record = folder / f"{stem}.json"
    content = {"image": request["image"], "maps": described, "server": server.url, "prompt": prompt}
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return {"files": files, "textures": textures, "record": str(record)}


def main() -> None:
    """Serve until stdin is closed."""
    channel = Channel()
    channel.send("ready")
    Client(channel).run()


if __name__ == "__main__":
    main()
