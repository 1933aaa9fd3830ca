"""The files that `lotus mesh` writes, and that none of them is one that it reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import LotusError


def preview_path(mesh: Path) -> Path:
    """Where --preview is drawn."""
    return mesh.with_name(f"{mesh.stem}.preview.png")


def written_files(args: argparse.Namespace) -> list[Path]:
    """All that the command may write."""
    from ..geometry.export import mesh_files
    from ..geometry.scene import sidecar_path
    from ..geometry.surface_maps import map_paths

    files = [*mesh_files(args.output), sidecar_path(args.output)]
    if args.preview:
        files.append(preview_path(args.output))
    if args.maps is not None:
        files.extend(map_paths(args.output.parent, args.output.stem).values())
    return files


def check_inputs_stay(args: argparse.Namespace) -> None:
    """Raise LotusError where a photo or the poses would be overwritten."""
    inputs = [*args.image, *([] if args.poses is None else [args.poses])]
    for file in written_files(args):
        if any(_same(file, Path(given)) for given in inputs):
            raise LotusError(f"Cannot write {file}: it is one of the inputs; choose another name with -o.")


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist
        return False
