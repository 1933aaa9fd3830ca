"""`lotus mesh`: a textured mesh of one photo."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..errors import LotusError
from .console import Stopwatch, part, progress_bar
from .options import add_model_options, add_quiet, between, whole
from .outputs import OutputFolder
from .predictors import DEFAULT_MODELS, Predictors
from .scene import choose_camera, perspective_mesh, photo_texture, relief

SUFFIXES = (".glb", ".ply", ".obj")


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("mesh", help="a textured mesh of a photo")
    parser.add_argument("image", metavar="IMAGE", help="photo: JPEG, PNG, WebP, TIFF ...")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="scene.glb, .ply or .obj")
    parser.add_argument(
        "--model", action="append", default=[], metavar="M", help=f"depth model (default: {DEFAULT_MODELS['depth']})"
    )
    parser.add_argument("--space", choices=("disparity", "depth"), help="of a diffusers folder that does not say it")
    shape = parser.add_argument_group("shape")
    shape.add_argument(
        "--mode",
        choices=("perspective", "relief"),
        default="perspective",
        help="what the camera saw (default), or the flat picture with depth as height",
    )
    shape.add_argument(
        "--fov", type=between(1, 170), metavar="DEG", help="horizontal field of view (default: EXIF, else 55)"
    )
    shape.add_argument(
        "--far",
        type=between(1, 1e6),
        metavar="F",
        help="distance of the farthest point, the nearest being 1 (default: 10)",
    )
    shape.add_argument(
        "--cut",
        type=between(0, float("inf")),
        metavar="F",
        help="tear the surface where neighbouring distances differ by more than this fraction (default: 0.04)",
    )
    shape.add_argument(
        "--refine",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="put the detail of a normal map into the surface; --model can name its model too (default: no)",
    )
    shape.add_argument(
        "--target-faces", type=whole(4), metavar="N", help="reduce to N triangles, fewest where it is flat"
    )
    add_model_options(parser)
    add_quiet(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Predict depth, build the surface, write it with the photo as its texture."""
    from ..images import load_image

    if args.output.suffix.lower() not in SUFFIXES:
        raise LotusError(
            f"Cannot write {args.output}: meshes are saved as {', '.join(SUFFIXES)}; change the end of the name."
        )
    if args.output.is_dir():
        raise LotusError(f"Cannot write {args.output}: it is a folder; give a file name.")
    perspective = args.mode == "perspective"
    if not perspective and (args.refine or (args.fov, args.far, args.cut) != (None, None, None)):
        raise LotusError(
            "--fov, --far, --cut and --refine shape a perspective mesh: leave them out with --mode relief."
        )
    watch = Stopwatch()
    with OutputFolder(args.output.parent) as folder, progress_bar(args.quiet) as progress:
        image = load_image(args.image)
        predictors = Predictors(args, args.model, ("depth", "normal") if args.refine else ("depth",))
        maps: dict[str, Any] = predictors.predict(image, part(progress, 0, 2))
        if progress is not None:
            progress(0.5, "mesh")
        from ..geometry import decimate, save_mesh

        camera, source = choose_camera(image, args.fov) if perspective else (None, "")
        if camera is None:
            mesh = relief(maps["depth"])
        else:
            mesh = perspective_mesh(maps["depth"], camera, args.far, args.cut, maps.get("normal"))
        if args.target_faces is not None:
            mesh = decimate(mesh, args.target_faces, camera)
        with folder.all_or_nothing() as staging:
            save_mesh(mesh, staging / args.output.name, photo_texture(image), camera)
    if not args.quiet:
        size = f"{len(mesh.vertices):,} vertices, {len(mesh.triangles()):,} triangles"
        view = f", field of view {camera.horizontal_fov_deg:.0f}° from {source}" if camera else ""
        print(f"{args.output}: {size}{view} ({watch})")
