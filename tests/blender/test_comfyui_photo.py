"""What the ComfyUI backend sends: photos that the server does not keep. tests/comfyui asks real servers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from blender_lotus.backends.programs.comfyui import graph
from blender_lotus.backends.programs.comfyui.server import Refused, Server


class Uploads(BaseHTTPRequestHandler):
    """Answers /upload/image as ComfyUI does, and keeps the form's fields in `server.fields`."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        form = BytesParser().parsebytes(b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body)
        fields = {part.get_param("name", header="content-disposition"): part for part in parts(form)}
        self.server.fields = {name: part.get_payload(decode=True) for name, part in fields.items()}  # type: ignore[attr-defined]
        answer = {"name": fields["image"].get_filename(), "subfolder": "lotus", "type": "temp"}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


def parts(form: Message) -> list[Message]:
    found = form.get_payload()
    assert isinstance(found, list)
    return [part for part in found if isinstance(part, Message)]


@pytest.fixture
def uploads() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Uploads)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_photos_are_temporary_files_of_the_server(uploads: HTTPServer) -> None:
    name = Server(f"http://127.0.0.1:{uploads.server_address[1]}").upload("cup-1a2b.png", b"\x89PNG content")
    assert name == "lotus/cup-1a2b.png [temp]"
    fields = uploads.fields  # type: ignore[attr-defined]
    assert fields["type"] == b"temp"
    assert fields["image"] == b"\x89PNG content"


@pytest.mark.parametrize(
    ("option", "value", "entry", "words"),
    [("mirror", True, ["BOOLEAN", {}], "mirror images"), ("tile", 512, ["INT", {"default": 0}], "tiles")],
)
def test_a_server_whose_nodes_know_no_such_thing_says_so(option: str, value: object, entry: list, words: str) -> None:
    node = {"input": {"required": {"model": [["lotus-tiny-depth-g"], {}]}}}
    types = {name: {**node, "output_name": ["depth"]} for name in graph.NODES}
    request = {"maps": ["depth"], "models": {}, "options": {option: value}}
    with pytest.raises(Refused, match=f"know no {words}: update them"):
        graph.build(types, "photo.png", request)
    types["LotusDepth"] = {**types["LotusDepth"], "input": {**node["input"], "optional": {option: entry}}}
    assert graph.build(types, "photo.png", request)["depth"]["inputs"][option] == value
    assert option not in graph.build(types, "photo.png", {**request, "options": {}})["depth"]["inputs"]


def test_the_field_of_a_model_says_what_it_is_for() -> None:
    """Not its name, which may say anything."""
    node = {"input": {"required": {"model": [["geo-n.safetensors", "lotus-tiny-depth-g"], {}]}}}
    types = {name: {**node, "output_name": ["depth", "normal"]} for name in graph.NODES}
    request = {"maps": ["depth", "normal"], "models": {"normal": "geo-n.safetensors"}, "options": {}}
    made = graph.build(types, "photo.png", request)
    assert made["model normal"]["inputs"]["model"] == "geo-n.safetensors"
    assert made["model depth"]["inputs"]["model"] == "lotus-tiny-depth-g"
