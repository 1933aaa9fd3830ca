"""A photo and a clip in ComfyUI's input folder, so that the example workflows run as soon as they are opened."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path

import lotus_core

PHOTO, CLIP = "lotus_coffee.jpg", "lotus_room.mp4"  # the example workflows name them
PLACED = ".lotus_examples"  # says that they were put there; hidden, and no image, so that nothing lists it
SOURCES = {
    PHOTO: Path(lotus_core.__file__).parent / "assets" / "coffee.jpg",
    CLIP: Path(__file__).parent / "assets" / "room.mp4",
}


def place_examples(folder: Path) -> None:
    """Copy them once: who deletes them does not get them again. A folder that cannot be written to is no reason to go
    without nodes."""
    if (folder / PLACED).exists():
        return
    for name, source in SOURCES.items():
        target = folder / name
        try:
            if not target.exists():
                half = target.with_name(f".{name}.{os.getpid()}")
                shutil.copyfile(source, half)
                half.replace(target)
        except OSError as error:
            logging.warning("Lotus: could not put %s into %s for the example workflows: %s", name, folder, error)
            return
    with contextlib.suppress(OSError):
        (folder / PLACED).touch()
