"""Loading at full size: seconds from nothing to the first map, and memory, beside `from_pretrained`.

    python -m benchmarks.loading DIR [--size 256] [--rounds 2] [--only NAME ...] [--report FILE]    # 14 GB of disk

Weights are random, in the exact layouts of the released ones (`benchmarks.full_size`); DIR takes them. The plain
composition reads the folder with `from_pretrained`: U-Net, autoencoder, text encoder and tokenizer, as the original
code does. Each way to load runs in a process of its own, imports done before the clock starts, files in the file cache:
neither imports nor disks are compared. Models are loaded as `lotus predict` does, folded. `python -m benchmarks.parity`
compares the numbers. Needs 9 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import lotus_core as lotus
from benchmarks.full_size import write_folder
from benchmarks.parity import photo
from benchmarks.plain import compose, from_pretrained, latent_noise
from lotus_core.checkpoints.convert import convert

FOLDER = "lotus-depth-g-v2-1-disparity"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Way:
    """What is loaded (a file of DIR), in which precision; None: by from_pretrained."""

    words: str
    source: str = FOLDER
    dtype: str | None = None
    autocast: bool = False  # of from_pretrained's map
    fresh: bool = False  # the prompt is not in the cache yet


WAYS = {
    "plain": Way("`from_pretrained`, float32"),
    "plain-autocast": Way("`from_pretrained`, map under autocast to bfloat16", autocast=True),
    "folder-fp32": Way("the folder, to float32", dtype="fp32"),
    "ours-fp32": Way("our file of float32, to float32", "fp32.safetensors", "fp32"),
    "folder-bf16-first": Way("the folder, to bfloat16, the first time (computes the prompt)", dtype="bf16", fresh=True),
    "folder-bf16": Way("the folder, to bfloat16", dtype="bf16"),
    "fp16-bf16": Way("our file of float16, to bfloat16", "fp16.safetensors", "bf16"),
    "ours-bf16": Way("our file of bfloat16, to bfloat16", "bf16.safetensors", "bf16"),
}


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--size", type=int, default=256, help="pixels along the edge of the square picture")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--prepare", action="store_true", help="make the files of DIR and stop")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)  # in the process of one way
    a = parser.parse_args(argv)
    if a.measure:
        print(json.dumps(measure(WAYS[a.measure], a.folder, a.size)))
        return
    prepare(a.folder, {WAYS[name].source for name in a.only})
    if a.prepare:
        return
    table = cost(a.folder, a.only, a.size, a.rounds)
    print(table)
    if a.report:
        with a.report.open("a", encoding="utf-8") as file:
            file.write(table + "\n")


def prepare(folder: Path, names: set[str]) -> None:
    """Make what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    official = folder / FOLDER
    if not official.exists():
        write_folder(official, "g", "depth")
    for name in names - {FOLDER}:
        if not (folder / name).exists():
            convert(str(official), folder / name, dtype=DTYPES[name.removesuffix(".safetensors")])


def cost(folder: Path, names: list[str], size: int, rounds: int) -> str:
    """A Markdown table: each way alternately, least of the rounds."""
    cache = folder / "cache"
    least: dict[str, dict[str, float]] = {}
    for number in range(rounds):
        for name in names:
            way = WAYS[name]
            if way.fresh:
                shutil.rmtree(cache, ignore_errors=True)
            for file in [*(folder / way.source).rglob("*"), folder / way.source]:
                if file.is_file():
                    with file.open("rb") as stream:
                        while stream.read(1 << 24):
                            pass
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.loading", str(folder), "--measure", name, "--size", str(size)],
                env={**os.environ, "LOTUS_CACHE": str(cache)}, check=True, capture_output=True, text=True,
            )  # fmt: skip
            found = json.loads(done.stdout.splitlines()[-1])
            print(number, name, {key: round(value, 2) for key, value in found.items()}, flush=True)
            before = least.get(name, found)
            least[name] = {key: min(before[key], found[key]) for key in found}
    rows = []
    base = least[names[0]]
    for name, found in least.items():
        parts = [found["load"], found["first"], found["first"] - found["later"], found["later"]]
        bases = [base["load"], base["first"], base["first"] - base["later"], base["later"]]
        cells = (f"{part:.2f} ({part / own:.2f})" for part, own in zip(parts, bases, strict=True))
        memory = f"{found['peak_load'] / found['weights']:.2f} | {found['peak'] / found['weights']:.2f}"
        rows.append(f"| {WAYS[name].words} | {' | '.join(cells)} | {memory} |")
    return "\n".join(
        [
            f"{size}×{size}, {torch.get_num_threads()} threads, torch {torch.__version__}",
            "",
            f"| seconds (÷ {WAYS[names[0]].words}) | load | load to first map | of it beyond a later map |"
            " a later map | peak memory while loading ÷ weights | to the first map ÷ weights |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def measure(way: Way, folder: Path, size: int) -> dict[str, float]:
    """Seconds and bytes of loading and predicting in this process, imports not counted."""
    import diffusers.models.unets.unet_2d_condition  # noqa: F401
    import transformers  # noqa: F401
    from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401
    from transformers import CLIPTextModel, CLIPTokenizer  # noqa: F401

    import lotus_core.predict  # noqa: F401

    before = _resident()
    _forget_peak()
    start = time.perf_counter()
    predict, weights = _load(way, folder / way.source, size)
    loaded = time.perf_counter() - start
    peak_load = _resident("VmHWM") - before
    predict()
    first = time.perf_counter() - start
    peak = _resident("VmHWM") - before
    start = time.perf_counter()
    predict()
    later = time.perf_counter() - start
    return {
        "load": loaded, "first": first, "later": later, "peak_load": peak_load, "peak": peak, "weights": weights
    }  # fmt: skip


def _load(way: Way, source: Path, size: int) -> tuple[Callable[[], object], int]:
    """What makes one map, and the bytes of the weights of U-Net and autoencoder as they were stored for it."""
    if way.dtype is None:
        unet, vae, prompt = from_pretrained(source)
        image = torch.from_numpy(photo(size)).permute(2, 0, 1)[None] * 2 - 1

        def plain() -> Any:
            with torch.autocast("cpu", torch.bfloat16, enabled=way.autocast):
                return compose(unet, vae, prompt, image, latent_noise(image))

        return plain, _bytes(unet) + _bytes(vae)
    model = lotus.load_model(source, "cpu", way.dtype, fold=True)
    predictor = lotus.LotusPredictor(model)
    numbers = 867_568_324 + 83_653_863  # of U-Net and autoencoder; folding has made them fewer
    return lambda: predictor.depth(photo(size), resolution=0), numbers * DTYPES[way.dtype].itemsize


def _bytes(network: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in network.state_dict().values())


def _resident(what: str = "VmRSS") -> int:
    """Bytes that this process has in memory, mapped files included; "VmHWM": the most since `_forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
