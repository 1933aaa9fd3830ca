"""From a photo to a rendered scene, as a user does it. Inside Blender: `blender --python story.py -- TASK.json`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))
from events import Hand, Ticks, play
from state import MODULE, counts, farthest, look_flat, part, time_callbacks
from sunlit import render_sunlit

TASK = json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text(encoding="utf-8"))
OUTPUT = Path(TASK["output"])
facts: dict[str, Any] = {"blender": bpy.app.version_string, "renders": []}
hand: Hand


def story() -> Ticks:
    """The stages that were asked for, in order."""
    global hand
    bpy.data.batch_remove(list(bpy.data.objects))
    bpy.ops.ed.undo_push(message="Empty scene")
    hand = Hand(OUTPUT)
    view = hand.area("VIEW_3D")
    middle = (view.x + view.width // 3, view.y + view.height // 2)
    yield from hand.move(*middle)  # where windows open
    stages = TASK["stages"]
    if "preferences" in stages:
        yield from choose_environment()
    bpy.context.preferences.addons[MODULE].preferences.python = TASK["python"]
    yield from hand.key("N", middle)
    yield from hand.pause(1)
    sidebar = yield from show_tab(view)
    yield from hand.picture("panel-empty")
    yield from open_photo(sidebar)
    yield from hand.pause(2)
    yield from hand.picture("panel-photo")
    yield from predict(sidebar)
    if "cancel" in stages:
        yield from cancel(sidebar)
    yield from scene_mesh(view, sidebar, middle)
    if "renders" in stages:
        yield from renders(view, middle)
    if "relief" in stages:
        yield from relief(view, sidebar, middle)
    if "sunlit" in stages:
        yield from sunlit(view)
    if "menus" in stages:
        yield from menus(view, middle)
        yield from image_editor(view)


def choose_environment() -> Ticks:
    """Preferences: the panel's way to them, an environment, Check."""
    chosen = bpy.context.preferences.addons[MODULE].preferences
    yield from hand.move(hand.main.width // 3, hand.main.height // 3)  # the window opens about the mouse
    bpy.ops.preferences.addon_show(module=MODULE)
    yield from hand.pause(2)
    hand.window = bpy.context.window_manager.windows[-1]
    region = hand.region(hand.area("PREFERENCES"), "WINDOW")
    yield from hand.scroll((region.x + region.width // 2, region.y + region.height // 2), 20)
    yield from hand.picture("preferences-new", 2, region)
    chosen.python = TASK["python"]
    yield from hand.pause(1)
    place = yield from hand.find(region, "bpy.ops.lotus.check_backend()", column=0.6)
    yield from hand.click(place)
    jobs = part("jobs").jobs
    yield from hand.wait(lambda: jobs.running, 10, "the check to start")
    yield from hand.wait(lambda: not jobs.running, 300, "the check of the environment")
    facts["check"] = jobs.message or "works"
    yield from hand.move(place[0], place[1] + 200)  # a button under the mouse keeps its old look
    yield from hand.picture("preferences")
    with bpy.context.temp_override(window=hand.window):
        bpy.ops.wm.window_close()
    hand.window = hand.main
    yield from hand.pause(1)


def show_tab(area: bpy.types.Area) -> Ticks:
    """The tab Lotus of an area's sidebar."""
    region = hand.region(area, "UI")
    region.active_panel_category = "Lotus"
    area.tag_redraw()
    yield from hand.pause(1)
    return region


def open_photo(sidebar: bpy.types.Region) -> Ticks:
    """By the folder's icon and the file browser."""
    place = yield from hand.find(sidebar, "bpy.ops.lotus.open_photo()", column=0.82)
    yield from hand.click(place)
    windows = bpy.context.window_manager.windows
    yield from hand.wait(lambda: len(windows) > 1, 20, "the file browser")
    yield from hand.pause(1)
    photo = Path(TASK["photo"])
    browser = next(area for window in windows for area in window.screen.areas if area.type == "FILE_BROWSER")
    space = browser.spaces.active
    space.params.directory, space.params.filename = str(photo.parent).encode(), photo.name
    yield from hand.pause(1)
    with bpy.context.temp_override(window=windows[-1], area=browser, region=hand.region(browser, "WINDOW")):
        bpy.ops.file.execute()
    yield from hand.wait(lambda: bpy.context.scene.lotus.image is not None, 20, "the photo")
    yield from hand.pause(1)


def predict(sidebar: bpy.types.Region) -> Ticks:
    """Depth, normals and uncertainty of the photo; how long the window is held up meanwhile."""
    timed = time_callbacks()
    settings = bpy.context.scene.lotus
    settings.use_uncertainty = True
    yield from hand.pause(1)
    place = yield from hand.find(sidebar, "bpy.ops.lotus.predict()", near=sidebar.y + sidebar.height // 2)
    started = time.monotonic()
    yield from hand.click(place)
    jobs = part("jobs").jobs
    yield from hand.wait(lambda: jobs.running, 10, "the prediction to start")
    yield from hand.wait(lambda: not jobs.running or (jobs.run.fraction or 0) > 0.3, 600, "progress")
    yield from hand.picture("predicting", 0.2)
    yield from hand.wait(lambda: not jobs.running, 600, "the maps")
    facts["prediction"] = {"seconds": time.monotonic() - started, "callbacks": sorted(timed), "message": jobs.message}
    photo = settings.image
    facts["maps"] = {kind: list(getattr(photo.lotus, kind).size) for kind in ("depth", "normal", "uncertainty")}
    yield from hand.move(sidebar.x - 300, place[1])  # a button under the mouse looks different
    yield from hand.picture("panel-maps", 2, sidebar)


def cancel(sidebar: bpy.types.Region) -> Ticks:
    """A long prediction is stopped by its button, and another one works after it."""
    settings = bpy.context.scene.lotus
    settings.quality, settings.samples = "FULL", 64
    yield from hand.pause(1)
    jobs = part("jobs").jobs
    facts["cancel"] = []
    height = sidebar.y + sidebar.height // 2
    for _ in range(3):
        place = yield from hand.find(sidebar, "bpy.ops.lotus.predict()", near=height)
        height = place[1]
        yield from hand.click(place)
        yield from hand.wait(lambda: jobs.running and (jobs.run.fraction or 0) > 0.01, 600, "progress")
        stop = yield from hand.find(sidebar, "bpy.ops.lotus.cancel()", column=0.82, near=height)
        yield from hand.move(*stop)
        hand.event("LEFTMOUSE", "PRESS", *stop)
        yield
        started = time.monotonic()
        hand.event("LEFTMOUSE", "RELEASE", *stop)
        yield from hand.wait(lambda: not jobs.running, 60, "the end of the cancelled prediction")
        facts["cancel"].append(time.monotonic() - started)
        yield from hand.pause(1)
    settings.quality, settings.samples = "MODEL", 8
    yield from hand.pause(1)
    yield from hand.click((yield from hand.find(sidebar, "bpy.ops.lotus.predict()", near=height)))
    yield from hand.wait(lambda: jobs.running, 10, "the prediction to start")
    yield from hand.wait(lambda: not jobs.running, 300, "the prediction after the cancelled one")
    facts["after_cancel"] = jobs.message or "works"


def scene_mesh(view: bpy.types.Area, sidebar: bpy.types.Region, middle: tuple[int, int]) -> Ticks:
    """Scene mesh by its button; a new value under Adjust Last Operation; undo, redo."""
    facts["undo"] = {"before": counts()}
    place = yield from hand.find(sidebar, "bpy.ops.lotus.scene_mesh()", near=sidebar.y + sidebar.height // 2)
    yield from hand.click(place)
    yield from hand.wait(lambda: bpy.data.objects, 60, "the scene mesh")
    yield from hand.pause(1)
    facts["undo"]["made"] = counts()
    yield from adjust(view)
    look_flat(view)
    yield from hand.key("NUMPAD_0", middle)
    yield from hand.picture("scene-mesh-camera", 2)
    with bpy.context.temp_override(window=hand.window, area=view, region=hand.region(view, "WINDOW")):
        for way, angle in (("ORBITLEFT", 0.5), ("ORBITUP", 0.35)):
            bpy.ops.view3d.view_orbit(angle=angle, type=way)
        bpy.ops.view3d.view_selected()
    yield from hand.picture("scene-mesh", 2, view)
    yield from hand.key("NUMPAD_0", middle)
    yield from hand.key("Z", middle, ctrl=True)
    yield from hand.pause(1)
    facts["undo"]["undone"] = counts()
    yield from hand.key("Z", middle, ctrl=True, shift=True)
    yield from hand.pause(1)
    facts["undo"]["redone"] = counts()


def adjust(view: bpy.types.Area) -> Ticks:
    """The depth range from 10 to 3 under Adjust Last Operation, which builds the mesh anew."""
    box = hand.region(view, "HUD")
    yield from hand.click((box.x + 60, box.y + box.height // 2))
    yield from hand.wait(lambda: box.height > 100, 20, "the box of Adjust Last Operation")
    yield from hand.pause(1)
    field = yield from hand.find(box, "10.0", column=0.65)
    before, made = farthest(), counts()
    yield from hand.key("RET", field)
    yield from hand.key("A", field, ctrl=True)
    yield from hand.type("3", field)
    started = time.monotonic()
    hand.event("RET", "PRESS", *field)
    yield
    hand.event("RET", "RELEASE", *field)
    yield from hand.wait(lambda: bpy.data.objects and abs(farthest() - before) > 1e-3, 60, "the mesh built anew")
    seconds = time.monotonic() - started
    facts["adjust"] = {"seconds": seconds, "before": before, "after": farthest(), "same": counts() == made}
    yield from hand.picture("adjust", 2)


def renders(view: bpy.types.Area, middle: tuple[int, int]) -> Ticks:
    """F12 with each engine, with cuts and without."""
    eevee = "BLENDER_EEVEE" if bpy.app.version >= (5, 0) else "BLENDER_EEVEE_NEXT"
    engines = [{"CYCLES": "CYCLES", "EEVEE": eevee}[name] for name in TASK["engines"]]
    for cut in (True, False):
        yield from hand.key("Z", middle, ctrl=True)
        yield from hand.pause(1)
        with bpy.context.temp_override(window=hand.window, area=view, region=hand.region(view, "WINDOW")):
            bpy.ops.lotus.scene_mesh("EXEC_DEFAULT", True, use_cut=cut)
        yield from hand.pause(1)
        scene = bpy.context.scene  # undo made a new one
        for engine in engines:
            scene.render.engine = engine
            if engine == "CYCLES":
                scene.cycles.use_denoising = False  # some distributions build Blender without the denoiser
                scene.cycles.samples = 32
            yield from render(middle, engine, cut)


def render(middle: tuple[int, int], engine: str, cut: bool) -> Ticks:
    """One render, saved for comparison."""
    done: list[bool] = []
    bpy.app.handlers.render_complete.append(lambda *_: done.append(True))
    started = time.monotonic()
    yield from hand.key("F12", middle)
    yield from hand.wait(lambda: done, 560, f"the render by {engine}")
    bpy.app.handlers.render_complete.pop()
    seconds = time.monotonic() - started
    path = OUTPUT / f"render-{engine.lower()}-{'cut' if cut else 'uncut'}.png"
    bpy.context.scene.render.image_settings.file_format = "PNG"
    bpy.data.images["Render Result"].save_render(str(path))
    facts["renders"].append({"engine": engine, "cut": cut, "file": path.name, "seconds": seconds})
    yield from hand.picture(f"f12-{engine.lower()}-{'cut' if cut else 'uncut'}", 2)
    windows = bpy.context.window_manager.windows
    while len(windows) > 1:
        with bpy.context.temp_override(window=windows[-1]):
            bpy.ops.wm.window_close()
        yield from hand.pause(0.5)


def relief(view: bpy.types.Area, sidebar: bpy.types.Region, middle: tuple[int, int]) -> Ticks:
    """A relief, seen from the side."""
    yield from hand.key("Z", middle, ctrl=True)
    yield from hand.pause(1)
    place = yield from hand.find(sidebar, "bpy.ops.lotus.relief()", near=sidebar.y + sidebar.height // 2)
    yield from hand.click(place)
    yield from hand.pause(1)
    space = view.spaces.active
    space.region_3d.view_perspective = "PERSP"
    with bpy.context.temp_override(window=hand.window, area=view, region=hand.region(view, "WINDOW")):
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.view3d.view_orbit(angle=0.6, type="ORBITLEFT")
        bpy.ops.view3d.view_orbit(angle=0.3, type="ORBITUP")
        bpy.ops.view3d.view_selected()
    space.shading.light = "STUDIO"
    yield from hand.picture("relief", 3)


def sunlit(view: bpy.types.Area) -> Ticks:
    """The relief alone under a sun, rendered by Cycles."""
    bpy.data.batch_remove(list(bpy.data.objects))
    yield
    with bpy.context.temp_override(window=hand.window, area=view, region=hand.region(view, "WINDOW")):
        bpy.ops.lotus.relief("EXEC_DEFAULT", strength=0.35)
    yield
    render_sunlit(OUTPUT / "sunlit.png")


def menus(view: bpy.types.Area, middle: tuple[int, int]) -> Ticks:
    """Our entries in Blender's menus."""
    for name in ("VIEW3D_MT_mesh_add", "VIEW3D_MT_image_add"):
        yield from hand.move(*middle)
        with bpy.context.temp_override(window=hand.window, area=view, region=hand.region(view, "WINDOW")):
            bpy.ops.wm.call_menu(name=name)
        yield from hand.picture(f"menu-{name.split('_')[2]}", 1)
        yield from hand.key("ESC", middle)


def image_editor(area: bpy.types.Area) -> Ticks:
    """The panel and the menu of the image editor."""
    photo = bpy.context.scene.lotus.image
    area.type = "IMAGE_EDITOR"
    space = area.spaces.active
    space.image, space.show_region_ui = photo, True
    yield from hand.pause(1)
    yield from show_tab(area)
    yield from hand.picture("image-editor", 2)
    space.image = photo.lotus.depth
    yield from hand.picture("image-editor-depth", 2)
    place = (area.x + 200, area.y + area.height - 200)
    yield from hand.move(*place)
    with bpy.context.temp_override(window=hand.window, area=area, region=hand.region(area, "WINDOW")):
        bpy.ops.wm.call_menu(name="LOTUS_MT_image")
    yield from hand.picture("menu-image-editor", 1, area)
    yield from hand.key("ESC", place)


def end(problem: str) -> None:
    """Leave the facts to the process outside, and quit."""
    facts["parts"] = hand.parts
    facts["problem"] = problem
    (OUTPUT / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    bpy.ops.wm.quit_blender()


bpy.context.preferences.view.show_splash = bpy.context.preferences.view.show_tooltips = False
play(story(), end)
