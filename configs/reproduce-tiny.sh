#!/usr/bin/env bash
# The embedded checkpoints from nothing: scenes, autoencoder, then three stages each of depth and normals.
# Every step resumes where it stopped. Run it in the repository's root with lotus-geometry[train] installed.
set -euo pipefail
scenes="python -m lotus_core.data.cache"
$scenes runs/scenes/small --count 7250 --height 96 --width 128 --seed 1
$scenes runs/scenes/large --count 2750 --height 192 --width 256 --seed 2
$scenes runs/scenes/held-out --count 64 --height 192 --width 256 --seed 3
lotus train configs/tiny-autoencoder.toml --resume
for task in depth normal; do
  for stage in 1 2 3; do
    lotus train "configs/tiny-$task-g-$stage.toml" --resume
  done
  cp "runs/tiny-$task-g-3/lotus-tiny-$task-g.safetensors" core/lotus_core/weights/
done
python -m benchmarks.tiny
