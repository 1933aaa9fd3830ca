"""The argument of the paper at small scale: its Table 3, Fig. 5 to 7 and the detail preserver, on synthetic scenes.

    python -m benchmarks.ablation run --out runs/ablation       # trains; a stopped run goes on where it was
    python -m benchmarks.ablation report --out runs/ablation    # benchmarks/ablation.md, its JSON and pictures

Every rung is a run of `lotus train` by switches of its config (`ladder`), on pictures of 64×48 pixels. Rooms and table
tops stand in for Hypersim, streets and hills for Virtual KITTI. `report` needs matplotlib (pip install matplotlib).
"""
