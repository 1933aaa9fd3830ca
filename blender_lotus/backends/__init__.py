"""Where predictions come from: a worker process, a ComfyUI server, or files made elsewhere.

Every backend takes a Job and gives a Task, which a timer polls. No call waits: each returns within milliseconds, and
what goes wrong becomes the task's state and a sentence. Nothing here uses threads or bpy (`blender_pixels` apart).
"""

from .base import Backend, Job, Prediction, Task

__all__ = ["Backend", "Job", "Prediction", "Task"]
