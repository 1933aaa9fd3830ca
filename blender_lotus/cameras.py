"""A Blender camera that sees exactly what the photo's camera saw."""

from __future__ import annotations

import math

import bpy
from mathutils import Matrix

from lotus_core.geometry import Camera

from .materials import follow_timeline

# The photo's camera looks along −z with y up; in Blender's world z is up, so all is turned to look along +y.
PIXEL_FILTER = 0.5  # pixels
UPRIGHT = Matrix.Rotation(math.radians(90), 4, "X")


def add_camera(name: str, camera: Camera, photo: bpy.types.Image) -> bpy.types.Object:
    """A camera object with the photo as its background image, not yet linked to a collection."""
    data = bpy.data.cameras.new(name)
    data.sensor_fit = "HORIZONTAL"
    data.lens = camera.focal_px * data.sensor_width / camera.width
    data.show_background_images = True
    background = data.background_images.new()
    background.image = photo
    follow_timeline(background.image_user, photo)
    background.frame_method = "STRETCH"
    background.alpha = 0.5
    data.display_size = 0.2
    return bpy.data.objects.new(name, data)


def match_render(scene: bpy.types.Scene, camera: Camera) -> None:
    """Render at the photo's size, with its colours unchanged (view transform Standard) and as sharp as it is."""
    render = scene.render
    render.resolution_x, render.resolution_y = camera.width, camera.height
    render.resolution_percentage = 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.look = "None"
    scene.view_settings.exposure, scene.view_settings.gamma = 0, 1
    # Both engines blur over 1.5 pixels by default, which the photo's own optics have done already.
    render.filter_size = PIXEL_FILTER
    if hasattr(scene, "cycles"):
        scene.cycles.filter_width = PIXEL_FILTER
