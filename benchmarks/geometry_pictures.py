"""The pictures of docs/geometry.md.

    python -m benchmarks.geometry_pictures                  # all six
    python -m benchmarks.geometry_pictures cuts forms maps  # those of the bundled photo, by the embedded checkpoints

The captions of cuts and forms are options of `lotus mesh`, parsed by the command itself. surfaces, fusion and views
show made scenes with exact depth (`tests.core.scenes`), the same that `benchmarks.geometry` measures.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import lotus_core as lotus
from benchmarks.bundled import PHOTO
from benchmarks.sheets import grey, save_small
from lotus_core.cli import parser as command_line
from lotus_core.cli.mesh_options import check_options, extra_maps, scene_options
from lotus_core.cli.record import photo_pixels
from lotus_core.cli.sheet import save_contact_sheet
from lotus_core.geometry import Scene, SceneOptions, build_scene, grid_mesh, render_preview
from lotus_core.geometry.fused_scene import build_fused_scene
from lotus_core.geometry.fusion import fuse_normals
from lotus_core.images import load_image
from lotus_core.maps import Depth, Normals, Uncertainty
from lotus_core.maps.storage import read_map
from tests.core import scenes

Pixels = NDArray[np.uint8]
Panels = list[tuple[str, Pixels]]
FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
PANEL = 360  # pixels, width of a panel; three stand in a row
FINE = 2  # wires are drawn so many times larger, then reduced
BASE = "--far 4 --cut 0.08"  # the demo's, of all pictures of the photo in perspective
UNSURE = 0.92  # share of the pixels that stay
WIRE, BEHIND = (200, 190, 180), (41, 43, 48)
# Colours of the made scenes' squares, by `scenes.Scene.part`: wall, floor, ball.
SQUARES = np.array([[[205, 170, 135], [92, 74, 58]], [[137, 182, 150], [60, 82, 68]], [[219, 112, 78], [94, 47, 35]]])
SQUARE = 0.4  # side


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)} (default: all)")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder (default: docs/pictures)")
    a = parser.parse_args(argv)
    for name in a.name or PICTURES:
        with tempfile.TemporaryDirectory() as folder:
            sheet = Path(folder) / "sheet.png"
            save_contact_sheet(PICTURES[name](), sheet, PANEL)
            save_small(Image.open(sheet), a.out / f"geometry-{name}.jpg")
        print(a.out / f"geometry-{name}.jpg", flush=True)


@cache
def coffee() -> tuple[Pixels, Depth, dict[str, Any]]:
    """The bundled photo, its depth, its normals and uncertainty: as `lotus mesh` predicts them."""
    image = load_image(PHOTO)
    depth, normal = (lotus.LotusPredictor(lotus.load_model(f"lotus-tiny-{kind}-g")) for kind in ("depth", "normal"))
    maps = {"normal": normal.normal(image), "uncertainty": depth.uncertainty(image)}
    return photo_pixels(image), depth.depth(image), maps


def scene_of_photo(options: str) -> Scene:
    """What `lotus mesh` builds with these options."""
    photo, depth, maps = coffee()
    args = command_line().parse_args(["mesh", str(PHOTO), "-o", "mesh.glb", *options.split()])
    check_options(args)
    given = {name: maps[name] for name in extra_maps(args)}
    return build_scene(depth, photo, given.get("normal"), given.get("uncertainty"), scene_options(args, None))


def shots(*captions: str) -> Panels:
    """The photo's mesh with BASE and the options of each caption."""
    return [(caption, scene_of_photo(f"{BASE} {caption}").preview(PANEL)) for caption in captions]


def cuts() -> Panels:
    uncertainty: Uncertainty = coffee()[2]["uncertainty"]
    unsure = f"--max-std {np.quantile(uncertainty.std, UNSURE):.2g}"
    return [
        (BASE, scene_of_photo(BASE).preview(PANEL)),
        *shots("--cut 0.02", "--cut 1", "--no-refine", "--sky 0.35", unsure),
    ]


def forms() -> Panels:
    reliefs = ("--mode relief --base 2", "--mode relief --shape normals --height 20")
    clay = {"depth, without texture": "", "--smooth 6": "--smooth 6", "--fusion bilateral": "--fusion bilateral"}
    return [
        *((options, wires(scene_of_photo(f"{BASE} {options}"))) for options in ("--stride 12", "--target-faces 3000")),
        *shots("--fov 35", "--mode points --stride 4"),
        *((options, scene_of_photo(options).preview(PANEL)) for options in reliefs),
        *((name, scene_of_photo(f"{BASE} {options}").preview(PANEL, "clay")) for name, options in clay.items()),
    ]


