"""Programs that run outside Blender with its own Python: the standard library and `lotus_core.worker.channel` only."""
