"""docs/evidence.md: everything that was measured, with its command, put together from the reports in benchmarks/.

    python -m benchmarks.report            # writes the page, and reports into other guides where they are marked
    python -m benchmarks.report --check    # says whether all is up to date (a test does)

The page has no text of its own but headings and the table of the paper's benchmarks: to change it, run the benchmark
that wrote a report (or edit the report), then this. In other guides, what stands between `<!-- begin: benchmarks/X.md
-->` (one line) and `<!-- end -->` is the report X without its title.
"""

from __future__ import annotations

import argparse
import posixpath
import re
import sys
from pathlib import Path

from lotus_core.cli.eval import DATASETS
from lotus_core.evaluation.depth_benchmarks import DEPTH_BENCHMARKS
from lotus_core.evaluation.normal_benchmarks import NORMAL_BENCHMARKS
from lotus_core.evaluation.published import PAPER, published
from lotus_core.evaluation.summary import markdown_table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "evidence.md"
# Reports in the order of the page; others follow by name.
ORDER = (
    "ablation",
    "reconstruction",
    "tiny",
    "tiny-four",
    "tiny-d",
    "tiny-four-d",
    "tiny-mirror",
    "samples",
    "error-probe",
    "real",
    "real-d",
    "speed",
    "compare",
    "loading",
    "geometry",
    "batch",
    "comfyui",
    "blender",
)
# Plots and pictures of docs/pictures that belong to a report.
PICTURES = {
    "tiny": (
        ("embedded-held-out.jpg", "A held-out scene of each kind: picture, disparity, predicted, normals, predicted"),
        ("embedded-failures.jpg", "The worst held-out scenes, and photos seen otherwise than their mirror images"),
    ),
    "reconstruction": (("reconstruction.jpg", "Photo, autoencoder alone, U-Net under s_x, depth under s_y"),),
    "compare": (("speed.png", "Seconds for one depth map at several sizes"),),
    "geometry": (("geometry-fusion.jpg", "Surface from blurred 8-bit depth, after fusion, and from the true depth"),),
    "batch": (("flicker.jpg", "Frames, their depth one by one, and as lotus batch writes it"),),
}
_COMMAND = re.compile(r"(?:python -m benchmarks\.|lotus )(?:(?!  )[^`\n#])+")  # two spaces begin an explanation
_LINK = re.compile(r"\]\((?!\w+:|#)([^)#]+)")
_MARKED = re.compile(r"(<!-- begin: benchmarks/([\w-]+)\.md -->\n).*?(<!-- end -->)", re.S)
_HEAD = """# Evidence

Put together by `python -m benchmarks.report` from the reports in `benchmarks/`, each of which was written by the
command it names, or from that command's output. What was not measured is not here. Reports on the embedded checkpoints
are of those that ship, but for these of earlier ones: how many samples, and what uncertainty could know (the tenth
generation, whose depth is the ninth's); the flicker of videos (the tenth); what tiles add (the fifth); the ablation,
in the fifth's latents; the render against the photo in Blender and how long it is held up, the 200 frames in ComfyUI,
4096×4096 pixels in tiles, overlap and latents of `lotus batch` (the first, whose networks were smaller and faster).

"""
_TABLES = "The paper's Tables 1 and 2"
_ABOUT_TABLES = f"""## {_TABLES}

Each is repeated by one command, once its data has been downloaded from its owners ([evaluation.md](evaluation.md)).
None was run for this page: there were neither the data nor the released weights. The figures are those of
{PAPER}; depth: AbsRel / δ1 in percent; normals: mean angle / percent within 11.25°. `lotus eval` shows them beside its
own, with those of all other methods that the tables have.

"""


