"""What the Lotus paper reports on the same benchmarks, to be shown beside a run's own figures.

Every number is copied from the text of He et al., "Lotus: Diffusion-based Visual Foundation Model for High-quality
Dense Prediction", arXiv:2409.18124v5 (18 January 2025), Tables 1 and 2; other methods' figures are as that paper quotes
them. Percentages and degrees as printed; "-" where the paper prints a dash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PAPER = "He et al., Lotus, arXiv:2409.18124v5"
_COLUMNS = {"depth": ("abs_rel", "delta1", "delta2"), "normal": ("mean", "11.25", "30")}
_BENCHMARKS = {
    "depth": ("nyu", "kitti", "eth3d", "scannet", "diode"),
    "normal": ("nyu", "scannet", "ibims", "sintel", "oasis"),
}
# Entries of the split lists that the authors' evaluation code comes with; KITTI's without the 45 that have no depth.
PAPER_SAMPLES = {
    "depth": {"nyu": 654, "kitti": 652, "eth3d": 454, "scannet": 800, "diode": 771},
    "normal": {"nyu": 654, "scannet": 300, "ibims": 100, "sintel": 1064, "oasis": 10000},
}

# Table 1: AbsRel, δ1, δ2 in percent on NYUv2 | KITTI | ETH3D | ScanNet | DIODE.
_TABLE_1 = """
DiverseDepth         11.7 87.5 -    | 19.0 70.4 -    | 22.8 69.4 -    | 10.9 88.2 -    | 37.6 63.1 -
MiDaS                11.1 88.5 -    | 23.6 63.0 -    | 18.4 75.2 -    | 12.1 84.6 -    | 33.2 71.5 -
LeRes                9.0 91.6 -     | 14.9 78.4 -    | 17.1 77.7 -    | 9.1 91.7 -     | 27.1 76.6 -
Omnidata             7.4 94.5 -     | 14.9 83.5 -    | 16.6 77.8 -    | 7.5 93.6 -     | 33.9 74.2 -
DPT                  9.8 90.3 -     | 10.0 90.1 -    | 7.8 94.6 -     | 8.2 93.4 -     | 18.2 75.8 -
HDN                  6.9 94.8 -     | 11.5 86.7 -    | 12.1 83.3 -    | 8.0 93.9 -     | 24.6 78.0 -
GenPercept           5.6 96.0 99.2  | 13.0 84.2 97.2 | 7.0 95.6 98.8  | 6.2 96.1 99.1  | 35.7 75.6 86.6
Diffusion-E2E-FT     5.4 96.5 99.1  | 9.6 92.1 98.0  | 6.4 95.9 98.7  | 5.8 96.5 98.8  | 30.3 77.6 87.9
DepthAnything V2     4.5 97.9 99.3  | 7.4 94.6 98.6  | 13.1 86.5 97.5 | 4.2 97.8 99.3  | 26.5 73.4 87.1
Lotus-D              5.1 97.2 99.2  | 8.1 93.1 98.7  | 6.1 97.0 99.1  | 5.5 96.5 99.0  | 22.8 73.8 86.2
DepthAnything        4.3 98.1 99.6  | 7.6 94.7 99.2  | 12.7 88.2 98.3 | 4.3 98.1 99.6  | 26.0 75.9 87.5
GeoWizard            5.6 96.3 99.1  | 14.4 82.0 96.6 | 6.6 95.8 98.4  | 6.4 95.0 98.4  | 33.5 72.3 86.5
Marigold (LCM)       6.1 95.8 99.0  | 9.8 91.8 98.7  | 6.8 95.6 99.0  | 6.9 94.6 98.6  | 30.7 77.5 89.3
Marigold             5.5 96.4 99.1  | 9.9 91.6 98.7  | 6.5 95.9 99.0  | 6.4 95.2 98.8  | 30.8 77.3 88.7
Lotus-G              5.4 96.8 99.2  | 8.5 92.2 98.4  | 5.9 97.0 99.2  | 5.9 95.7 98.8  | 22.9 72.9 86.0
"""

# Table 2: mean angle in degrees, percent below 11.25° and 30° on NYUv2 | ScanNet | iBims-1 | Sintel | OASIS.
_TABLE_2 = """
OASIS                29.2 23.8 60.7 | 32.8 15.4 52.6 | 32.6 23.5 57.4 | 43.1 7.0 35.7  | - - -
Omnidata             23.1 45.8 73.6 | 22.9 47.4 73.2 | 19.0 62.1 80.1 | 41.5 11.4 42.0 | 24.9 31.0 71.4
EESNU                16.2 58.6 83.5 | - - -          | 20.0 58.5 78.2 | 42.1 11.5 41.2 | 27.7 24.0 66.6
GenPercept           18.2 56.3 81.4 | 17.7 58.3 82.7 | 18.2 64.0 82.0 | 37.6 16.2 51.0 | 26.3 26.9 71.1
Omnidata V2          17.2 55.5 83.0 | 16.2 60.2 84.7 | 18.2 63.9 81.1 | 40.5 14.7 43.5 | 24.2 27.7 74.2
DSINE                16.4 59.6 83.5 | 16.2 61.0 84.4 | 17.1 67.4 82.3 | 34.9 21.5 52.7 | 24.4 28.8 72.0
Diffusion-E2E-FT     16.5 60.4 83.1 | 14.7 66.1 85.1 | 16.1 69.7 83.9 | 33.5 22.3 53.5 | 23.2 29.4 74.5
Lotus-D              16.2 59.8 83.9 | 14.7 64.0 86.1 | 17.1 66.4 83.0 | 32.3 22.4 57.0 | 22.3 31.8 76.1
Marigold             20.9 50.5 -    | 21.3 45.6 -    | 18.5 64.7 -    | - - -          | - - -
GeoWizard            18.9 50.7 81.5 | 17.4 53.8 83.5 | 19.3 63.0 80.3 | 40.3 12.3 43.5 | 25.2 23.4 68.1
StableNormal         18.6 53.5 81.7 | 17.1 57.4 84.1 | 18.2 65.0 82.4 | 36.7 14.1 50.7 | 26.5 23.5 68.7
Lotus-G              16.5 59.4 83.5 | 15.1 63.9 85.3 | 17.2 66.2 82.7 | 33.6 21.0 53.8 | 22.7 29.4 75.8
"""
_TABLES = {"depth": _TABLE_1, "normal": _TABLE_2}


@dataclass(frozen=True)
class Published:
    """The rows of one of the paper's tables for one benchmark.

    source:  paper and table.
    metrics: the names of its columns.
    rows:    method → metric → value in the units of a run's own metrics (depth as shares of 1, normals as printed);
             without the metrics that the paper leaves open.
    samples: how many pictures the table is about.
    """

    source: str
    metrics: tuple[str, ...]
    rows: dict[str, dict[str, float]]
    samples: int


def published(task: Literal["depth", "normal"], benchmark: str) -> Published:
    """The paper's rows for a benchmark of `lotus eval`, in the order of the paper's table."""
    place, columns = _BENCHMARKS[task].index(benchmark), _COLUMNS[task]
    unit = 100 if task == "depth" else 1
    rows: dict[str, dict[str, float]] = {}
    for line in _TABLES[task].strip().splitlines():
        cells = line[21:].split("|")[place].split()
        found = {name: round(float(cell) / unit, 6) for name, cell in zip(columns, cells, strict=True) if cell != "-"}
        if found:
            rows[line[:21].strip()] = found
    source = f"{PAPER}, Table {1 if task == 'depth' else 2}"
    return Published(source, columns, rows, PAPER_SAMPLES[task][benchmark])
