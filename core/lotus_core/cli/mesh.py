"""`lotus mesh`: a textured mesh of one photo."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from ..errors import LotusError
from .console import Stopwatch, part, progress_bar
from .options import add_model_options, add_quiet, between, whole
from .outputs import OutputFolder
from .predictors import DEFAULT_MODELS, Predictors
from .record import choose_camera, photo_pixels, versions

SUFFIXES = (".glb", ".ply", ".obj")
MODES = {"perspective": "what the camera saw", "relief": "the flat picture raised by its depth", "points": "no faces"}
ONLY_IN = {"fov": "perspective", "far": "perspective", "cut": "perspective", "base": "relief"}


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("mesh", help="a textured mesh of a photo")
    parser.add_argument("image", metavar="IMAGE", help="photo: JPEG, PNG, WebP, TIFF ...")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="scene.glb, .ply or .obj")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="M",
        help=f"depth model, and once more for a normal model (default: {DEFAULT_MODELS['depth']})",
    )
    parser.add_argument("--space", choices=("disparity", "depth"), help="of a diffusers folder that does not say it")
    shape = parser.add_argument_group("shape")
    modes = "; ".join(f"{name}: {meaning}" for name, meaning in MODES.items())
    shape.add_argument("--mode", choices=tuple(MODES), default="perspective", help=modes)
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
        default=True,
        help="sharpen soft depth edges, and put in the detail of the normals where a normal model is named",
    )
    shape.add_argument(
        "--target-faces", type=whole(4), metavar="N", help="reduce to N triangles, most where it is flat"
    )
    shape.add_argument("--base", type=between(0, 1e3), metavar="MM", help="close a relief with a base, for 3D printing")
    add_model_options(parser)
    add_quiet(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Predict depth, build the mesh, write it with the photo as its texture and a record of how it was made."""
    from ..images import load_image

    _check(args)
    watch = Stopwatch()
    with OutputFolder(args.output.parent) as folder, progress_bar(args.quiet) as progress:
        image = load_image(args.image)
        predictors = Predictors(args, args.model, None)
        if "depth" not in predictors.maps:
            raise LotusError(f"A mesh needs depth, which {args.model[0]} does not predict: name a depth model as well.")
        maps: dict[str, Any] = predictors.predict(image, part(progress, 0, 2))
        if progress is not None:
            progress(0.5, "mesh")
        from ..geometry.scene import SceneOptions, build_scene

        # Arguments that were not given keep the defaults of SceneOptions.
        given = {"fov_deg": args.fov, "far": args.far, "cut": args.cut, "base_mm": args.base}
        options = SceneOptions(
            mode=args.mode,
            focal_35mm=image.focal_35mm,
            refine=args.refine,
            target_faces=args.target_faces,
            **{name: value for name, value in given.items() if value is not None},
        )
        scene = build_scene(maps["depth"], photo_pixels(image), maps.get("normal"), None, options)
        record = {
            "image": args.image,
            "models": {name: predictors.describe(name) for name in maps},
            "seed": args.seed,
            "versions": versions(),
            "command": shlex.join(["lotus", *args.argv]),
        }
        with folder.all_or_nothing() as staging:
            scene.save(staging / args.output.name, **record)
    if not args.quiet:
        size = f"{len(scene.mesh.vertices):,} vertices, {len(scene.mesh.triangles()):,} triangles"
        view = "" if scene.camera is None else f", field of view {scene.camera.horizontal_fov_deg:.0f}°"
        source = "" if scene.camera is None else f" from {choose_camera(image, args.fov)[1]}"
        print(f"{args.output}: {size}{view}{source} ({watch})")


def _check(args: argparse.Namespace) -> None:
    """Raise LotusError for what can be told before any work."""
    path = args.output
    if path.suffix.lower() not in SUFFIXES:
        raise LotusError(f"Cannot write {path}: meshes are saved as {', '.join(SUFFIXES)}; change the end of the name.")
    if path.is_dir():
        raise LotusError(f"Cannot write {path}: it is a folder; give a file name.")
    for name, mode in ONLY_IN.items():
        if getattr(args, name) is not None and mode != ("perspective" if args.mode == "points" else args.mode):
            raise LotusError(f"--{name} has no meaning in --mode {args.mode}: leave it out or choose --mode {mode}.")
    if args.mode == "points" and args.target_faces is not None:
        raise LotusError("--target-faces has no meaning in --mode points: leave it out.")