def main(argv: list[str] | None = None) -> None:
    """Command line of the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page is not up to date")
    a = parser.parse_args(argv)
    for path, text in {PAGE: page(), **guides()}.items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        if a.check:
            sys.exit(f"{path} is not up to date: run python -m benchmarks.report.")
        path.write_text(text, encoding="utf-8")


def guides() -> dict[Path, str]:
    """The other guides that show reports, with the reports as they are now."""
    found = {}
    for path in sorted(PAGE.parent.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if _MARKED.search(text) and path != PAGE:
            found[path] = _MARKED.sub(lambda block: f"{block[1]}{_body(block[2])}\n{block[3]}", text)
    return found


def page() -> str:
    """The whole page, from the files as they are now."""
    found = reports()
    contents = [("what", "first command"), (f"[{_TABLES}](#{_anchor(_TABLES)})", "`lotus eval`")]
    for path in found:
        title, body = path.read_text(encoding="utf-8").split("\n", 1)
        title, commands = title.lstrip("# "), commands_in(body)
        contents.append((f"[{title}](#{_anchor(title)})", f"`{commands[0]}`" if commands else ""))
    parts = [_HEAD, markdown_table(contents), "\n", _paper(), *(_section(path) for path in found)]
    return "".join(parts)


def reports() -> list[Path]:
    """The Markdown reports in the order of the page."""
    names = {path.stem: path for path in sorted((ROOT / "benchmarks").glob("*.md"))}
    first = [names.pop(name) for name in ORDER if name in names]
    return [*first, *names.values()]


def commands_in(text: str) -> list[str]:
    """Every command of this project that a text names, as written, without its closing quotes."""
    return [match[0].strip().rstrip(",.;:") for match in _COMMAND.finditer(text)]


def _paper() -> str:
    """A line for each benchmark: its command, and what the paper has for Lotus."""
    rows = [("benchmark", "pictures", "command", "Lotus-G", "Lotus-D")]
    for task, names in DATASETS.items():
        titles = DEPTH_BENCHMARKS if task == "depth" else NORMAL_BENCHMARKS
        for name in names:
            paper = published(task, name)  # type: ignore[arg-type]
            area = " --area eigen" if name == "kitti" else ""
            command = f"`lotus eval {task} --dataset {name} --data DIR -o OUT --model M{area}`"
            own = (_figures(task, paper.rows[method]) for method in ("Lotus-G", "Lotus-D"))
            rows.append((f"{titles[name].title}, {task}", str(paper.samples), command, *own))
    return _ABOUT_TABLES + markdown_table(rows) + "\n"


def _figures(task: str, row: dict[str, float]) -> str:
    if task == "depth":
        return f"{100 * row['abs_rel']:.1f} / {100 * row['delta1']:.1f}"
    return f"{row['mean']:.1f}° / {row['11.25']:.1f}"


def _section(path: Path) -> str:
    """A report one level deeper, its links as seen from the page, and then its pictures."""
    title, text = path.read_text(encoding="utf-8").split("\n", 1)[0], _body(path.stem)
    shown = [
        f"![{caption}](pictures/{name})"
        for name, caption in PICTURES.get(path.stem, ())
        if f"](pictures/{name})" not in text and (ROOT / "docs" / "pictures" / name).is_file()
    ]
    source = f"*From [benchmarks/{path.name}](../benchmarks/{path.name}).*"
    return "\n\n".join([f"#{title}", text, *shown, source]) + "\n\n"


def _body(name: str) -> str:
    """A report without its title, one level deeper, its links as seen from docs/."""
    lines, fenced = [], False
    for line in (ROOT / "benchmarks" / f"{name}.md").read_text(encoding="utf-8").rstrip().splitlines()[1:]:
        fenced ^= line.startswith("```")
        deeper = "##" if line.startswith("# ") else "#" if line.startswith("#") else ""
        lines.append(line if fenced else deeper + line)
    return _LINK.sub(lambda link: f"]({_from_docs(link[1])}", "\n".join(lines).strip())


def _from_docs(link: str) -> str:
    """A link as written in benchmarks/, as it must be written in docs/."""
    return posixpath.relpath(posixpath.join("benchmarks", link), "docs")


def _anchor(title: str) -> str:
    """The id that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    main()
