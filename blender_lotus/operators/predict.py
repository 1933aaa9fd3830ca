"""Predict: the only operator that takes long. It is modal; its timer does a few milliseconds of work at a time."""

from __future__ import annotations

import time
from functools import partial

import bpy
from bpy.props import StringProperty

from lotus_core.errors import LotusError

from .. import progress
from ..frames import run_for
from ..jobs import Run, jobs
from ..properties import is_photo
from .base import button_allows, named_photo


class ModalRun:
    """Mixin: drives `jobs.run` by a window's timer when invoked, and by waiting when executed by a script."""

    def start(self, context: bpy.types.Context) -> None:
        """Begin a run. Raises LotusError."""
        raise NotImplementedError

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        run = jobs.run
        if run is not None:
            cls.poll_message_set(f"{run.title} is in progress: wait for it, or cancel it")
        return run is None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """For scripts: return when it is done."""
        run = self._begin(context)
        if run is None:
            return {"CANCELLED"}
        try:
            while jobs.step():
                time.sleep(0.01)
        except BaseException:  # Ctrl-C
            jobs.stop(f"{run.title} was interrupted.")
            raise
        return self._end(run)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        if context.window is None:
            return self.execute(context)
        run = self._begin(context)
        if run is None:
            return {"CANCELLED"}
        self._run = run
        progress.start(context)
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, _context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if jobs.run is self._run and (event.type != "TIMER" or _goes_on()):
            return {"PASS_THROUGH"}
        if jobs.run is None:
            progress.end()
        return self._end(self._run)

    def cancel(self, _context: bpy.types.Context) -> None:
        """Blender ends the operator itself: its window closes, or another file is loaded, which ends some runs too."""
        if jobs.run is self._run:
            progress.stop_timer()
            undo = self.bl_label if "UNDO" in self.bl_options else ""
            go_on = partial(_without_window, self._run, undo)
            bpy.app.timers.register(go_on, first_interval=progress.INTERVAL, persistent=True)

    def _begin(self, context: bpy.types.Context) -> Run | None:
        try:
            self.start(context)
        except LotusError as error:
            jobs.refuse(str(error))
            self.report({"ERROR"}, str(error))
            return None
        return jobs.run

    def _end(self, run: Run) -> set[str]:
        state, message = run.state, run.message
        for note in run.notes:
            self.report({"WARNING"}, note)
        if state == "done":
            self.report({"INFO"}, run.result)
            return {"FINISHED"}
        if state == "failed":
            self.report({"ERROR"}, message)
        else:
            self.report({"INFO"}, f"{run.title}: cancelled")
        return {"CANCELLED"}


def _goes_on() -> bool:
    """A step of the current run, and what is shown of it."""
    run = jobs.run
    if run is None or not jobs.step():
        return False
    share = "" if run.fraction is None else f" {run.fraction:.0%}"
    progress.show(f"Lotus: {run.text}{share}")
    return True


def _without_window(run: Run, undo: str) -> float | None:
    """Goes on, as a timer of Blender's own, with a run whose window was closed. undo: name of its undo step, if any."""
    if jobs.run is run and _goes_on():
        return progress.INTERVAL
    if jobs.run is None:
        progress.end()
    if undo and run.state == "done":
        context = bpy.context
        with context.temp_override(window=context.window_manager.windows[0]):
            bpy.ops.ed.undo_push(message=undo)
    return None


class LOTUS_OT_predict(ModalRun, bpy.types.Operator):
    """Predict the maps of the photo as the scene's Lotus settings say; Blender stays usable meanwhile"""

    bl_idname = "lotus.predict"
    bl_label = "Predict"
    bl_options = {"UNDO"}

    image: StringProperty(
        name="Photo",
        description="Name of the image to predict from; empty: the photo of the panel",
        options={"HIDDEN", "SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return button_allows(cls, context) and super().poll(context)

    @classmethod
    def missing(cls, photo: bpy.types.Image) -> str:
        """One sentence, without its full stop, on a photo that cannot have maps; "" for others."""
        return f"{photo.name} is linked from another .blend: make it local first" if photo.library else ""

    def start(self, context: bpy.types.Context) -> None:
        photo = named_photo(self.image, context)
        if photo.source == "MOVIE":
            raise LotusError(f"{photo.name} is a movie; render it as an image sequence first, and open that.")
        if not is_photo(None, photo):
            raise LotusError(f"{photo.name} is no photo; choose an image that was loaded from a file.")
        jobs.begin(run_for(photo, context.scene.lotus, jobs.backend()))


class LOTUS_OT_cancel(bpy.types.Operator):
    """Stop what is in progress"""

    bl_idname = "lotus.cancel"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        if not jobs.running:
            cls.poll_message_set("Nothing is in progress")
        return jobs.running

    def execute(self, _context: bpy.types.Context) -> set[str]:
        jobs.cancel()
        jobs.step()  # not only at the next tick of a busy window
        return {"FINISHED"}


class LOTUS_OT_stop_worker(bpy.types.Operator):
    """End the worker process, which frees the memory of its models; the next prediction starts it again"""

    bl_idname = "lotus.stop_worker"
    bl_label = "Free Memory"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        if jobs.running:
            cls.poll_message_set("Something is in progress: cancel it first")
        return not jobs.running

    def execute(self, _context: bpy.types.Context) -> set[str]:
        jobs.close_backend()
        return {"FINISHED"}


class LOTUS_OT_show_log(bpy.types.Operator):
    """Copy the backend's log to the clipboard, for a bug report"""

    bl_idname = "lotus.copy_log"
    bl_label = "Copy Log"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.window_manager.clipboard = jobs.log or jobs.backend().log_tail(200)
        return {"FINISHED"}


CLASSES = (LOTUS_OT_predict, LOTUS_OT_cancel, LOTUS_OT_stop_worker, LOTUS_OT_show_log)
