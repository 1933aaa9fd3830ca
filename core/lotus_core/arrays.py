"""What is taken for an array: numpy's own, torch's tensors, lists of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import LotusError


def tensor_to_array(tensor: Any) -> np.ndarray:
    """A torch tensor of any device and dtype, with gradients or without; floats of half precision become float32."""
    tensor = tensor.detach().cpu()
    array = (tensor.float() if tensor.is_floating_point() else tensor).numpy()  # numpy knows no bfloat16
    assert isinstance(array, np.ndarray)
    return array


def float32(values: Any, what: str, copy: bool = True) -> np.ndarray:
    """`values` as a float32 array; with `copy` one of its own, else that of the caller where it is float32 already.

    Raises LotusError, which `what` begins, for anything but real numbers.
    """
    try:
        # A torch tensor is told without importing torch.
        array = tensor_to_array(values) if hasattr(values, "detach") else np.asarray(values)
    except (TypeError, ValueError):
        raise LotusError(f"{what} is an array of numbers, not {type(values).__name__}.") from None
    if array.dtype.kind not in "fiub":
        raise LotusError(f"{what} is an array of real numbers; this one holds {array.dtype}.")
    return array.astype(np.float32, copy=copy)


def as_bool(values: Any) -> np.ndarray:
    """A mask as a bool array of its own."""
    return np.array(tensor_to_array(values) if hasattr(values, "detach") else values, bool)
