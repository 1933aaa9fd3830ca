"""Progress, messages and the log of what runs outside Blender."""

from __future__ import annotations

import textwrap

import bpy

from ..jobs import jobs

BIG = 1.4  # height of the main button, and of the progress bar in its place
_SHOWN_LINES = 8
_CHARACTER = 7.0  # pixels of the interface's font at scale 1, about


def draw_job(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """The running job with its progress and Cancel, or what the last one had to say."""
    run = jobs.run
    if run is not None:
        row = layout.row(align=True)
        row.scale_y = BIG
        share = "" if run.fraction is None else f"  {run.fraction:.0%}"
        text = run.text.replace("Predicting sample", "sample")  # as narrow as a sidebar
        text = text[:1].upper() + text[1:]
        row.progress(factor=run.fraction or 0.0, text=f"{text}{share}")
        row.operator("lotus.cancel", text="", icon="CANCEL")
        return
    if jobs.message:
        box = layout.box()
        draw_text(box, context, jobs.message, icon="ERROR")
        if jobs.log:
            column = box.column(align=True)
            column.scale_y = 0.7
            for line in jobs.log.splitlines()[-_SHOWN_LINES:]:
                column.label(text=line)
            box.operator("lotus.copy_log", icon="COPYDOWN")
    for note in jobs.notes:
        draw_text(layout, context, note, icon="INFO")


def draw_text(layout: bpy.types.UILayout, context: bpy.types.Context, text: str, *, icon: str = "NONE") -> None:
    """A sentence over as many lines as the region is wide."""
    width = context.region.width / context.preferences.system.ui_scale if context.region is not None else 300
    column = layout.column(align=True)
    for i, line in enumerate(textwrap.wrap(text, max(int(width / _CHARACTER) - 6, 20))):
        column.label(text=line, icon=icon if i == 0 else "BLANK1" if icon != "NONE" else "NONE")
