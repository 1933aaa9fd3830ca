"""Everything that the panel can do, as `bpy.ops.lotus.*`."""

from __future__ import annotations
