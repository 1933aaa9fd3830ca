#!/usr/bin/env bash
# What was trained after the embedded checkpoints and not taken (docs/embedded-checkpoints.md says why): run
# reproduce-tiny.sh first. Every step resumes where it stopped.
set -euo pipefail
scenes="python -m lotus_core.data.cache"
$scenes runs/scenes/more --count 3250 --height 192 --width 256 --seed 102 --kinds room,tabletop,street,hills
$scenes runs/scenes/rich --count 750 --height 192 --width 256 --seed 103 --kinds figures,clutter,thin,alley,forest
$scenes runs/scenes/tall --count 500 --height 256 --width 192 --seed 104
$scenes runs/scenes/wide --count 250 --height 144 --width 256 --seed 105
for stage in 6 7 8 9; do lotus train "configs/tiny-depth-g-$stage.toml" --resume; done
for stage in 4 5 6; do lotus train "configs/tiny-normal-g-$stage.toml" --resume; done
for task in depth normal; do lotus train "configs/tiny-$task-d.toml" --resume; done
