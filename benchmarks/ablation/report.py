"""The ablation as JSON, Markdown and plots, from the results that `run` saved."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lotus_core.data.cache import SceneCache
from lotus_core.errors import LotusError
from lotus_core.files import atomic_path

from . import __doc__ as ABOUT
from .figures import draw_all
from .ladder import FIG7_TIMESTEPS, FOOTNOTE, LADDER, Rung
from .run import REFERENCES, SCALE, results
from .scenes import scenes_folder
from .summary import Results, Spread
from .thin import PRESERVER, with_thin

CAPTIONS = {
    "ladder": "AbsRel of every rung, with and without noise, indoors and outdoors",
    "maps": "Five held-out scenes, picked by hand: picture, true disparity, the first seed's maps of every rung but v",
    "path": "Error and variance of the clean latents predicted along the denoising path",
    "timesteps": "AbsRel over the time-steps in training, for several numbers of scenes",
    "boundaries": "Recall and F1 of boundaries over the jump in depth, with and without detail preserver",
}
BASELINES = {
    "ramp, depth": "the best vertical ramp in depth",
    "ramp, disparity": "the best vertical ramp in disparity",
    "autoencoder, depth": "the truth after the autoencoder, depth",
    "autoencoder, disparity": "the truth after the autoencoder, disparity",
}
MAPS = "ablation-maps.jpg"  # that `sheet` draws; only `run`'s folder has the weights for it

CLAIMS: tuple[tuple[str, Rung | None, Rung | None, str, str], ...] = (
    ("x0 better than ε", LADDER[1][1], LADDER[0][1], "indoor", "abs_rel"),
    ("x0 better than ε", LADDER[1][1], LADDER[0][1], "outdoor", "abs_rel"),
    ("v better than ε", FOOTNOTE[1], LADDER[0][1], "indoor", "abs_rel"),
    ("single step better than many", LADDER[2][1], LADDER[1][1], "indoor", "abs_rel"),
    ("single step better than many", LADDER[2][1], LADDER[1][1], "outdoor", "abs_rel"),
    ("detail preserver better than none", LADDER[3][1], LADDER[2][1], "indoor", "abs_rel"),
    ("detail preserver: more boundary F1", LADDER[3][1], LADDER[2][1], "indoor", "boundary_mean_f1"),
    ("detail preserver: more F1 of thin structures", LADDER[3][1], LADDER[2][1], "indoor", "thin_mean_f1"),
    ("… on scenes of thin things, all boundaries", LADDER[3][1], LADDER[2][1], "thin", "boundary_mean_f1"),
    ("… on scenes of thin things, thin structures", LADDER[3][1], LADDER[2][1], "thin", "thin_mean_f1"),
    ("mixture better indoors", LADDER[4][1], LADDER[3][1], "indoor", "abs_rel"),
    ("mixture better outdoors", LADDER[4][1], LADDER[3][1], "outdoor", "abs_rel"),
    ("… without noise", LADDER[4][1].without_noise(), LADDER[3][1].without_noise(), "outdoor", "abs_rel"),
    ("disparity better indoors", LADDER[5][1], LADDER[4][1], "indoor", "abs_rel"),
    ("disparity better outdoors", LADDER[5][1], LADDER[4][1], "outdoor", "abs_rel"),
    (
        "with noise better than without",
        LADDER[5][1],
        Rung("x0", 1, "d", True, True, "disparity"),
        "indoor",
        "abs_rel",
    ),
    ("one time-step: 400 scenes better than 100", Rung(scenes=400), Rung(scenes=100), "indoor", "abs_rel"),
    ("one time-step: all better than 400", Rung(), Rung(scenes=400), "indoor", "abs_rel"),
    ("1000 time-steps: all better than 100", Rung("x0", 1000), Rung("x0", 1000, scenes=100), "indoor", "abs_rel"),
)
"""What the paper's ladder says, as (words, the better rung, the other, where, metric)."""


