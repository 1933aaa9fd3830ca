"""Reading, predicting and writing at once: while the network works on one picture, the next are read and the last
are written by other threads."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, LotusError
from .blame import reason_of
from .items import Item
from .journal import Finished
from .reading import Stamp, load_picture, stamp
from .settings import Settings
from .sinks import Maps, write_still

if TYPE_CHECKING:
    from ..cli.predictors import Predictors
    from ..images import LoadedImage

_FALLBACK_MEMORY = 4 * 2**30  # bytes, where the system does not say
_WITH_MAPS = 2.5  # a picture with its maps (depth, normals, uncertainty) against the picture alone, bytes


@dataclass(frozen=True)
class Limits:
    """How much is in flight. threads: for reading, and as many for writing. bytes: of pictures and maps that wait."""

    threads: int
    bytes: int

    @classmethod
    def of(cls, threads: int | None = None, gibibytes: float | None = None) -> Limits:
        """Defaults: 2 to 4 threads; an eighth of the machine's memory, at most 4 GiB."""
        most = min(_physical_memory() // 8, 4 * 2**30)
        return cls(
            threads or max(2, min(4, (os.cpu_count() or 2) // 2)),
            most if gibibytes is None else int(gibibytes * 2**30),
        )


@dataclass
class Read:
    """A picture that was read, or why it could not be."""

    item: Item
    stamp: Stamp
    image: LoadedImage | None
    facts: dict[str, Any]
    reason: str | None = None

    @property
    def bytes(self) -> int:
        return 0 if self.image is None else self.image.rgb.nbytes


def process_stills(
    items: Iterable[Item],
    predictors: Callable[[], Predictors],
    settings: Settings,
    staging: Path,
    limits: Limits,
    cancel: Callable[[], bool] = lambda: False,
) -> Iterator[Finished]:
    """Predict stills in order; each comes back when its files are in `staging`, or with the reason why it failed.

    predictors: called once, when the first picture has been read: a folder of unreadable files needs no model.
    Raises CannotGoOn where a package is missing, LotusError where results cannot be written, and Cancelled.
    """
    waiting: deque[Future[Finished]] = deque()
    with (
        ThreadPoolExecutor(limits.threads, "read") as readers,
        ThreadPoolExecutor(limits.threads, "write") as writers,
    ):
        reading = read_ahead(items, settings, limits, readers)
        loaded: Predictors | None = None
        try:
            for read in reading:
                if cancel():
                    raise Cancelled
                if read.image is None:
                    failed: Future[Finished] = Future()
                    failed.set_result(Finished(read.item.key, read.stamp, reason=read.reason))
                    waiting.append(failed)
                else:
                    loaded = loaded or predictors()
                    waiting.append(_predicted(read, loaded, settings, staging, writers))
                while waiting and (waiting[0].done() or _too_much(waiting, read.bytes, limits)):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            reading.close()
            for left in waiting:
                left.cancel()


def _predicted(
    read: Read, predictors: Predictors, settings: Settings, staging: Path, writers: ThreadPoolExecutor
) -> Future[Finished]:
    assert read.image is not None
    start = time.perf_counter()
    try:
        maps = predictors.predict(read.image)
    except LotusError as error:
        failed: Future[Finished] = Future()
        failed.set_result(Finished(read.item.key, read.stamp, reason=reason_of(error)))
        return failed
    seconds = round(time.perf_counter() - start, 4)

    def write() -> Finished:
        assert read.image is not None
        facts = {**read.facts, "maps": describe_maps(predictors, maps)}
        finished = write_still(maps, read.image, read.item, read.stamp, facts, staging, settings)
        finished.trace = {"seconds": seconds, "worker": os.getpid()}
        return finished

    return writers.submit(write)


def describe_maps(predictors: Predictors, maps: Maps) -> dict[str, Any]:
    """What the maps mean and which model made them: the same on every machine."""
    from ..cli.predict import meaning

    table = {}
    for name, values in maps.items():
        described = predictors.describe(name)
        table[name] = {
            **meaning(values),
            **{key: described[key] for key in ("model", "variant", "resolution", "dtype")},
        }
    return table


def _too_much(waiting: deque[Future[Finished]], bytes_each: int, limits: Limits) -> bool:
    return len(waiting) > 1 and (
        len(waiting) > 2 * limits.threads or len(waiting) * bytes_each * _WITH_MAPS > limits.bytes // 2
    )


def read_ahead(
    items: Iterable[Item], settings: Settings, limits: Limits, readers: ThreadPoolExecutor
) -> Generator[Read, None, None]:
    """Pictures in order, read ahead within the limits: what is not read yet counts as the largest so far,
    and nothing is read ahead before the first."""
    source = iter(items)
    ahead: deque[Future[Read]] = deque()
    largest, exhausted = 0, False
    try:
        while True:
            while not exhausted and (
                not ahead
                or (largest and len(ahead) < 2 * limits.threads and (len(ahead) + 1) * largest <= limits.bytes // 2)
            ):
                item = next(source, None)
                if item is None:
                    exhausted = True
                else:
                    ahead.append(readers.submit(read_still, item, settings))
            if not ahead:
                return
            read = ahead.popleft().result()
            largest = max(largest, read.bytes)
            yield read
    finally:
        for left in ahead:
            left.cancel()


def read_still(item: Item, settings: Settings) -> Read:
    """Read one picture; a bad one comes back with its reason. Raises CannotGoOn where it is not to blame."""
    identity = stamp(item)
    try:
        image, facts = load_picture(item.files[0], settings.exposure)
    except LotusError as error:
        return Read(item, identity, None, {}, reason_of(error))
    return Read(item, identity, image, facts)


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return _FALLBACK_MEMORY
