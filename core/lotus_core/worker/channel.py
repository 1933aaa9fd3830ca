"""Lines of JSON between the worker and its parent."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

POLL_SECONDS = 0.02  # how often stdin is looked at where it must not be waited for


class Channel:
    """Events to the parent over the process's original stdout.

    Taking it redirects stdout, for Python and for C libraries alike, to stderr: only events can reach the parent.
    """

    def __init__(self) -> None:
        self._pipe = os.dup(1)  # not inherited by children, so that a forgotten one cannot hold it open
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        self._lock = threading.Lock()

    def send(self, event: str, **fields: Any) -> None:
        """Write one event. Ends the process where nobody reads any more."""
        # ASCII only: also file names that are not valid UTF-8 pass, as escaped surrogates.
        rest = memoryview(json.dumps({"event": event, **fields}).encode("ascii") + b"\n")
        with self._lock:
            try:
                while rest:
                    rest = rest[os.write(self._pipe, rest) :]
            except OSError:
                os._exit(0)


def read_lines(descriptor: int) -> Iterator[bytes]:
    """The lines that arrive at a pipe, until it is closed; waits in between."""
    rest = b""
    while chunk := _read(descriptor):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def _read(descriptor: int) -> bytes:
    """The next bytes of a pipe; none at its end."""
    if sys.platform == "win32":
        # A thread that waits in a read of stdin stalls every other use of that handle in the process, and loading some
        # libraries (Fortran run-times) asks for its type. So look first.
        import _winapi
        import msvcrt

        try:
            while not (ready := _winapi.PeekNamedPipe(msvcrt.get_osfhandle(descriptor))[0]):
                time.sleep(POLL_SECONDS)
        except OSError:
            return b""
        return os.read(descriptor, ready)
    return os.read(descriptor, 65536)
