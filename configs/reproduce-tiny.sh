#!/usr/bin/env bash
# The embedded checkpoints from nothing: scenes, autoencoder, then the stages of depth and normals.
# Every step resumes where it stopped. Run it in the repository's root with lotus-geometry[train] installed.
set -euo pipefail
scenes="python -m lotus_core.data.cache"
first="--kinds room,tabletop,street,hills"
$scenes runs/scenes/small --count 7250 --height 96 --width 128 --seed 1 $first
$scenes runs/scenes/large --count 2750 --height 192 --width 256 --seed 2 $first
$scenes runs/scenes/held-out --count 64 --height 192 --width 256 --seed 3 $first
lotus train configs/tiny-autoencoder.toml --resume
for stage in 1 2 3 4 5; do lotus train "configs/tiny-depth-g-$stage.toml" --resume; done
for stage in 1 2 3; do lotus train "configs/tiny-normal-g-$stage.toml" --resume; done
cp runs/tiny-depth-g-5/lotus-tiny-depth-g.safetensors runs/tiny-normal-g-3/lotus-tiny-normal-g.safetensors \
  core/lotus_core/weights/
python -m benchmarks.tiny
