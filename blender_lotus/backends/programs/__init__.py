"""Programs that run outside Blender with its own Python.

They import the standard library, and of lotus_core what needs no more than numpy.
"""
