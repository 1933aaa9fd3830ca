"""One ComfyUI server, as its HTTP API shows it."""

from __future__ import annotations

import http.client
import json
import urllib.parse
import uuid
from pathlib import Path
from typing import Any

SECONDS = 30.0  # that an answer may take: ComfyUI answers between two steps of the network


class Refused(Exception):
    """The server cannot do it: one sentence on why."""


class Server:
    """The server at an address such as http://127.0.0.1:8188. Every method raises Refused."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        parts = urllib.parse.urlsplit(self.url)
        try:
            self.host, self.port = parts.hostname, parts.port
        except ValueError:
            self.host = None
        if parts.scheme not in ("http", "https") or not self.host:
            raise Refused(f"{url!r} is no address of a ComfyUI: it looks like http://127.0.0.1:8188.")
        self.secure = parts.scheme == "https"
        self._prefix = parts.path

    def get(self, path: str, **query: str) -> Any:
        """An answer in JSON."""
        return self._json(self._request("GET", path, query=query)[1])

    def view(self, entry: dict[str, str]) -> bytes | None:
        """The file that an output names, byte for byte; None where there is none."""
        query = {key: str(entry[key]) for key in ("filename", "subfolder", "type")}
        status, body = self._request("GET", "/view", query=query, accept=(200, 404))
        return body if status == 200 else None

    def post(self, path: str, content: dict[str, Any]) -> Any:
        """Send JSON; the answer's, None where it is empty."""
        body = json.dumps(content).encode()
        answer = self._request("POST", path, body, "application/json", accept=(200, 400))[1]
        return self._json(answer) if answer else None

    def upload(self, name: str, data: bytes) -> str:
        """Put a picture into the server's folder of temporary files, which it empties when it starts next; returns the
        name that LoadImage knows it by.
        """
        boundary = uuid.uuid4().hex
        fields = {"type": "temp", "subfolder": "lotus", "overwrite": "true"}
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
            for key, value in fields.items()
        ]
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        parts += [head.encode(), b"Content-Type: application/octet-stream\r\n\r\n", data, b"\r\n"]
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        answer = self._json(
            self._request("POST", "/upload/image", body, f"multipart/form-data; boundary={boundary}")[1]
        )
        # The mark is ComfyUI's own (folder_paths.annotated_filepath); without it LoadImage looks in the input folder.
        return "/".join(filter(None, (answer["subfolder"], answer["name"]))) + " [temp]"

    def path(self, path: str) -> str:
        """A path on this server, for those who open a connection of their own."""
        return self._prefix + path

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        kind: str = "",
        *,
        query: dict[str, str] | None = None,
        accept: tuple[int, ...] = (200,),
    ) -> tuple[int, bytes]:
        assert self.host is not None
        make = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
        connection = make(self.host, self.port, timeout=SECONDS)
        target = self.path(path) + ("?" + urllib.parse.urlencode(query) if query else "")
        try:
            connection.request(method, target, body, {"Content-Type": kind} if kind else {})
            answer = connection.getresponse()
            content = answer.read()
        except ConnectionRefusedError:
            raise Refused(
                f"No ComfyUI answers at {self.url}: start it, or change the address in the preferences."
            ) from None
        except TimeoutError:
            raise Refused(f"The ComfyUI at {self.url} has not answered for {SECONDS:.0f} s: restart it.") from None
        except (OSError, http.client.HTTPException) as error:
            raise Refused(
                f"The connection to {self.url} broke ({_reason(error)}): see that ComfyUI runs there and try again."
            ) from None
        finally:
            connection.close()
        if answer.status not in accept:
            raise Refused(
                f"{self.url} answered {path} with {answer.status} {answer.reason}: is a ComfyUI running there?"
            )
        return answer.status, content

    def _json(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except ValueError:
            raise Refused(
                f"What answers at {self.url} is not ComfyUI: change the address in the preferences."
            ) from None


def picture(path: Path) -> tuple[str, bytes]:
    """Name and content of a photo for `Server.upload`: .npy pixels become PNG. Raises Refused."""
    try:
        if path.suffix.lower() != ".npy":
            return _plain(path.name), path.read_bytes()
        return _plain(path.stem) + ".png", _png(path)
    except FileNotFoundError:
        raise Refused(f"There is no file {path}.") from None
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror or error}.") from None


def _png(path: Path) -> bytes:
    import tempfile

    import numpy as np

    from lotus_core.maps.png import write_png

    try:
        pixels = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise Refused(f"{path} is not a readable NPY file of pixels ({error}): write it again.") from None
    if pixels.dtype.kind == "f":
        pixels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)  # LoadImage keeps 8 bits of any picture
    if (
        pixels.dtype not in (np.uint8, np.uint16)
        or pixels.ndim not in (2, 3)
        or pixels.shape[2:] not in ((), (3,), (4,))
    ):
        raise Refused(f"{path} holds {pixels.dtype} {pixels.shape}, which is no picture: write it again.")
    with tempfile.TemporaryDirectory() as folder:
        write_png(Path(folder) / "photo.png", pixels)
        return (Path(folder) / "photo.png").read_bytes()


def _plain(name: str) -> str:
    """A name that survives a multipart header and another operating system's file system."""
    kept = "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in name)
    stem, dot, suffix = kept.rpartition(".")
    return (
        f"{(stem or suffix)[:60]}-{uuid.uuid4().hex[:8]}{dot}{suffix}" if dot else f"{kept[:60]}-{uuid.uuid4().hex[:8]}"
    )


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
