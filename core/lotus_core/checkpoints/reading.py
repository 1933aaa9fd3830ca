"""Tensors of a safetensors file, read straight to where they stay: once, in their final precision, on their device.

The header is read and checked before (`header`). The safetensors library would map the file instead, which costs twice
here: weights must lie where torch would have put them (see `read_tensors`), so nearly all would be copied, and mapped
pages count as memory of the process beside the copies.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import torch

from ..errors import LotusError
from .header import Header

CHUNK = 4 << 20  # bytes: what is read is checked and converted while it is in the processor's cache
READERS = 4  # threads at most: reading, checking and fresh memory wait for each other little
TORCH_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip


def read_tensors(
    header: Header,
    names: Mapping[str, str],
    device: torch.device,
    dtype: torch.dtype,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (new name, tensor on `device` in `dtype`) for every {name in the file: new name}, in the file's order.

    Each tensor has memory of its own from torch's allocator. Matrix products start at the first aligned number and sum
    in another order from another place, so weights used where they lie in a file would give results that depend on the
    file they came in, by 1e-6.

    Args:
        shapes: of new names whose tensor is stored in another shape of as many numbers.

    Raises LotusError for unreadable data and for NaN or infinite values.
    """
    order = sorted(names, key=lambda name: header.tensors[name].begin)
    files = threading.local()

    def read(stored: str) -> torch.Tensor:
        if not hasattr(files, "own"):
            files.own = header.path.open("rb", buffering=0)  # closed with the thread that it belongs to
        tensor = _read(files.own, header, stored, device, dtype)
        return tensor.view((shapes or {}).get(names[stored], header.tensors[stored].shape))

    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
        try:
            for stored, tensor in zip(order, pool.map(read, order), strict=True):
                yield names[stored], tensor
        except OSError as error:
            reason = error.strerror or str(error)
            raise LotusError(f"{header.path} cannot be read ({reason}): download or copy it again.") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _read(file: BinaryIO, header: Header, name: str, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """One tensor, flat."""
    entry = header.tensors[name]
    if entry.dtype not in TORCH_DTYPES:
        raise LotusError(f"{header.path} holds {name} as {entry.dtype}, which Lotus does not read: convert the file.")
    stored = TORCH_DTYPES[entry.dtype]
    numbers = math.prod(entry.shape)
    result = torch.empty(numbers, dtype=dtype, device=device)
    in_place = stored == dtype and result.device.type == "cpu"
    at_once = CHUNK // stored.itemsize
    staged = result if in_place else torch.empty(min(at_once, numbers), dtype=stored)
    file.seek(header.data_begin + entry.begin)
    for begin in range(0, numbers, at_once):
        end = min(begin + at_once, numbers)
        part = staged[begin:end] if in_place else staged[: end - begin]
        _fill(file, part, header)
        _check_finite(part, dtype, name, header)
        if not in_place:
            result[begin:end].copy_(part)
    return result


def _fill(file: BinaryIO, tensor: torch.Tensor, header: Header) -> None:
    left = memoryview(tensor.view(torch.uint8).numpy().data)
    while left:
        count = file.readinto(left)  # type: ignore[attr-defined]
        if not count:
            raise LotusError(f"{header.path} became shorter while it was read: download or copy it again.")
        left = left[count:]


def _check_finite(part: torch.Tensor, dtype: torch.dtype, name: str, header: Header) -> None:
    """Raise LotusError unless all of `part` are numbers, and numbers that `dtype` can hold."""
    if not part.is_floating_point():
        return
    if part.dtype.itemsize == 1:
        part = part.float()  # torch finds no extremes in 8 bits
    low, high = (float(value) for value in torch.aminmax(part))  # NaN comes through both
    if not (math.isfinite(low) and math.isfinite(high)):
        raise LotusError(
            f"{header.path} holds NaN or infinite weights ({name}): download it again or train on from an earlier one."
        )
    if max(-low, high) > torch.finfo(dtype).max:
        raise LotusError(f"{header.path} holds weights too large for {dtype} ({name}): load it with dtype float32.")
