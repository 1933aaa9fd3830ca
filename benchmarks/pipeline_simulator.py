"""What `lotus batch` costs on other hardware: a simulation of its pipeline, fed with measured stage times.

    python -m benchmarks.pipeline_simulator check      # simulated against measured: one process, and two Ray workers
    python -m benchmarks.pipeline_simulator cost       # images a second and per euro by hardware class

Photos pass through queues: disk and network (bytes a second, shared by all machines), the cores of their machine
(decoding, encoding), the accelerator of their worker (or, without one, cores for the network as well). As in the
program, a worker has only so many photos in flight.

`cost` extrapolates: the arithmetic of one depth map of a released checkpoint at 768×768 is counted (not computed), and
an accelerator is taken to reach `UTILISATION` of its published dense float16 peak. Nothing in that table but the
time of reading and writing is measured. Prices are round figures of on-demand offers; set yours with --price.
"""

from __future__ import annotations

import argparse
import heapq
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

UTILISATION = 0.35  # of the published peak; a guess, on the careful side of what diffusers' networks reach in float16
EDGE = 768


@dataclass(frozen=True)
class Photo:
    """One photo's way: bytes in and out; seconds of a core for decoding and encoding; seconds of the network."""

    bytes_in: float
    bytes_out: float
    decode: float
    predict: float
    encode: float


@dataclass(frozen=True)
class Fleet:
    """machines × workers; accelerated: workers have a device of their own, else the network takes `threads` cores.

    disk, network: bytes a second, shared by all. in_flight: photos that a worker has begun and not finished.
    """

    machines: int = 1
    workers: int = 1
    cores: int = 2
    accelerated: bool = False
    threads: int = 1
    disk: float = 500e6
    network: float = float("inf")
    in_flight: int = 5


class Server:
    """A resource with `slots`, first come, first served."""

    def __init__(self, slots: int) -> None:
        self.free, self.queue = slots, deque[tuple[float, int, Callable[[], None]]]()


class Simulation:
    """Runs `count` photos through a fleet; `rate` is photos a second from the first begun to the last finished."""

    def __init__(self, photo: Photo, fleet: Fleet, count: int) -> None:
        self.photo, self.fleet, self.left, self.done = photo, fleet, count, 0
        self.now, self._number = 0.0, 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self.disk, self.network = Server(1), Server(1)
        for _ in range(fleet.machines):
            cores = Server(fleet.cores)
            for _ in range(fleet.workers):
                device = Server(1)
                for _ in range(fleet.in_flight):
                    self._begin(cores, device)
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.rate = self.done / self.now

    def _begin(self, cores: Server, device: Server) -> None:
        """The next photo, if there is one: a chain of (resource, slots, seconds)."""
        if self.left == 0:
            return
        self.left -= 1
        photo, fleet = self.photo, self.fleet
        steps: list[tuple[Server, int, float]] = [
            (self.disk, 1, photo.bytes_in / fleet.disk),
            (self.network, 1, photo.bytes_in / fleet.network),
            (cores, 1, photo.decode),
            (device, 1, -1.0),  # one photo at a time in a worker's network
            (cores, 1, photo.encode),
            (self.network, 1, photo.bytes_out / fleet.network),
            (self.disk, 1, photo.bytes_out / fleet.disk),
        ]
        self._step(steps, 0, cores, device)

    def _step(self, steps: list[tuple[Server, int, float]], at: int, cores: Server, device: Server) -> None:
        if at == len(steps):
            self.done += 1
            self._begin(cores, device)
            return
        server, slots, seconds = steps[at]

        def after() -> None:
            self._step(steps, at + 1, cores, device)

        if seconds >= 0:
            self._use(server, slots, seconds, after)
        elif self.fleet.accelerated:
            self._use(device, 1, self.photo.predict, after)
        else:  # hold the worker's network, and cores while it computes

            def compute(release: Callable[[], None]) -> None:
                def end() -> None:
                    release()
                    after()

                self._use(cores, self.fleet.threads, self.photo.predict, end)

            self._hold(device, compute)

    def _use(self, server: Server, slots: int, seconds: float, after: Callable[[], Any]) -> None:
        def run() -> None:
            server.free -= slots

            def end() -> None:
                server.free += slots
                self._serve(server)
                after()

            self._number += 1
            heapq.heappush(self._events, (self.now + seconds, self._number, end))

        server.queue.append((seconds, slots, run))
        self._serve(server)

    def _hold(self, server: Server, begin: Callable[[Callable[[], None]], None]) -> None:
        def run() -> None:
            server.free -= 1

            def release() -> None:
                server.free += 1
                self._serve(server)

            begin(release)

        server.queue.append((0.0, 1, run))
        self._serve(server)

    @staticmethod
    def _serve(server: Server) -> None:
        while server.queue and server.free >= server.queue[0][1]:
            server.queue.popleft()[2]()


