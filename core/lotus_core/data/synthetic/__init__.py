"""Synthetic scenes: the training data that anyone has, ray-cast on the fly from a seed."""

from .dataset import SyntheticScenes

__all__ = ["SyntheticScenes"]
