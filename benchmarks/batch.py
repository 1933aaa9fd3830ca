"""What `lotus batch` promises, at full length: kills, overlap, memory, two Ray workers.

    python -m benchmarks.batch kills --count 500     # ten SIGKILLs at random moments; every byte against a calm run
    python -m benchmarks.batch overlap               # files a second against the model alone, 512² photos
    python -m benchmarks.batch memory --count 2000   # resident memory over a long run
    python -m benchmarks.batch ray --count 100       # two workers, one killed at work; every byte against a local run

`kills`, `memory` and `ray` use a network of a few thousand random weights, since what they test is around it; `overlap`
uses `lotus-tiny-depth-g` at 512 pixels. All on the CPU. `--report FILE` adds the result to a Markdown file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SUFFIXES = ("jpg", "png", "tif", "webp", "bmp")
DAMAGED = (b"", b"not a picture", b"\xff\xd8\xff\xe0cut off", b"\x89PNG\r\n\x1a\n")


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kills", "overlap", "memory", "ray"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--report", type=Path)
    a = parser.parse_args(argv)
    made: dict[str, tuple[Callable[[Path, int], str], int]] = {
        "kills": (kills, 500),
        "overlap": (overlap, 24),
        "memory": (memory, 2000),
        "ray": (ray, 100),
    }
    function, count = made[a.what]
    with tempfile.TemporaryDirectory() as folder:
        text = function(Path(folder), a.count or count)
    print(text)
    if a.report:
        with open(a.report, "a", encoding="utf-8") as file:
            file.write(f"\n## {a.what}\n\n`python -m benchmarks.batch {a.what} --count {a.count or count}`\n\n{text}\n")


def kills(folder: Path, count: int, times: int = 10) -> str:
    """`times` SIGKILLs, evenly over the journal and then up to 50 ms later."""
    write_photos(folder / "photos", count, broken=10)
    model, rng = small_model(folder), random.Random(0)
    calm, out = folder / "calm", folder / "out"
    subprocess.run(command(folder / "photos", calm, model), capture_output=True, check=False)
    argv, done, left_half = command(folder / "photos", out, model), [], 0
    for number in range(times):
        target = (number + 1) * count // (times + 2)
        with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and finished(out) < target:
                time.sleep(0.01)
            time.sleep(rng.random() * 0.05)
            process.send_signal(signal.SIGKILL)
        done.append(len(entries(out)))
        left_half += sum(not whole(path) for path in out.rglob("*.png") if ".lotus-batch" not in path.parts)
    code = subprocess.run(argv, capture_output=True, check=False).returncode
    keys = [entry[0] for entry in entries(out)]
    rows = {
        "files, of them broken": f"{count}, 10",
        "finished when killed": ", ".join(map(str, done)),
        "half-written files found after a kill": left_half,
        "exit code of the last run": code,
        "files that differ from the calm run": differing(calm, out),
        "manifest the same, byte for byte": manifest_bytes(calm) == manifest_bytes(out),
        "files in the journal, of them twice": f"{len(keys)}, {len(keys) - len(set(keys))}",
    }
    return table(rows)


def overlap(folder: Path, count: int) -> str:
    """Rate of the whole pipeline against that of the model on pictures in memory, alternately, least of three."""
    import torch

    import lotus_core as lotus
    from lotus_core.batch.items import find_items
    from lotus_core.batch.local import load_predictors
    from lotus_core.batch.manifest import Record
    from lotus_core.batch.pipeline import Limits, process_stills
    from lotus_core.batch.settings import Settings
    from lotus_core.images import load_image

    write_photos(folder / "photos", count, 0, (512, 512))
    items, _ = find_items(str(folder / "photos"), folder / "out")
    settings = Settings(res=512)
    predictors = load_predictors(settings)
    images = [load_image(item.files[0]) for item in items]
    predictors.predict(images[0])
    alone, pipeline = [], []
    with Record(folder / "out", settings) as record:
        for _ in range(3):
            start = time.perf_counter()
            for image in images:
                predictors.predict(image)
            alone.append(time.perf_counter() - start)
            start = time.perf_counter()
            for _ in process_stills(items, lambda: predictors, settings, record.staging, Limits.of()):
                pass
            pipeline.append(time.perf_counter() - start)
    stages = stage_seconds(items[0].files[0], folder / "out", predictors, settings)
    rows = {
        "photos of 512×512, network at 512": count,
        "model alone, seconds a photo": f"{min(alone) / count:.3f}",
        "read, predict and write, seconds a photo": f"{min(pipeline) / count:.3f}",
        "throughput of the pipeline × the model's": f"{min(alone) / min(pipeline):.3f}",
        "one after the other it would be": f"{stages[1] / sum(stages):.3f}",
        "read, predict, write on their own, seconds": ", ".join(f"{value:.3f}" for value in stages),
        "torch threads": torch.get_num_threads(),
        "version": lotus.__version__,
    }
    return table(rows)


def stage_seconds(file: str, folder: Path, predictors: Any, settings: Any, rounds: int = 5) -> tuple[float, ...]:
    """Least seconds of reading, predicting and writing one photo."""
    from lotus_core.batch.items import Item
    from lotus_core.batch.pipeline import read_still
    from lotus_core.batch.sinks import write_still

    item, seconds = Item("photo", "still", (file,), "photo"), []
    for _ in range(rounds):
        start = time.perf_counter()
        read = read_still(item, settings)
        after_read = time.perf_counter()
        maps = predictors.predict(read.image)
        after_model = time.perf_counter()
        write_still(maps, read.image, item, read.stamp, read.facts, folder / ".lotus-batch/staging/stages", settings)
        seconds.append((after_read - start, after_model - after_read, time.perf_counter() - after_model))
    return tuple(min(column) for column in zip(*seconds, strict=True))


def memory(folder: Path, count: int) -> str:
    """Resident memory of one process, read after every 50 files."""
    write_photos(folder / "photos", count, 0, (256, 192))
    out, samples = folder / "out", []
    with subprocess.Popen(command(folder / "photos", out, small_model(folder))) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            if finished(out) >= 50 * (len(samples) + 1):
                text = status.read_text()
                samples.append(int(text.split("VmRSS:")[1].split()[0]) / 1024)
            time.sleep(0.01)
    first, second = samples[: len(samples) // 2], samples[len(samples) // 2 :]
    rows = {
        "photos of 256×192": count,
        "resident memory after 50 files, MiB": f"{samples[0]:.0f}",
        "mean of the first half, MiB": f"{np.mean(first):.0f}",
        "mean of the second half, MiB": f"{np.mean(second):.0f}",
        "most, MiB": f"{max(samples):.0f}",
        "growth by a straight line through the second half, KiB a file": f"{slope(second) * 1024 / 50:.2f}",
    }
    return table(rows)


def ray(folder: Path, count: int, chunk: int = 10) -> str:
    """Two workers; one is killed when a third of the files is done."""
    write_photos(folder / "photos", count, broken=4, size=(256, 192))
    model = small_model(folder)
    local, out = folder / "local", folder / "ray"
    subprocess.run(command(folder / "photos", local, model), capture_output=True, check=False)
    killed: list[str] = []

    def kill() -> None:
        while finished(out) < count // 3:
            time.sleep(0.01)
        begun = sorted((out / ".lotus-batch" / "attempts").iterdir(), key=lambda path: path.stat().st_mtime)
        worker = json.loads(begun[-1].read_text().splitlines()[0])["worker"]
        os.kill(worker, signal.SIGKILL)
        killed.append(begun[-1].name)

    threading.Thread(target=kill, daemon=True).start()
    argv = [*command(folder / "photos", out, model), "--engine", "ray", "--workers", "2", "--chunk", str(chunk)]
    start = time.perf_counter()
    code = subprocess.run(argv, capture_output=True, check=False).returncode
    seconds = time.perf_counter() - start
    at = sorted(entry[1] for entry in entries(out))
    begun = {p.name: p.read_text().splitlines() for p in (out / ".lotus-batch" / "attempts").iterdir()}
    keys = [entry[0] for entry in entries(out)]
    rows = {
        "files, of them broken": f"{count}, 4",
        "exit code": code,
        "files that differ from the local run": differing(local, out),
        "manifest the same, byte for byte": manifest_bytes(local) == manifest_bytes(out),
        "chunks of 10, of them begun more than once": f"{len(begun)}, {sum(len(n) > 1 for n in begun.values())}",
        "the chunk of the killed worker is the one": [n for n, lines in begun.items() if len(lines) > 1] == killed,
        "files in the journal, of them twice": f"{len(keys)}, {len(keys) - len(set(keys))}",
        "seconds, of them until the first file (Ray and its workers start)": f"{seconds:.1f}, "
        f"{seconds - (at[-1] - at[0]):.1f}",
    }
    return table(rows)


# -- what they share ---------------------------------------------------------------------------------------------------


def write_photos(folder: Path, count: int, broken: int, size: tuple[int, int] = (96, 64)) -> None:
    """`count` mixed files in a few folders, `broken` of them, evenly spread, unreadable."""
    rng = np.random.default_rng(0)
    bad = {round((number + 0.5) * count / broken) for number in range(broken)}
    for number in range(count):
        path = folder / f"roll{number % 7}" / f"photo{number:05d}.{SUFFIXES[number % len(SUFFIXES)]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number in bad:
            path.write_bytes(DAMAGED[number % len(DAMAGED)])
        else:
            small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path)


def small_model(folder: Path) -> str:
    """A checkpoint with random weights, made by the tests."""
    from lotus_core.checkpoints import save_model
    from tests.core.models import tiny_model

    path = folder / "small.safetensors"
    save_model(tiny_model(), path)
    return str(path)


def command(source: Path, out: Path, model: str) -> list[str]:
    argv = [sys.executable, "-m", "lotus_core", "batch", str(source), str(out), "--model", model]
    return [*argv, "--threads", "1", "--quiet"]


def entries(out: Path) -> list[tuple[str, float]]:
    """(key, time) of every finished or failed item in the journals."""
    found = []
    for path in (out / ".lotus-batch").glob("journal*.jsonl"):
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            entry = json.loads(line)
            if "run" not in entry:
                found.append((entry.get("done", entry.get("failed")), entry["at"]))
    return found


def finished(out: Path) -> int:
    """How many lines of the journals are about items; quick, for it is asked often."""
    return sum(path.read_bytes().count(b'"at": ') for path in (out / ".lotus-batch").glob("journal*.jsonl"))


def differing(a: Path, b: Path) -> int:
    """How many result files are not the same in both folders."""
    one, two = ({p.relative_to(f): digest(p) for p in results(f)} for f in (a, b))
    return sum(one.get(path) != two.get(path) for path in one.keys() | two.keys())


def results(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and ".lotus-batch" not in path.parts]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest_bytes(folder: Path) -> bytes:
    return (folder / "lotus-batch.json").read_bytes()


def whole(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
    except OSError:
        return False
    return True


def slope(values: list[float]) -> float:
    return float(np.polyfit(np.arange(len(values)), values, 1)[0])


def table(rows: dict[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


if __name__ == "__main__":
    main()