def wires(scene: Scene) -> Pixels:
    """The triangles as the photo's camera sees them."""
    assert scene.camera is not None
    width = PANEL * FINE
    height = width * scene.camera.height // scene.camera.width
    picture = Image.new("RGB", (width, height), BEHIND)
    draw = ImageDraw.Draw(picture)
    corners = scene.camera.project(scene.mesh.vertices) * width / scene.camera.width
    for triangle in scene.mesh.triangles():
        draw.polygon([tuple(corners[corner]) for corner in triangle], outline=WIRE)
    return np.asarray(picture.resize((PANEL, height // FINE), Image.Resampling.LANCZOS))


def maps() -> Panels:
    """What `--maps opengl` writes of a mesh of 20,000 faces with the normals in it."""
    photo, depth, predicted = coffee()
    options = SceneOptions(far=4.0, cut=0.08, target_faces=20_000)
    scene = build_scene(depth, photo, predicted["normal"], None, options)
    with tempfile.TemporaryDirectory() as folder:
        paths = {path.name.split(".")[1]: path for path in scene.save_maps(folder, "photo")}
        normals = {name: Normals.load(paths.pop(name)) for name in ("normal", "tangent")}
        found = {name: read_map(path).values for name, path in paths.items()}
    near_white = np.where(found["distance"] > 0, 1 - (found["distance"] - 1) / (options.far - 1), 0)
    return [
        ("the mesh", scene.preview(PANEL)),
        ("distance", grey(near_white)),
        ("normal", normals["normal"].preview("opengl")),
        ("tangent", normals["tangent"].preview("opengl")),
        ("curvature", grey(0.5 + 0.5 * found["curvature"])),
        ("occlusion", grey(found["occlusion"])),
    ]


def surfaces() -> Panels:
    made = scenes.ball_scene(480, 360)
    photo, disparity = squares(made, np.eye(4)), scenes.predicted(made, 0, noise=0)
    far = float(made.z.max() / made.z.min())
    surface = SceneOptions(far=far, fov_deg=made.camera.horizontal_fov_deg, target_faces=5_000)
    solid = SceneOptions(mode="relief", relief_mm=30, base_mm=5, sky=0.05)  # without the wall
    relief = build_scene(disparity, photo, options=solid).mesh
    return [
        ("5,000 faces, with the photo", build_scene(disparity, photo, options=surface).preview(PANEL)),
        ("a relief with a base", render_preview(relief, size=PANEL, yaw_deg=35, pitch_deg=25, shading="clay")),
        ("the same with the photo", render_preview(relief, photo, size=PANEL, yaw_deg=35, pitch_deg=25)),
    ]


def fusion() -> Panels:
    made = scenes.ball_scene(640, 480)
    coarse = scenes.quantised(made)
    fused = fuse_normals(coarse, Normals(made.normals.astype(np.float32), "opengl"), made.camera)
    named = {"blurred, 8 bits": coarse, "with normals in it": fused, "the true depth": made.z}
    return [
        (name, render_preview(grid_mesh(z, made.camera), None, made.camera, size=PANEL, shading="clay"))
        for name, z in named.items()
    ]


def views() -> Panels:
    five, two = fused_views(5), fused_views(2)
    return [
        ("five views", five.preview(PANEL)),
        ("without texture", five.preview(PANEL, "clay")),
        ("two views", two.preview(PANEL, "clay")),
    ]


def fused_views(count: int) -> Scene:
    """A surface of maps as networks give them, aligned to sparse points of which one in ten is wrong."""
    posed = scenes.posed(count, sparse=150)
    photos = [squares(made, image.camera_to_world) for image, made in posed]
    depths = [scenes.predicted(made, number) for number, (_, made) in enumerate(posed)]
    return build_fused_scene([image for image, _ in posed], depths, photos, voxels=128)


def squares(made: scenes.Scene, pose: np.ndarray) -> Pixels:
    """A photo of a made scene: squares on the wall, the floor and the ball. pose: camera to world."""
    world = made.camera.unproject(made.z) @ pose[:3, :3].T + pose[:3, 3]
    out = (world - scenes.BALL) / scenes.RADIUS
    ball = np.dstack([np.arctan2(out[..., 0], out[..., 2]), np.arcsin(out[..., 1].clip(-1, 1))])
    across = np.choose(made.part[..., None], [world[..., :2], world[..., ::2], ball])
    dark = np.floor(across / SQUARE).astype(int).sum(axis=-1) % 2
    colours: Pixels = SQUARES[made.part, dark].astype(np.uint8)
    return colours


PICTURES: dict[str, Callable[[], Panels]] = {
    "surfaces": surfaces,
    "cuts": cuts,
    "forms": forms,
    "fusion": fusion,
    "maps": maps,
    "views": views,
}

if __name__ == "__main__":
    main()
