"""`lotus demo`: everything at once, on a photo that comes with the package."""

from __future__ import annotations

import argparse
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import Stopwatch, part, progress_bar
from .options import add_quiet
from .outputs import OutputFolder
from .predict import write_maps, write_record
from .predictors import DEFAULT_SAMPLES, MAPS, Predictors
from .scene import choose_camera, perspective_mesh, photo_texture
from .sheet import save_contact_sheet

if TYPE_CHECKING:
    from ..maps import Depth

PHOTO = "coffee.jpg"  # CC0, see assets/LICENSE.txt
DEMO_FAR = 4.0  # a table top, not a landscape: its far edge is a few times farther than its near one
DEMO_CUT = 0.08  # softer than the default: the small checkpoints draw depth edges a few pixels wide
WHAT_IS = {
    "depth": "16-bit PNG, 1 = near",
    "normal": "16-bit PNG, x left, y up, z toward the camera",
    "uncertainty": "16-bit PNG, standard deviation of the depth",
}


def add(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("demo", help="try everything on a bundled photo")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("lotus-demo"), metavar="DIR", help="default: %(default)s"
    )
    add_quiet(parser)
    parser.set_defaults(run=run, res=None, seed=0, samples=DEFAULT_SAMPLES, device="auto", dtype="auto", space=None)
    parser.set_defaults(reference=False, format="png")


def run(args: argparse.Namespace) -> None:
    """Predict all maps of the photo, build a mesh, and show them in one picture."""
    from ..geometry import render_preview, save_mesh
    from ..images import load_image

    watch = Stopwatch()
    with (
        OutputFolder(args.output) as folder,
        as_file(files("lotus_core").joinpath("assets", PHOTO)) as photo,
        progress_bar(args.quiet) as progress,
    ):
        image = load_image(photo)
        predictors = Predictors(args, [], MAPS)
        maps = predictors.predict(image, part(progress, 0, 2))
        if progress is not None:
            progress(0.75, "mesh")
        depth: Depth = maps["depth"]  # type: ignore[assignment]
        camera, _ = choose_camera(image)
        mesh = perspective_mesh(depth, camera, DEMO_FAR, DEMO_CUT)
        texture = photo_texture(image)
        views = [
            render_preview(mesh, texture, camera, size=480),
            render_preview(mesh, None, camera, size=480, shading="clay"),
        ]
        with folder.all_or_nothing() as staging:
            write_maps(maps, staging, photo.stem, args.format)
            write_record(predictors, maps, image, photo, staging, args)
            save_mesh(mesh, staging / "scene.glb", texture, camera)
            captions = zip(("mesh", "mesh without texture"), views, strict=True)
            previews = [(name, values.preview()) for name, values in maps.items()]
            save_contact_sheet([("photo", texture), *previews, *captions], staging / "overview.png")
    if not args.quiet:
        stem = Path(PHOTO).stem
        print(f"In {args.output}:")
        print("  overview.png             everything in one picture: look at this first")
        for name in maps:
            print(f"  {f'{stem}_{name}.png':<24} {WHAT_IS[name]}; {stem}_{name}_preview.png in colour")
        print(
            f"  {'scene.glb':<24} textured mesh, {len(mesh.vertices):,} vertices: opens in Blender and most 3D viewers"
        )
        print(f"  {f'{stem}.json':<24} models, conventions, camera, seed, versions")
        print(f"Done in {watch}.")
