"""Our nodes against ComfyUI's native Lotus, each in a real server of its own, on the same random full-size Lotus-D.

    python -m benchmarks.full_size WEIGHTS lotus-depth-d-v1-1.safetensors vae.safetensors
    python -m benchmarks.comfyui WEIGHTS WORK native        # measure one side …
    python -m benchmarks.comfyui WEIGHTS WORK nodes         # … ours in float32; each takes some minutes on a CPU
    python -m benchmarks.comfyui WEIGHTS WORK auto          # … and in the precision that Load Lotus takes by itself
    python -m benchmarks.comfyui WEIGHTS WORK interrupt     # how fast the cancel button works at full size
    python -m benchmarks.comfyui WEIGHTS WORK sequence      # 200 frames of 512² with the embedded checkpoint
    python -m benchmarks.comfyui WEIGHTS WORK report        # what was measured, as Markdown

Both sides get the same photo at a size that neither has to crop or pad, and the same random weights, float32 on the
CPU. The first prompt loads the models; the next ones get another photo each, so only the models are cached. Peak memory
is the server's VmHWM. The native graph is ComfyUI's own template. Figures lie in WORK/*.json, so that the parts can be
run one by one on a machine that is shared. Needs 9 GB of memory and the tests' extra (`pip install -e .[test]`).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.bundled import PHOTO
from tests.comfyui import graphs
from tests.comfyui.server.client import Finished
from tests.comfyui.server.running import Server, running_server

UNET, VAE = "lotus-depth-d-v1-1.safetensors", "vae.safetensors"
CLAMPED = 1e-4  # native clamps every channel before their mean, we the mean: compared are pixels that touch no limit
Graph = dict[str, dict[str, Any]]


def native_graph(photo: str) -> Graph:
    """ComfyUI's template lotus_depth_v1_1 without its savers."""
    return {
        "photo": _node("LoadImage", image=photo),
        "unet": _node("UNETLoader", unet_name=UNET, weight_dtype="default"),
        "vae": _node("VAELoader", vae_name=VAE),
        "encode": _node("VAEEncode", pixels=["photo", 0], vae=["vae", 0]),
        "prompt": _node("LotusConditioning"),
        "guider": _node("BasicGuider", model=["unet", 0], conditioning=["prompt", 0]),
        "noise": _node("DisableNoise"),
        "sampler": _node("KSamplerSelect", sampler_name="euler"),
        "schedule": _node("BasicScheduler", model=["unet", 0], scheduler="normal", steps=1, denoise=1.0),
        "sigma": _node("SetFirstSigma", sigmas=["schedule", 0], sigma=999.0000000000002),
        "sample": _node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["sampler", 0],
            sigmas=["sigma", 0],
            latent_image=["encode", 0],
        ),
        "decode": _node("VAEDecode", samples=["sample", 0], vae=["vae", 0]),
        "map": _node("ImageInvert", image=["decode", 0]),
        "save": graphs.save("map", 0, "map"),
    }


def our_graph(photo: str, precision: str = "fp32") -> Graph:
    """Photo, Load Lotus, Lotus Depth."""
    return {
        "photo": _node("LoadImage", image=photo),
        "model": graphs.load(f"diffusion_models/{UNET}", precision=precision),
        "map": graphs.depth("model", "photo", resolution=-1),
        "save": graphs.save("map", 0, "map"),
    }


GRAPHS = {"native": native_graph, "nodes": our_graph, "auto": partial(our_graph, precision="auto")}


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def wired(graph: Graph) -> int:
    """Nodes between the photo and the map, which the user places and connects."""
    return len(graph.keys() - {"photo", "save"})


@contextmanager
def server_with(weights: Path, work: Path, name: str) -> Iterator[Server]:
    """A server that uses all cores and finds the full-size weights."""
    base = work / name
    for folder, file in (("diffusion_models", UNET), ("vae", VAE)):
        link = base / "models" / folder / file
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to((weights / file).resolve())
    threads = str(len(os.sched_getaffinity(0)))
    with running_server(base, environment={"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}) as server:
        yield server


def put_photo(server: Server, height: int, width: int, turn: int) -> str:
    """The demo's photo at a size, rolled sideways by `turn` so that nothing of it is cached."""
    with Image.open(PHOTO) as image:
        pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))
    Image.fromarray(np.roll(pixels, 16 * turn, axis=1)).save(server.base / "input" / f"photo{turn}.png")
    return f"photo{turn}.png"


def seconds_of(finished: Finished) -> float:
    """From the prompt's start to its end, as the server says."""
    graphs.must_succeed(finished)
    at = {kind: moment for moment, kind, _ in reversed(finished.messages)}
    return at["execution_success"] - at["execution_start"]


def peak_bytes(server: Server) -> int:
    """The most that the server's process has held so far."""
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024


def side(name: str, weights: Path, work: Path, size: tuple[int, int], rounds: int) -> dict[str, Any]:
    """Times and memory of one side; its map of the first photo goes to WORK/<name>.npy."""
    with server_with(weights, work, name) as server:
        seconds, busy = [], []
        process = psutil.Process(server.process.pid)
        for turn in range(rounds + 1):
            graph = GRAPHS[name](put_photo(server, *size, turn))
            before = sum(process.cpu_times()[:2])
            seconds.append(seconds_of(server.client.run(graph, timeout=1200)))
            busy.append(sum(process.cpu_times()[:2]) - before)
            print(f"{name}, prompt {turn}: {seconds[-1]:.1f} s, {busy[-1]:.1f} s of a core", flush=True)
            if turn == 0:
                np.save(work / f"{name}.npy", graphs.saved(server.base, "map")["tensor"][0])
        return {
            "first": seconds[0],
            "next": min(seconds[1:], default=None),
            "next_cpu": min(busy[1:], default=None),
            "peak": peak_bytes(server),
            "wired": wired(graph),
            "size": list(size),
        }


