"""The plots of the ablation. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lotus_core.errors import LotusError

from .ladder import FOOTNOTE, LADDER
from .summary import Results, mean_of_lists
from .thin import PRESERVER

_BLUE, _ORANGE, _GREEN, _GREY = "#2f7fb8", "#e4692b", "#3a9a5b", "#777777"


def draw_all(results: Results, folder: Path) -> dict[str, Path]:
    """Name → picture, for what there are results of. Raises LotusError without matplotlib."""
    drawn = {}
    for name, draw in (("ladder", _ladder), ("path", _paths), ("timesteps", _fig7), ("boundaries", _boundaries)):
        figure = draw(results)
        if figure is not None:
            drawn[name] = folder / f"ablation-{name}.png"
            figure.savefig(drawn[name])
    return drawn


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise LotusError("The ablation's plots need matplotlib: pip install matplotlib.") from None
    matplotlib.use("agg")
    from matplotlib import pyplot

    pyplot.close("all")
    return pyplot


def _ladder(results: Results) -> Any:
    steps = results.steps()
    figure, panels = _pyplot().subplots(1, 2, figsize=(10, 4.2), dpi=100, sharey=True)
    for panel, domain in zip(panels, ("indoor", "outdoor"), strict=True):
        for shift, noisy, colour in ((-0.12, True, _BLUE), (0.12, False, _ORANGE)):
            rungs = [rung if noisy else rung.without_noise() for _, rung in steps]
            spreads = [results.spread(rung, domain, "abs_rel") for rung in rungs]
            at = [place for place, spread in enumerate(spreads) if spread.values]
            means, deviations = mean_of_lists([spreads[place] for place in at])
            label = "with noise (Lotus-G)" if noisy else "without (Lotus-D)"
            panel.errorbar(means, [p + shift for p in at], xerr=deviations, fmt="o", c=colour, capsize=3, label=label)
        ramps = [score["abs_rel"] for name, score in results.references[domain].items() if name.startswith("ramp")]
        panel.axvline(min(ramps), c=_GREY, ls=":", label="best vertical ramp")
        panel.set(title=f"{domain} scenes", xlabel="AbsRel, mean ± deviation over seeds")
        panel.locator_params(axis="x", nbins=6)
        panel.grid(alpha=0.3)
    panels[0].set_yticks(range(len(steps)), [label for label, _ in steps])
    panels[0].invert_yaxis()
    panels[1].legend(fontsize=8)
    figure.tight_layout()
    return figure


def _paths(results: Results) -> Any:
    kinds = (("ε", LADDER[0][1], _ORANGE), ("v", FOOTNOTE[1], _GREEN), ("x0", LADDER[1][1], _BLUE))
    paths = [(label, path, colour) for label, rung, colour in kinds if (path := results.path(rung))]
    if not paths:
        return None
    figure, panels = _pyplot().subplots(1, 2, figsize=(9, 3.6), dpi=100)
    for panel, what in zip(panels, ("error", "variance"), strict=True):
        for label, path, colour in paths:
            means, deviations = (np.array(values) for values in mean_of_lists(getattr(path, what)))
            panel.plot(path.timesteps, means, c=colour, label=f"{label}-prediction")
            low = np.maximum(means - deviations, means / 10)  # the axis is logarithmic
            panel.fill_between(path.timesteps, low, means + deviations, color=colour, alpha=0.25, lw=0)
        panel.set(yscale="log", xlabel="time-step t, from noise (left) to the end", title=f"{what} of predicted z0")
        panel.invert_xaxis()
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    figure.tight_layout()
    return figure


def _fig7(results: Results) -> Any:
    table = results.fig7()
    if len(table) < 2:
        return None
    figure, axes = _pyplot().subplots(figsize=(6, 3.8), dpi=100)
    for (scenes, row), colour in zip(table.items(), (_ORANGE, _GREEN, _BLUE, _GREY), strict=False):
        means, deviations = mean_of_lists(list(row.values()))
        label = f"{scenes or results.indoor} scenes"
        axes.errorbar(list(row), means, yerr=deviations, c=colour, marker="o", capsize=3, label=label)
    axes.set(xscale="log", xlabel="T', time-steps in training", ylabel="AbsRel, indoor scenes")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    return figure


def _boundaries(results: Results) -> Any:
    domain = results.boundary_domain
    ceiling = results.references[domain]["autoencoder, depth"]
    percent = [100 * threshold for threshold in ceiling["thresholds"]]
    figure, panels = _pyplot().subplots(1, 2, figsize=(10, 4.8), dpi=100, sharey=True)
    kinds = (("boundary", "all boundaries"), ("thin", "thin structures"))
    for panel, (name, title) in zip(panels, kinds, strict=True):
        for metric, style in (("recall", "--"), ("f1", "-")):
            for (label, rung), colour in zip(PRESERVER.items(), (_ORANGE, _BLUE), strict=True):
                spreads = [results.spread(rung, domain, f"{name}_{metric}", i) for i in range(len(percent))]
                means, deviations = mean_of_lists(spreads)
                words = f"{metric}, {label} preserver"
                panel.errorbar(percent, means, yerr=deviations, ls=style, c=colour, capsize=3, label=words)
            panel.plot(percent, ceiling[f"{name}_{metric}"], ls=style, c=_GREY, label=f"{metric}, autoencoder alone")
        panel.set(title=f"{title}, {domain} scenes", xlabel="jump in depth, %", yscale="log", ylim=(1e-3, 1))
        panel.grid(alpha=0.3)
    panels[1].legend(fontsize=7)
    figure.tight_layout()
    return figure