# -- against measurements ----------------------------------------------------------------------------------------------


def check(count: int) -> str:
    """Stage times of one photo on one core, then whole runs of one process and of two Ray workers."""
    import torch

    from benchmarks.batch import entries, stage_seconds, write_photos
    from lotus_core.batch.local import load_predictors
    from lotus_core.batch.settings import Settings

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder / "photos", count, 0, (512, 512))
        first = next(path for path in sorted((folder / "photos").rglob("*.png")))
        (folder / "stages" / ".lotus-batch/staging/stages").mkdir(parents=True)
        settings = Settings(res=256)
        read, predict, write = stage_seconds(str(first), folder / "stages", load_predictors(settings), settings)
        written = sum(p.stat().st_size for p in (folder / "stages").rglob("*.png")) / 5
        photo = Photo(first.stat().st_size, written, read, predict, write)
        argv = [sys.executable, "-m", "lotus_core", "batch", str(folder / "photos")]
        rates = {}
        for label, more in (("local", []), ("ray", ["--engine", "ray", "--workers", "2", "--chunk", "8"])):
            out = folder / label
            subprocess.run([*argv, str(out), "--res", "256", "--threads", "1", "--quiet", *more], check=True)
            at = sorted(entry[1] for entry in entries(out))
            skip = max(8, len(at) // 5)  # the run-in: models load, pools start
            rates[label] = (len(at) - 1 - skip) / (at[-1] - at[skip])
    fleets = {"local": Fleet(cores=2), "ray": Fleet(cores=2, workers=2)}
    lines = [
        f"Photos of 512×512, network at 256, one thread: read {read:.4f} s, predict {predict:.4f} s, write"
        f" {write:.4f} s.",
        "",
        "| run | measured, photos a second | simulated | error |",
        "|---|---|---|---|",
    ]
    for label, title in (("local", "one process, two cores"), ("ray", "two Ray workers, two cores")):
        simulated = Simulation(photo, fleets[label], count).rate
        lines.append(f"| {title} | {rates[label]:.2f} | {simulated:.2f} | {simulated / rates[label] - 1:+.0%} |")
    return "\n".join(lines)


# -- extrapolation -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hardware:
    """A machine to rent. tflops: published dense float16 peak of one device. price: euros an hour, with its cores."""

    name: str
    tflops: float
    cores: int
    price: float


CLASSES = (
    Hardware("NVIDIA T4", 65, 8, 0.55),
    Hardware("NVIDIA L4", 121, 8, 0.80),
    Hardware("NVIDIA A10G", 125, 8, 1.20),
    Hardware("NVIDIA RTX 4090", 165, 12, 0.60),
    Hardware("NVIDIA A100 80 GB", 312, 16, 2.60),
    Hardware("NVIDIA H100 SXM", 989, 16, 3.80),
)


def measured_photo() -> Photo:
    """Read a JPEG of 12 megapixels and write a depth map of its size, here: bytes, and seconds of a core."""
    import numpy as np
    from PIL import Image

    from benchmarks.bundled import PHOTO
    from lotus_core.images import load_image
    from lotus_core.maps import Depth

    with tempfile.TemporaryDirectory() as name:
        photo, map_ = Path(name) / "photo.jpg", Path(name) / "depth.png"
        with Image.open(PHOTO) as image:
            large = image.resize((4000, 3000), Image.Resampling.BICUBIC)
            smooth = image.convert("F").resize((4000, 3000), Image.Resampling.BILINEAR)
        large.save(photo, quality=92)
        depth = Depth(np.asarray(smooth) / np.float32(255), "disparity", None)
        read, write = seconds_of_a_core(lambda: load_image(photo)), seconds_of_a_core(lambda: depth.save(map_))
        return Photo(photo.stat().st_size, map_.stat().st_size, read, 0.0, write)


def seconds_of_a_core(work: Callable[[], object], times: int = 3) -> float:
    """The least of several runs."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def cost(prices: dict[str, float], read: float | None, write: float | None) -> str:
    """The table by hardware class, for one machine and for 16 on a shared disk; read, write: None to measure."""
    work = flops()
    found = measured_photo()
    source = replace(found, decode=read or found.decode, encode=write or found.encode)
    lines = [
        f"One depth map at {EDGE}×{EDGE}: {work / 1e12:.1f} Tflop; {UTILISATION:.0%} of the peak assumed; a core takes"
        f" {source.decode:.2f} s to read a photo of 12 megapixels ({source.bytes_in / 1e6:.1f} MB) and"
        f" {source.encode:.2f} s to write its map ({source.bytes_out / 1e6:.1f} MB).",
        "",
        "| machine | € an hour | images a second | images per € | 16 machines, 1 GB/s disk: images a second |",
        "|---|---|---|---|---|",
    ]
    for hardware in CLASSES:
        price = prices.get(hardware.name, hardware.price)
        predict = work / (hardware.tflops * 1e12 * UTILISATION)
        photo = replace(source, predict=predict)
        one = Fleet(cores=hardware.cores, accelerated=True, disk=1e9, in_flight=2 * hardware.cores + 1)
        rate = Simulation(photo, one, 400).rate
        many = Simulation(photo, replace(one, machines=16), 6400).rate
        lines.append(f"| {hardware.name} | {price:.2f} | {rate:.1f} | {rate * 3600 / price:,.0f} | {many:.0f} |")
    return "\n".join(lines)


def flops() -> float:
    """Of one depth map of a released Lotus-G checkpoint: encoder, one step, decoder; counted without computing."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.full_size import random_autoencoder, random_unet
    from lotus_core.model import TIMESTEP, task_embedding

    with torch.device("meta"), torch.no_grad():
        vae, unet = random_autoencoder(), random_unet("g", "depth")
        side = EDGE // 8
        counter = FlopCounterMode(display=False)
        with counter:
            vae.encode(torch.empty(1, 3, EDGE, EDGE))
            unet(
                torch.empty(1, 8, side, side),
                torch.tensor(TIMESTEP, device="meta"),
                encoder_hidden_states=torch.empty(1, 2, 1024),
                class_labels=task_embedding("annotation").to("meta"),
            )
            vae.decode(torch.empty(1, 4, side, side))
    return float(counter.get_total_flops())


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("check", "cost"))
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--price", action="append", default=[], metavar="NAME=EUR")
    parser.add_argument("--read", type=float, help="seconds of a core to read a photo (default: measured here)")
    parser.add_argument("--write", type=float, help="seconds of a core to write its map (default: measured here)")
    parser.add_argument("--report", type=Path)
    a = parser.parse_args(argv)
    start = time.perf_counter()
    if a.what == "check":
        text = check(a.count)
    else:
        text = cost({name: float(value) for name, _, value in (p.partition("=") for p in a.price)}, a.read, a.write)
    print(f"{text}\n\n({time.perf_counter() - start:.0f} s)")
    if a.report:
        with open(a.report, "a", encoding="utf-8") as file:
            file.write(f"\n## simulator: {a.what}\n\n`python -m benchmarks.pipeline_simulator {a.what}`\n\n{text}\n")


if __name__ == "__main__":
    main()
