"""The files that `lotus mesh` writes."""

from __future__ import annotations

import argparse
from pathlib import Path


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
