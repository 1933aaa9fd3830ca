"""The hand of a user in a Blender window: moves, clicks, keys, and buttons found by what they do. Runs inside Blender.

Everything is a generator that yields where the window needs a tick to react, so a story is told with `yield from`.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import bpy

TICK = 0.02  # seconds between two simulated events
Ticks = Generator[None, None, Any]


class Hand:
    """Acts on one window."""

    def __init__(self, folder: Path) -> None:
        """folder: where pictures of the screen are asked for."""
        self.folder = folder
        self.main = self.window = bpy.context.window_manager.windows[0]
        self.parts: dict[str, tuple[int, int, int, int]] = {}  # left, top, right, bottom of what pictures are about

    def area(self, kind: str) -> bpy.types.Area:
        """The window's largest area of a kind."""
        found = [area for area in self.window.screen.areas if area.type == kind]
        return max(found, key=lambda area: area.width * area.height)

    def region(self, area: bpy.types.Area, kind: str) -> bpy.types.Region:
        """A region of an area."""
        return next(region for region in area.regions if region.type == kind)

    def event(self, kind: str, value: str, x: int, y: int, **more: Any) -> None:
        """Send one event."""
        self.window.event_simulate(type=kind, value=value, x=int(x), y=int(y), **more)

    def move(self, x: int, y: int) -> Ticks:
        """Move the mouse; twice, as Blender highlights what is below it only then."""
        for step in range(2):
            self.event("MOUSEMOVE", "NOTHING", x + step, y)
            yield

    def click(self, place: tuple[int, int]) -> Ticks:
        """A click of the left button."""
        yield from self.move(*place)
        self.event("LEFTMOUSE", "PRESS", *place)
        yield
        self.event("LEFTMOUSE", "RELEASE", *place)
        yield

    def key(self, kind: str, place: tuple[int, int], **modifiers: Any) -> Ticks:
        """A key, with the mouse at a place."""
        yield from self.move(*place)
        for value in ("PRESS", "RELEASE"):
            self.event(kind, value, *place, **modifiers)
            yield

    def type(self, text: str, place: tuple[int, int]) -> Ticks:
        """Type digits and points into a field that is being edited."""
        digits = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
        for letter in text:
            name = digits[int(letter)] if letter.isdigit() else "PERIOD"
            self.event(name, "PRESS", *place, unicode=letter)
            yield
            self.event(name, "RELEASE", *place)
            yield

    def find(
        self, region: bpy.types.Region, wanted: str, *, column: float = 0.4, near: int | None = None, step: int = 9
    ) -> Generator[None, None, tuple[int, int]]:
        """Where the button is that Ctrl-C describes as `wanted` (the operator's call, or a field's value).

        column: across the region, 0…1. near: the height at which to begin; the top by default. Raises LookupError.
        """
        seen = []
        manager = bpy.context.window_manager
        x = region.x + int(region.width * column)
        top = region.y + region.height - 5
        heights = sorted(range(top, region.y, -step), key=lambda y: abs(y - (top if near is None else near)))
        for y in heights:
            manager.clipboard = ""
            yield from self.move(x, y)
            self.event("C", "PRESS", x, y, ctrl=True)
            yield
            said = manager.clipboard
            self.event("C", "RELEASE", x, y)
            yield
            if said == wanted:
                return x, y
            if said:
                seen.append(said)
        raise LookupError(f"No button {wanted!r}; found {seen}.")

    def wait(self, condition: Callable[[], Any], seconds: float, what: str) -> Ticks:
        """Until something is the case; raises TimeoutError."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"Waited {seconds} s for {what}.")
            yield

    def pause(self, seconds: float) -> Ticks:
        """Let the window draw."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield

    def scroll(self, place: tuple[int, int], lines: int) -> Ticks:
        """Turn the wheel down."""
        yield from self.move(*place)
        for _ in range(lines):
            self.event("WHEELDOWNMOUSE", "PRESS", *place)
            yield

    def picture(self, name: str, settle: float = 1.0, part: bpy.types.Area | bpy.types.Region | None = None) -> Ticks:
        """Have the process outside take a picture of the screen. part: of this window, what a guide shows of it."""
        if part is not None:
            left, bottom = self.window.x + part.x, self.window.y + part.y
            edges = (left, self.main.height - bottom - part.height, left + part.width, self.main.height - bottom)
            self.parts[name] = edges
        for window in bpy.context.window_manager.windows:
            for area in window.screen.areas:
                area.tag_redraw()
        yield from self.pause(settle)
        wish = self.folder / f"{name}.wanted"
        wish.touch()
        yield from self.wait(lambda: not wish.exists(), 60, f"the picture {name}")


def play(story: Iterator[None], end: Callable[[str], None]) -> None:
    """Go through a story by a timer; `end` gets "" or the traceback of what stopped it."""

    def step() -> float | None:
        try:
            next(story)
        except StopIteration:
            end("")
        except Exception:
            end(traceback.format_exc())
        else:
            return TICK
        return None

    bpy.app.timers.register(step, first_interval=3.0, persistent=True)
