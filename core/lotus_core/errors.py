"""Errors that a user can cause, and the one that a user asks for."""

from __future__ import annotations


class LotusError(Exception):
    """Something the caller can put right: one sentence that says what is wrong and how to fix it.

    The command line prints it and exits with code 2; ComfyUI and Blender show it as it is.
    """


NO_MORE = "Cancelled."  # which says no more than that it was


class Cancelled(LotusError):
    """The work was stopped because it was to be: the cancel callback returned True, and nothing was written, or what
    was written is said."""

    def __init__(self, message: str = NO_MORE) -> None:
        super().__init__(message)