def collect(out: Path) -> dict[str, Any]:
    """Everything that `run` saved below `out`, as one table. Raises LotusError where there is nothing yet."""
    runs = results(out)
    if not runs:
        raise LotusError(f"{out} holds no finished training: python -m benchmarks.ablation run --out {out} makes them.")
    saved = {
        "scale": json.loads((out / SCALE).read_text()),
        "indoor": len(SceneCache(scenes_folder(out, "indoor"))),
        "references": json.loads((out / REFERENCES).read_text()),
        "runs": [{**run, "rung": asdict(run["rung"])} for run in runs],
    }
    return with_thin(saved, out)


def write_report(saved: dict[str, Any], markdown: Path, results_file: Path, pictures: Path) -> None:
    """Write the JSON, the plots and the Markdown that shows them. Raises LotusError without matplotlib."""
    for folder in (markdown.parent, results_file.parent, pictures):
        folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(results_file) as temporary:
        temporary.write_text(json.dumps(saved, indent=1) + "\n", encoding="utf-8")
    found = Results(saved)
    drawn = draw_all(found, pictures)
    if (pictures / MAPS).exists():
        drawn["maps"] = pictures / MAPS
    up = "../" * len(markdown.resolve().parent.relative_to(_common(markdown, pictures)).parts)
    place = pictures.resolve().relative_to(_common(markdown, pictures)).as_posix()
    shown = {name: f"![{CAPTIONS[name]}]({up}{place}/{path.name})" for name, path in drawn.items()}
    with atomic_path(markdown) as temporary:
        temporary.write_text(text(found, shown), encoding="utf-8")


def text(found: Results, shown: dict[str, str]) -> str:
    """The Markdown; `shown` holds the links of the pictures there are."""
    parts = [
        "# The ablation at small scale",
        ABOUT.strip(),
        _scale(found),
        "## The ladder (Table 3)",
        ladder_table(found),
        shown.get("ladder", ""),
        shown.get("maps", ""),
        "Many steps start from noise, and ε and v are made of noise, so those rungs have no Lotus-D.",
        "## What the paper says, and what is found here",
        claims_table(found),
    ]
    if "path" in shown:
        parts += ["## Along the denoising path (Fig. 5 and 6)", path_table(found), shown["path"]]
    if "timesteps" in shown:
        parts += ["## Training time-steps and data (Fig. 7)", fig7_table(found), shown["timesteps"]]
    parts += ["## The detail preserver at boundaries", boundary_table(found), shown.get("boundaries", "")]
    return "\n\n".join(part for part in parts if part) + "\n"


