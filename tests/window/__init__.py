"""A real Blender window, driven like a user would; too heavy for CI, run by hand: `python -m tests.window.run`."""
