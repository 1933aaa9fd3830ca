"""What Blender shows of a run in progress: the status bar of its windows, and the timer that makes it go on."""

from __future__ import annotations

import bpy

INTERVAL = 0.05  # seconds between two steps

_timer: bpy.types.Timer | None = None  # of the window whose operator drives the run
_text = ""


def start(context: bpy.types.Context) -> None:
    """Give the context's window a timer."""
    global _timer
    end()
    _timer = context.window_manager.event_timer_add(INTERVAL, window=context.window)


def show(text: str) -> None:
    """Say how far it is, in all windows. Their sidebars are drawn anew."""
    global _text
    if text != _text:
        _text = text
        _set_status(_draw)
    redraw()


def end() -> None:
    """Take away the timer and the text. Does nothing where there are none."""
    global _text
    stop_timer()
    if _text:
        _text = ""
        _set_status(None)
    redraw()


def stop_timer() -> None:
    """Take away the timer alone, which is all that can be done while its window closes."""
    global _timer
    if _timer is not None:
        bpy.context.window_manager.event_timer_remove(_timer)
        _timer = None


def redraw() -> None:
    """Ask every area that can show our panel to draw its sidebar again."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type in {"VIEW_3D", "IMAGE_EDITOR", "PREFERENCES"}:
                for region in area.regions:
                    if region.type in {"UI", "WINDOW"}:
                        region.tag_redraw()


def _set_status(draw: object) -> None:
    """A text would belong to the workspace that a window shows just now, and stay there; a function belongs to none."""
    for window in bpy.context.window_manager.windows:
        with bpy.context.temp_override(window=window):
            window.workspace.status_text_set(draw)


def _draw(header: bpy.types.Header, _context: bpy.types.Context) -> None:
    layout = header.layout
    layout.label(text=_text)
    layout.separator_spacer()
    layout.template_reports_banner()
    layout.separator_spacer()
    layout.template_running_jobs()
    layout.template_status_info()
