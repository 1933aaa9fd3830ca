"""A headless Chromium, driven over its DevTools protocol with websocket-client: no driver to install."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--use-gl=angle",  # WebGL on the CPU, for the 3D preview
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
)
STARTS_WITHIN = 120.0  # seconds


class Page:
    """One tab. Methods wait for the browser's answer."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=600, max_size=None)
        self._ids = itertools.count(1)
        self.console: list[str] = []  # errors and warnings that the page has logged
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol and its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, or of the promise that it is."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 180.0) -> Any:
        """The first true value of a JavaScript expression."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = self.evaluate(condition)
            if found:
                return found
            time.sleep(0.2)
        raise TimeoutError(f"Not within {seconds} s: {condition}")

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def size(self, width: int, height: int, scale: float = 1.0) -> None:
        """The window's inner size in CSS pixels, and how many pixels of a picture make one."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def click(self, element: str) -> None:
        """Click the middle of what a JavaScript expression names, as a mouse does."""
        middle = self.wait_for(
            f"(() => {{ const e = {element}; if (!e) return null; e.scrollIntoView({{block: 'nearest'}});"
            " const r = e.getBoundingClientRect();"
            " return r.width ? [r.x + r.width / 2, r.y + r.height / 2] : null; })()"
        )
        self.click_at(*middle)

    def click_at(self, x: float, y: float, count: int = 1) -> None:
        """A click, or with count=2 a double click."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for number in range(1, count + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=number)

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 10) -> None:
        """Move the mouse from one place to another with the left button down."""

        def mouse(kind: str, share: float, buttons: int) -> None:
            x, y = (a + share * (b - a) for a, b in zip(start, end, strict=True))
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

        mouse("mousePressed", 0, 1)
        for step in range(1, steps + 1):
            mouse("mouseMoved", step / steps, 1)
        mouse("mouseReleased", 1, 0)

    def press(self, key: str, code: int) -> None:
        """A key by its name and its Windows virtual key code."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def picture(self, area: tuple[float, float, float, float] | None = None, scale: float = 1.0) -> bytes:
        """PNG of the window, or of (x, y, width, height) of it, enlarged `scale` times."""
        part = {}
        if area is not None:
            part = {"clip": {**dict(zip(("x", "y", "width", "height"), area, strict=True)), "scale": scale}}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **part)["data"])

    def _note(self, message: dict[str, Any]) -> None:
        values = message.get("params", {})
        if message.get("method") == "Page.javascriptDialogOpening":  # "Leave site?", of a graph that is not saved
            accept = {"id": next(self._ids), "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            self._socket.send(json.dumps(accept))
        elif message.get("method") == "Runtime.exceptionThrown":
            details = values["exceptionDetails"]
            self.console.append(f"uncaught: {details.get('exception', {}).get('description', details['text'])}")
        elif message.get("method") == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning"):
            words = " ".join(str(part.get("value", part.get("description", ""))) for part in values["args"])
            self.console.append(f"{values['type']}: {words}")
        elif message.get("method") == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.console.append(f"log: {values['entry']['text']} {values['entry'].get('url', '')}")


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    """A fresh browser with one empty tab; CHROMIUM names another executable than the one on PATH."""
    executable = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "google-chrome"))), None
    )
    if executable is None:
        raise RuntimeError("Chromium is needed: install it, or set CHROMIUM to its executable.")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [executable, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port = _port(Path(folder) / "DevToolsActivePort", process)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as answer:
                tabs = json.load(answer)
            yield Page(next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"))
        finally:
            process.terminate()
            process.wait(30)


def _port(file: Path, process: subprocess.Popen[bytes]) -> int:
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(file.read_text(encoding="utf-8").splitlines()[0])
        time.sleep(0.1)
    raise RuntimeError(f"Chromium did not start (exit status {process.poll()}).")
