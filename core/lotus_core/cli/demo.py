"""`lotus demo`: everything at once, on a photo that comes with the package."""

from __future__ import annotations

import argparse
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from ..progress import part
from .blend import write_blend
from .console import Stopwatch, progress_bar
from .options import add_quiet, place
from .outputs import OutputFolder
from .overwriting import check_record_is_ours
from .predict import write_maps, write_record
from .predictors import DEFAULT_SAMPLES, MAPS, Predictors
from .record import photo_pixels
from .sheet import save_contact_sheet

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
        "-o", "--output", type=place, default=Path("lotus-demo"), metavar="DIR", help="default: %(default)s"
    )
    add_quiet(parser)
    parser.set_defaults(run=run, res=None, seed=0, samples=DEFAULT_SAMPLES, device="auto", dtype="auto", space=None)
    parser.set_defaults(reference=False, tile=None, mirror=False, offload=False, format="png")
    parser.set_defaults(fast_decoder=None, fast_encoder=False)


def run(args: argparse.Namespace) -> None:
    """Predict all maps of the photo, build a mesh, and show them in one picture."""
    from ..geometry import render_preview
    from ..geometry.scene import SceneOptions, build_scene
    from ..images import load_image

    watch = Stopwatch()
    check_record_is_ours((args.output / PHOTO).with_suffix(".json"))
    with (
        OutputFolder(args.output) as folder,
        as_file(files("lotus_core").joinpath("assets", PHOTO)) as photo,
        progress_bar(args.quiet) as progress,
    ):
        image = load_image(photo)
        predictors = Predictors(args, [], MAPS)
        maps: dict[str, Any] = predictors.predict(image, part(progress, 0, 2))
        if progress is not None:
            progress(0.75, "mesh")
        pixels = photo_pixels(image)
        options = SceneOptions(focal_35mm=image.focal_35mm, far=DEMO_FAR, cut=DEMO_CUT)
        scene = build_scene(maps["depth"], pixels, None, None, options)
        views = [
            render_preview(scene.mesh, pixels, scene.camera, size=480),
            render_preview(scene.mesh, None, scene.camera, size=480, shading="clay"),
        ]
        with folder.all_or_nothing() as staging:
            write_maps(maps, staging, photo.stem, args.format)
            write_record(predictors, maps, image, photo, staging, args)
            scene.save(staging / "scene.glb", image=PHOTO)
            height, width = pixels.shape[:2]
            blend = write_blend(staging / "scene.glb", staging / "scene.blend", (width, height))
            captions = zip(("mesh", "mesh without texture"), views, strict=True)
            previews = [(name, values.preview()) for name, values in maps.items()]
            save_contact_sheet([("photo", pixels), *previews, *captions], staging / "overview.png")
    if not args.quiet:
        stem = photo.stem
        files_and_meaning = [
            ("overview.png", "everything in one picture: look at this first"),
            *((f"{stem}_{name}.png", f"{WHAT_IS[name]}; {stem}_{name}_preview.png in colour") for name in maps),
            ("scene.glb", f"textured mesh, {len(scene.mesh.vertices):,} vertices, for Blender and other 3D programs"),
            *([("scene.blend", "the same with its camera, ready to render")] if blend else []),
            (f"{stem}.json", "models, conventions, camera, seed and versions; scene.scene.json: those of the mesh"),
        ]
        print(f"In {args.output}:")
        for name, meaning in files_and_meaning:
            print(f"  {name:<24} {meaning}")
        print(f"Done in {watch}.")
