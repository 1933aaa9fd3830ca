"""Tensors of a safetensors file: used where they lie in the mapped file if that is possible, else read to their place.

The header is read and checked before (`header`).
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from ..errors import LotusError
from ..precision import extremes
from .header import Header

ALIGNMENT = 64  # bytes: torch's allocator begins every tensor at a multiple of it
MAP_FROM = 64 << 20  # bytes of tensors; fewer are read, so that small files are neither locked (Windows) nor relied on
CHUNK = 1 << 20  # bytes: what is copied is checked and converted while it is in the processor's cache
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
    *,
    channels_last: bool = False,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (new name, tensor on `device` in `dtype`) for every {name in the file: new name}, in the file's order.

    Large files are mapped. A tensor that is stored in `dtype`, for the CPU, at a multiple of ALIGNMENT, *is* that part
    of the file: nothing is copied, its pages come from the disk when they are first used, and writing to it changes
    memory alone. All others are copied once, in pieces, to memory of their own: matrix products start at the first
    aligned number and would sum in another order from another place, so that a result would depend, by 1e-6, on the
    file that its weights came in.

    The file must not be cut short while the tensors are in use, which ends the process (SIGBUS). Replacing it by
    another one does no harm.

    Args:
        shapes: of new names whose tensor is stored in another shape of as many numbers.
        channels_last: copy the kernels of convolutions, and in that order of numbers, in which a folded model wants
            them (`LotusModel.fold`).

    Raises LotusError for unreadable data and, of what is copied, for NaN or infinite values. What is used in place is
    not read here: `precision.not_finite` finds those.
    """
    order = sorted(names, key=lambda name: header.tensors[name].begin)
    unread = next((name for name in order if header.tensors[name].dtype not in TORCH_DTYPES), None)
    if unread is not None:
        kind = header.tensors[unread].dtype
        raise LotusError(f"{header.path} holds {unread} as {kind}, which Lotus does not read: convert the file.")
    if not order:
        return
    data = _Data.of(header, header.tensors[order[0]].begin, header.tensors[order[-1]].end)

    def read(stored: str) -> torch.Tensor:
        shape = (shapes or {}).get(names[stored], header.shape(stored))
        return _tensor(data, header, stored, shape, device, dtype, channels_last)

    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
        try:
            for stored, tensor in zip(order, pool.map(read, order), strict=True):
                yield names[stored], tensor
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Data:
    """Bytes of a file from `begin` on; mapped, or read."""

    bytes: mmap.mmap | bytearray
    begin: int

    @classmethod
    def of(cls, header: Header, begin: int, end: int) -> _Data:
        """Those of the tensors' data from `begin` to `end`. Raises LotusError where they are not there."""
        begin, end = header.data_begin + begin, header.data_begin + end
        try:
            with header.path.open("rb") as file:
                if end - begin >= MAP_FROM:
                    return cls(_mapped(file.fileno(), begin, end), 0)
                file.seek(begin)
                content = bytearray(end - begin)
                if file.readinto(content) == len(content):
                    return cls(content, begin)
        except ValueError:  # of mmap, for more bytes than the file has
            pass
        except OSError as error:
            reason = error.strerror or str(error)
            raise LotusError(f"{header.path} cannot be read ({reason}): download or copy it again.") from None
        raise LotusError(f"{header.path} became shorter while it was read: download or copy it again.")

    @property
    def mapped(self) -> bool:
        return isinstance(self.bytes, mmap.mmap)

    def at(self, place: int, numbers: int, dtype: torch.dtype) -> torch.Tensor:
        """Numbers at a place in the file, flat, nothing copied."""
        return torch.frombuffer(self.bytes, dtype=dtype, count=numbers, offset=place - self.begin)

    def forget(self, begin: int, end: int) -> None:
        """Take a part of the file out of the process's resident memory: it was copied."""
        if isinstance(self.bytes, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            begin, end = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
            if begin < end:
                self.bytes.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def _mapped(file: int, begin: int, end: int) -> mmap.mmap:
    """A file up to `end`, of which what lies behind `begin` will be used."""
    mapped = mmap.mmap(file, end, access=mmap.ACCESS_COPY)
    if hasattr(mmap, "MADV_WILLNEED"):  # disks then read ahead, while pages are asked for one by one
        begin -= begin % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, begin, end - begin)
    return mapped


def _tensor(
    data: _Data,
    header: Header,
    name: str,
    shape: tuple[int, ...],
    device: torch.device,
    dtype: torch.dtype,
    channels_last: bool,
) -> torch.Tensor:
    entry = header.tensors[name]
    stored, numbers, place = TORCH_DTYPES[entry.dtype], math.prod(shape), header.data_begin + entry.begin
    if not numbers:
        return torch.empty(shape, dtype=dtype, device=device)
    kernel = len(shape) == 4
    found = data.at(place, numbers, stored)
    found = found.view(entry.shape).permute(0, 3, 1, 2) if kernel and header.channels_last else found.view(shape)
    ordered = not kernel or channels_last == header.channels_last
    if data.mapped and stored == dtype and device.type == "cpu" and place % ALIGNMENT == 0 and ordered:
        return found
    order = torch.channels_last if kernel and channels_last else torch.contiguous_format
    result = torch.empty(shape, dtype=dtype, device=device, memory_format=order)
    rows = max(1, CHUNK * len(found) // (entry.end - entry.begin)) if shape else 1
    for part, target in zip(found.split(rows), result.split(rows), strict=True) if shape else [(found, result)]:
        _check_finite(part, dtype, name, header)
        if (part.dtype, dtype) == (torch.float16, torch.bfloat16) and part.stride() == target.stride():
            part = part.float()  # the same rounding; from one half to the other takes torch six times as long
        target.copy_(part)
    data.forget(place, place + entry.end - entry.begin)
    return result


def _check_finite(part: torch.Tensor, dtype: torch.dtype, name: str, header: Header) -> None:
    """Raise LotusError unless all of `part` are numbers, and numbers that `dtype` can hold."""
    if not part.is_floating_point():
        return
    low, high = extremes(part)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise LotusError(
            f"{header.path} holds NaN or infinite weights ({name}): download it again or train on from an earlier one."
        )
    if max(-low, high) > torch.finfo(dtype).max:
        raise LotusError(f"{header.path} holds weights too large for {dtype} ({name}): load it in float32.")
