"""A sun and a camera for a relief, and their render. Runs inside Blender."""

from __future__ import annotations

import math
from pathlib import Path

import bpy
from mathutils import Vector

PLACE, SEEN, LENS = Vector((2.0, -2.45, 0.95)), Vector((0.02, 0.0, -0.1)), 39
SUN, ENERGY, SOFT = (60, -35, 20), 3.5, 0.05  # degrees about x, y, z; W/m²; radians
SIZE, SAMPLES = (720, 480), 128


def render_sunlit(path: Path) -> None:
    """Render what stands at the origin as a PNG."""
    scene = bpy.context.scene
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.lens = LENS
    camera.location, camera.rotation_euler = PLACE, (SEEN - PLACE).to_track_quat("-Z", "Y").to_euler()
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.data.angle = ENERGY, SOFT
    sun.rotation_euler = [math.radians(angle) for angle in SUN]
    for thing in (camera, sun):
        scene.collection.objects.link(thing)
    scene.camera, scene.render.engine = camera, "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = SAMPLES, False
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    scene.view_settings.view_transform = "Standard"
    if bpy.app.version >= (5, 0):
        scene.render.image_settings.media_type = "IMAGE"
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
