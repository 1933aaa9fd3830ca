"""As much of a websocket as it takes to listen to ComfyUI's messages (RFC 6455)."""

from __future__ import annotations

import base64
import os
import select
import socket
import struct
import time
from collections.abc import Iterator

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10  # opcodes, section 5.2
_LONGEST = 1 << 26  # bytes of a message; the largest that ComfyUI sends are preview pictures


class Listener:
    """An open connection. Raises OSError where it cannot be opened or breaks."""

    def __init__(self, host: str, port: int, path: str, seconds: float = 10.0) -> None:
        self._socket = socket.create_connection((host, port), seconds)
        self._data = b""
        self._text = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            (
                f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
            ).encode("ascii")
        )
        while b"\r\n\r\n" not in self._data:
            self._receive()
        head, self._data = self._data.split(b"\r\n\r\n", 1)
        if b" 101 " not in head.split(b"\r\n")[0] + b" ":
            raise ConnectionError("it is no websocket")

    def messages(self, seconds: float) -> Iterator[bytes]:
        """The text messages that arrive within so many seconds."""
        until = time.monotonic() + seconds
        while True:
            while (frame := self._next_frame()) is not None:
                opcode, final, payload = frame
                if opcode == _CLOSE:
                    raise ConnectionError("the server closed it")
                if opcode == _PING:
                    self._answer(payload)
                elif opcode in (0, _TEXT) and (opcode == _TEXT or self._text):
                    self._text += payload
                    if final:
                        text, self._text = self._text, b""
                        yield text
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                return
            self._receive()

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> None:
        chunk = self._socket.recv(65536)
        if not chunk:
            raise ConnectionError("the server closed it")
        self._data += chunk
        if len(self._data) > _LONGEST:
            raise ConnectionError("it sends too much")

    def _next_frame(self) -> tuple[int, bool, bytes] | None:
        """Opcode, whether it is the last of its message, and content; None while it has not arrived."""
        data = self._data
        if len(data) < 2:
            return None
        length, start = data[1] & 0x7F, 2  # a server's frames are not masked
        if length >= 126:
            size, form = (2, ">H") if length == 126 else (8, ">Q")
            start += size
            if len(data) < start:
                return None
            length = struct.unpack(form, data[2:start])[0]
        if length > _LONGEST:
            raise ConnectionError("it sends too much")
        if len(data) < start + length:
            return None
        self._data = data[start + length :]
        return data[0] & 0x0F, bool(data[0] & 0x80), data[start : start + length]

    def _answer(self, payload: bytes) -> None:
        mask = os.urandom(4)  # a client's frames must be
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload[:125]))
        self._socket.sendall(bytes([0x80 | _PONG, 0x80 | len(masked)]) + mask + masked)