def interrupt(weights: Path, work: Path, size: tuple[int, int]) -> dict[str, Any]:
    """Seconds from the cancel button to the server's answer, at several moments of a prediction."""
    waited = []
    with server_with(weights, work, "interrupt") as server:
        server.client.run(our_graph(put_photo(server, *size, 0)), timeout=1200)
        for turn, after in enumerate((1.0, 5.0, 12.0, 20.0), start=1):
            asked: list[float] = []

            def press(kind: str, data: dict[str, Any], after: float = after, asked: list[float] = asked) -> None:
                if kind == "executing" and data["node"] == "map" and not asked:
                    time.sleep(after)
                    asked.append(time.monotonic())
                    server.client.post("/interrupt", {})

            finished = server.client.run(our_graph(put_photo(server, *size, turn)), timeout=1200, on_message=press)
            moment, kind, _ = finished.messages[-1]
            waited.append({"after": after, "seconds": moment - asked[0], "ended": kind})
            print(waited[-1], flush=True)
    return {"waited": waited, "size": list(size)}


def sequence(work: Path, frames: int = 200) -> dict[str, Any]:
    """Memory of the server while it predicts a batch."""
    held: list[tuple[int, int]] = []
    with running_server(work / "sequence", environment={"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}) as server:
        picture = np.asarray(Image.open(PHOTO).convert("RGB").resize((512, 512)), np.float32) / 255
        np.save(server.base / "input" / "frame.npy", picture[None])
        graph = {
            "model": graphs.load(),
            "photo": graphs.image("frame.npy", copies=frames),
            "map": graphs.depth("model", "photo", shared_noise=False),
            "save": graphs.save("map", 1, "sequence"),
        }
        process = psutil.Process(server.process.pid)

        def watch(kind: str, data: dict[str, Any]) -> None:
            if kind == "progress" and data["node"] == "map":
                held.append((round(data["value"] / data["max"] * frames), process.memory_info().rss))

        seconds = seconds_of(server.client.run(graph, timeout=3000, on_message=watch))
    over = [memory for frame, memory in held if frame >= 1]
    return {"frames": frames, "seconds": seconds, "after_first": over[0], "largest": max(over), "last": over[-1]}


def _compared(work: Path, found: dict[str, Any], ours: list[str]) -> list[str]:
    """Ours against native: a table, and how far the maps are apart."""
    native = found["native"]
    height, width = native["size"]
    words = {"nodes": "ours, float32", "auto": "ours, precision auto"}
    head = "".join(f" {words[name]} | ratio |" for name in ours)
    lines = [f"{width}×{height}:", "", f"| | native, float32 |{head}", "|---" * (2 + 2 * len(ours)) + "|"]
    for row, key, unit in (
        ("seconds of the first prompt, loading included", "first", 1.0),
        ("seconds of another photo", "next", 1.0),
        ("the same in seconds of a core, which other programs disturb less", "next_cpu", 1.0),
        ("peak memory of the server, GB", "peak", 1e9),
        ("nodes between photo and map", "wired", 1),
    ):
        cells = "".join(f" {found[name][key] / unit:.3g} | {found[name][key] / native[key]:.2f} |" for name in ours)
        lines.append(f"| {row} | {native[key] / unit:.3g} |{cells}")
    theirs = np.load(work / "native.npy")
    inside = ((theirs > CLAMPED) & (theirs < 1 - CLAMPED)).all(axis=2)
    for name in ours:
        mine = np.load(work / f"{name}.npy")
        apart = np.abs(theirs.mean(axis=2) - mine[..., 0])[inside]
        lines += [
            "",
            f"Map of {words[name]}, against native's: they differ by at most {apart.max():.1e} (mean"
            f" {apart.mean():.1e}, of a range of {np.ptp(mine):.2f}), on the {inside.mean():.1%} of the pixels where"
            " native's touches neither 0 nor 1 in any channel.",
        ]
    return lines


def report(work: Path) -> str:
    """All that was measured."""
    found = {path.stem: json.loads(path.read_text()) for path in work.glob("*.json")}
    lines: list[str] = []
    ours = [name for name in ("nodes", "auto") if name in found]
    if "native" in found and ours:
        lines += _compared(work, found, ours)
    if "interrupt" in found:
        waited = ", ".join(f"{w['seconds']:.2f} s ({w['after']:g} s in)" for w in found["interrupt"]["waited"])
        lines += ["", f"From the cancel button to the server's answer, full size: {waited}."]
    if "sequence" in found:
        s = found["sequence"]
        lines += [
            "",
            f"{s['frames']} frames of 512² with the embedded checkpoint, {s['seconds']:.0f} s. Memory of the server,"
            f" results included: {s['after_first'] / 1e6:.0f} MB after the first frame, at most"
            f" {s['largest'] / 1e6:.0f} MB, {s['last'] / 1e6:.0f} MB at the end.",
        ]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("what", choices=(*GRAPHS, "interrupt", "sequence", "report"))
    parser.add_argument("--size", type=int, nargs=2, default=(512, 512), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=2, help="prompts after the first")
    a = parser.parse_args(argv)
    a.work.mkdir(parents=True, exist_ok=True)
    if a.what == "report":
        print(report(a.work))
        return
    size = tuple(a.size)
    if a.what == "interrupt":
        found = interrupt(a.weights, a.work, size)
    elif a.what == "sequence":
        found = sequence(a.work)
    else:
        found = side(a.what, a.weights, a.work, size, a.rounds)
    (a.work / f"{a.what}.json").write_text(json.dumps(found, indent=1))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
