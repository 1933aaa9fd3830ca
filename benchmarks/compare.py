"""Lotus against its plain composition, Marigold and Depth Anything V2: time, memory, FLOPs, share of the matrix peak.

    python -m benchmarks.compare run --methods plain lotus --sizes 256 512 --to compare.jsonl   # adds lines
    python -m benchmarks.compare show compare.jsonl --report benchmarks/compare.md --plot docs/pictures/speed.png

All networks have the released sizes and random weights (`benchmarks.methods`). On a CPU, seconds are CPU seconds of one
thread, which other work on a shared machine disturbs least, and the matrix peak is that of one thread; on CUDA they are
wall-clock seconds. Peak memory is the process's on a CPU, so only the first method of a call gets one: those below come
from a call for each method. Tiles only matter above their own size. Marigold's 50
steps × 10 are derived from the times of its encoder, one step, its decoder and its ensembling, each measured: a whole
run takes about an hour at 512×512. `--plot` needs `pip install ".[bench]"`.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.methods import METHODS, Method, precision
from lotus_core.measure import flop_counter, matmul_peak, peak_bytes, reset_peak, timed

WARM_UP = 128


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="measure")
    run.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=tuple(METHODS))
    run.add_argument("--sizes", nargs="+", type=int, default=(256, 512, 768))
    run.add_argument("--rounds", type=int, default=1)
    run.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    run.add_argument("--to", type=Path, required=True, help="JSON lines, one for each method and size")
    run.set_defaults(call=measure)
    show = commands.add_parser("show", help="table and picture of what was measured")
    show.add_argument("measured", type=Path)
    show.add_argument("--report", type=Path, help="Markdown file to write")
    show.add_argument("--plot", type=Path)
    show.set_defaults(call=present)
    a = parser.parse_args(argv)
    a.call(a)


def measure(a: argparse.Namespace) -> None:
    """One method after the other, so that each has the memory for itself."""
    device = torch.device(a.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    for name in a.methods:
        alone = device.type == "cuda" or name == a.methods[0]
        with torch.no_grad():
            method = METHODS[name](device)
            peak = _matmul_peak(device)
            for size in a.sizes:
                for entry in _costs(method, size, a.rounds, device, peak):
                    entry |= {} if alone else {"peak_bytes": None}
                    print(entry, flush=True)
                    with a.to.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(entry) + "\n")
        del method
        gc.collect()


def _matmul_peak(device: torch.device) -> float:
    if device.type == "cuda":
        return matmul_peak(device, precision(device))
    left, right = (torch.randn(2048, 2048).to(precision(device)) for _ in range(2))
    return 2 * 2048**3 / min(_seconds(lambda: left @ right, device) for _ in range(5))


def _seconds(call: Any, device: torch.device) -> float:
    if device.type == "cuda":
        return timed(call, device)
    start = time.process_time()
    call()
    return time.process_time() - start


def _costs(method: Method, size: int, rounds: int, device: torch.device, peak: float) -> list[dict[str, Any]]:
    photo = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    seconds: dict[str, float] = {}
    flops: dict[str, float] = {}
    memory: dict[str, int | None] = {}
    for name, run in method.runs.items():
        if size <= method.above.get(name, 0):
            continue
        run(photo[:WARM_UP, :WARM_UP])
        counter = flop_counter()
        reset_peak(device)
        call = partial(run, photo)
        with counter:
            first = _seconds(call, device)
        memory[name] = peak_bytes(device)
        flops[name] = counter.get_total_flops()
        # On a CPU the first run, with the counter's small cost, is one of the rounds.
        again = [_seconds(call, device) for _ in range(rounds - (device.type == "cpu"))]
        seconds[name] = min(again + ([first] if device.type == "cpu" else []))
    shown = {name: value for name, value in seconds.items() if name not in method.hidden} | method.derive(seconds)
    flops |= method.derive(flops)
    most = max((value for value in memory.values() if value is not None), default=None)
    return [
        {
            "method": name,
            "size": size,
            "seconds": value,
            "flops": flops[name],
            "peak_bytes": memory.get(name, most),
            "matmul_peak": peak,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, one thread",
            "dtype": str(precision(device)).removeprefix("torch."),
            "torch": torch.__version__,
        }
        for name, value in shown.items()
    ]


def present(a: argparse.Namespace) -> None:
    """A table for each size, and the plot."""
    entries = [json.loads(line) for line in a.measured.read_text(encoding="utf-8").splitlines()]
    found = {(entry["size"], entry["method"]): entry for entry in entries}  # the last of each counts
    tables = [_table(size, [entry for (at, _), entry in found.items() if at == size]) for size in _sizes(found)]
    first = entries[0]
    words = f"{first['device']}, {first['dtype']}, torch {first['torch']}, random weights of full size"
    text = f"{words}\n\n" + "\n\n".join(tables) + "\n"
    print(text)
    if a.report:
        a.report.write_text(f"# Depth estimators side by side\n\n{__doc__}\n{text}", encoding="utf-8")
    if a.plot:
        _plot(found, words, a.plot)


def _sizes(found: dict[tuple[int, str], dict[str, Any]]) -> list[int]:
    return sorted({size for size, _ in found})


def _table(size: int, entries: list[dict[str, Any]]) -> str:
    exact = next((entry["seconds"] for entry in entries if entry["method"] == "Lotus, exact"), None)
    lines = [
        f"| {size}×{size} | seconds | × exact | peak memory | TFLOP | of matrix peak |",
        "|---|---|---|---|---|---|",
    ]
    for entry in sorted(entries, key=lambda entry: entry["seconds"]):
        ratio = "" if exact is None else f"{entry['seconds'] / exact:.2f}"
        memory = "" if entry["peak_bytes"] is None else f"{entry['peak_bytes'] / 1e9:.1f} GB"
        share = entry["flops"] / entry["seconds"] / entry["matmul_peak"]
        lines.append(
            f"| {entry['method']} | {entry['seconds']:.2f} | {ratio} | {memory} | {entry['flops'] / 1e12:.2f} |"
            f" {100 * share:.0f} % |"
        )
    return "\n".join(lines)


def _plot(found: dict[tuple[int, str], dict[str, Any]], words: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=100)
    axes.set_prop_cycle(color=pyplot.get_cmap("tab20").colors)
    methods = list(dict.fromkeys(method for _, method in found))
    last = _sizes(found)[-1]
    for method in sorted(methods, key=lambda method: -found.get((last, method), {"seconds": 0})["seconds"]):
        at = [size for size in _sizes(found) if (size, method) in found]
        style = "-" if method.startswith("Lotus, ") and "plain" not in method else "--"
        axes.plot(at, [found[size, method]["seconds"] for size in at], style, marker="o", label=method)
    axes.set(yscale="log", xlabel="edge of the square image, pixels", ylabel="seconds for one depth map")
    axes.set_title(words, fontsize=9)
    axes.set_xticks(_sizes(found), [str(size) for size in _sizes(found)])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
