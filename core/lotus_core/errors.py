"""Errors that a user can cause, and the one that a user asks for."""

from __future__ import annotations


class LotusError(Exception):
    """Something the caller can put right: one sentence that says what is wrong and how to fix it.

    The command line prints it and exits with code 2; ComfyUI and Blender show it as it is.
    """


class Cancelled(LotusError):
    """The cancel callback returned True: the work was stopped and nothing was written."""

    def __init__(self, message: str = "Cancelled.") -> None:
        super().__init__(message)