def ladder_table(found: Results) -> str:
    """AbsRel and δ1 of every rung, in both domains, with and without noise."""
    lines = [
        "| | AbsRel indoor | δ1 indoor | AbsRel outdoor | δ1 outdoor | AbsRel indoor, no noise | outdoor, no noise |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, rung in found.steps():
        cells = [found.spread(rung, d, m) for d in ("indoor", "outdoor") for m in ("abs_rel", "delta1")]
        cells += [found.spread(rung.without_noise(), domain, "abs_rel") for domain in ("indoor", "outdoor")]
        lines.append(f"| {label} | " + " | ".join(map(str, cells)) + " |")
    for name, words in BASELINES.items():
        if name not in found.references["indoor"]:
            continue  # results of before the ramp in depth was measured
        values = [found.references[d][name][m] for d in ("indoor", "outdoor") for m in ("abs_rel", "delta1")]
        lines.append(f"| {words} | " + " | ".join(f"{value:.3f}" for value in values) + " | | |")
    return "\n".join(lines)


def claims_table(found: Results) -> str:
    """Each step of the paper's ladder against this one: the difference, and whether the error bars separate."""
    lines = ["| the paper's ladder | | this one | the other | found |", "|---|---|---|---|---|"]
    for words, better, other, domain, metric in CLAIMS:
        one, two = found.spread(better, domain, metric), found.spread(other, domain, metric)
        if one.values and two.values:
            name = "AbsRel" if metric == "abs_rel" else "F1"
            lines.append(f"| {words} | {name}, {domain} | {one} | {two} | {verdict(one, two, metric != 'abs_rel')} |")
    return "\n".join(lines)


def verdict(one: Spread, two: Spread, higher_is_better: bool) -> str:
    """In words, whether `one` is better, and whether mean ± deviation of the two are apart."""
    gain = (one.mean - two.mean) if higher_is_better else (two.mean - one.mean)
    if not one.separate_from(two):
        return f"{'better' if gain > 0 else 'worse'}, within the deviation"
    return "**yes**, error bars apart" if gain > 0 else "**no**: worse, error bars apart"


def path_table(found: Results) -> str:
    """Error and variance of the predicted clean latents at the first, a middle and the last step."""
    lines = ["| prediction | t | error | variance over noises |", "|---|---|---|---|"]
    for label, rung in (("ε", LADDER[0][1]), ("v", FOOTNOTE[1]), ("x0", LADDER[1][1])):
        path = found.path(rung)
        if path is None:
            continue
        for place in (0, len(path.timesteps) // 2, len(path.timesteps) - 1):
            error, variance = (spread.to_digits(3) for spread in (path.error[place], path.variance[place]))
            lines.append(f"| {label} | {path.timesteps[place]} | {error} | {variance} |")
    return "\n".join(lines)


def fig7_table(found: Results) -> str:
    """AbsRel indoors for T' and the number of scenes."""
    lines = ["| scenes | " + " | ".join(f"T' = {t}" for t in FIG7_TIMESTEPS) + " |", "|---|" + "---|" * 5]
    for scenes, row in found.fig7().items():
        cells = [str(row.get(timesteps, "–")) for timesteps in FIG7_TIMESTEPS]
        lines.append(f"| {scenes or found.indoor} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def boundary_table(found: Results) -> str:
    """F1 and recall at every threshold without and with the preserver, and what the autoencoder leaves of the truth."""
    domain = found.boundary_domain
    ceiling = found.references[domain]["autoencoder, depth"]
    thresholds = ceiling["thresholds"]
    lines = [
        f"Held-out scenes, {domain}; a single step with noise. `lotus_core.evaluation.boundaries` defines the measures."
        " The rows of the autoencoder are what it leaves of the truth, and so the most there can be.",
        "",
        "| preserver | | " + " | ".join(f"{100 * t:.0f} %" for t in thresholds) + " |",
        "|---|---|" + "---|" * len(thresholds),
    ]
    for kind, words in (("boundary", "all boundaries"), ("thin", "thin structures")):
        for metric in ("f1", "recall"):
            name = f"{words}, {'F1' if metric == 'f1' else metric}"
            for label, rung in PRESERVER.items():
                cells = [str(found.spread(rung, domain, f"{kind}_{metric}", i)) for i in range(len(thresholds))]
                lines.append(f"| {label} | {name} | " + " | ".join(cells) + " |")
            lines.append(
                f"| autoencoder | {name} | " + " | ".join(f"{v:.3f}" for v in ceiling[f"{kind}_{metric}"]) + " |"
            )
    return "\n".join(lines)


def _scale(found: Results) -> str:
    s, seconds = found.scale, [run["seconds"] for run in found.runs]
    hardware = sorted({run["hardware"] for run in found.runs})
    return (
        f"The scale of the numbers below is small: pictures of {s['width']}×{s['height']} pixels, {s['scenes']} scenes"
        f" of both domains, a U-Net of a million parameters trained from random weights (so without the image prior"
        f" that the paper adapts) for {s['steps']} steps of {s['batch']} samples, {found.seeds()} seeds of each rung of"
        f" the ladder and {found.fig7_seeds()} of each cell of Fig. 7. Measured on at most {s['measured']} held-out"
        f" scenes of each domain; ± is the deviation over the seeds. {len(found.runs)} trainings,"
        f" {sum(seconds) / 3600:.1f} hours by the clock, {'; '.join(hardware)}."
    )


def _common(one: Path, other: Path) -> Path:
    parents = [one.resolve().parent, *one.resolve().parents]
    return next(parent for parent in parents if other.resolve().is_relative_to(parent))
