"""A Blender camera that sees exactly what the photo's camera saw."""

from __future__ import annotations

import math

import bpy
from mathutils import Matrix

from lotus_core.geometry import Camera

from .timeline import follow_timeline

PIXEL_FILTER = 0.5  # pixels
_BEFORE, _BEHIND = 0.1, 100.0  # times the distances; for 1 and 10, what Blender's cameras have anyway
# The photo's camera looks along −z with y up; in Blender's world z is up, so all is turned to look along +y.
UPRIGHT = Matrix.Rotation(math.radians(90), 4, "X")


def add_camera(name: str, camera: Camera, photo: bpy.types.Image, near: float, far: float) -> bpy.types.Object:
    """A camera object with the photo as its background image, not yet linked to a collection.

    near, far: distances of what it has to see, with room for what is put before and behind that.
    """
    data = bpy.data.cameras.new(name)
    data.clip_start, data.clip_end = near * _BEFORE, far * _BEHIND
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


def match_render(scene: bpy.types.Scene, camera: Camera) -> str:
    """Render at the photo's size, with its colours unchanged (view transform Standard) and as sharp as it is.

    Returns "" or a sentence on what this Blender cannot do.
    """
    render = scene.render
    render.resolution_x, render.resolution_y = camera.width, camera.height
    render.resolution_percentage = 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1
    render.use_border = render.use_crop_to_border = False
    view = scene.view_settings
    view.look = "None"
    view.exposure, view.gamma = 0, 1
    view.use_curve_mapping = False
    if hasattr(view, "use_white_balance"):  # from 4.3 on
        view.use_white_balance = False
    # Both engines blur over 1.5 pixels by default, which the photo's own optics have done already.
    render.filter_size = PIXEL_FILTER
    if hasattr(scene, "cycles"):
        scene.cycles.filter_width = PIXEL_FILTER
    try:
        view.view_transform = "Standard"
    except TypeError:  # a configuration of OpenColorIO of the studio's own names them otherwise
        return (
            "The render has other colours than the photo: the colour management has no view transform Standard, so it"
            f" stays {view.view_transform}. Choose one that leaves sRGB as it is."
        )
    return ""
