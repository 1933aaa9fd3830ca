#!/usr/bin/env bash
# The embedded checkpoints from nothing: scenes, autoencoder, the stages of depth and normals, the fast decoder.
# Every step resumes where it stopped. Run it in the repository's root, after pip install ".[train]" -c constraints.txt.
set -euo pipefail
scenes="python -m lotus_core.data.cache"
first=room,tabletop,street,hills
later=figures,clutter,thin,alley,forest
$scenes runs/scenes/small --count 7250 --height 96 --width 128 --seed 1 --kinds $first
$scenes runs/scenes/large --count 2750 --height 192 --width 256 --seed 2 --kinds $first
$scenes runs/scenes/held-out --count 64 --height 192 --width 256 --seed 3 --kinds $first
lotus train configs/tiny-autoencoder.toml --resume

# First generation.
for stage in 1 2 3 4 5; do lotus train "configs/tiny-depth-g-$stage.toml" --resume; done
for stage in 1 2 3; do lotus train "configs/tiny-normal-g-$stage.toml" --resume; done

# Second: five more kinds of scenes, portrait and wide pictures.
$scenes runs/scenes/more --count 3250 --height 192 --width 256 --seed 102 --kinds $first
$scenes runs/scenes/rich --count 750 --height 192 --width 256 --seed 103 --kinds $later
$scenes runs/scenes/tall --count 500 --height 256 --width 192 --seed 104
$scenes runs/scenes/wide --count 250 --height 144 --width 256 --seed 105
for stage in 6 7 8 9; do lotus train "configs/tiny-depth-g-$stage.toml" --resume; done
for stage in 4 5 6; do lotus train "configs/tiny-normal-g-$stage.toml" --resume; done

# Third: from the mean of both, with more rooms and roads, then in varied light and colours (11, 8). Fourth: longer so (12, 9).
# Fifth: the error of the decoded maps counts (13, 10). Sixth: spread in decoded maps, then Muon (14 to 16, 11 and 12). Seventh: longer (17).
# Eighth: with more layers, streets and hills (18). Ninth: longer (19), then from the mean of both on new scenes (20), the last of
# them of the five later kinds (21). Tenth: normals with more layers too, on new scenes of all kinds (13). Eleventh: depth with still
# more layers on new scenes (22), then from the mean of both with borders round some of the pictures (23). Twelfth: normals
# likewise (14). Thirteenth: depth by its error as a share of the depth (24), and decoders that learn from what the U-Nets predict,
# that of the mean of 23 and 24 (25) and that of normals 14 (15). Fourteenth: normals for longer (16), on new scenes (17), and
# with a decoder of more blocks (18). Fifteenth: depth likewise, on still more new scenes (26), and of the
# mean of both with such a decoder (27).
$scenes runs/scenes/indoor --count 900 --height 192 --width 256 --seed 106 --kinds room,tabletop,clutter
$scenes runs/scenes/road --count 700 --height 80 --width 256 --seed 107 --kinds street,alley
$scenes runs/scenes/outdoor --count 1000 --height 192 --width 256 --seed 108 --kinds street,hills
$scenes runs/scenes/fresh --count 4250 --height 192 --width 256 --seed 109 --kinds $first
$scenes runs/scenes/fresh-rich --count 500 --height 192 --width 256 --seed 110 --kinds $later
$scenes runs/scenes/rare-1 --count 1500 --height 192 --width 256 --seed 113 --kinds $later
$scenes runs/scenes/rare-2 --count 1500 --height 192 --width 256 --seed 114 --kinds $later
$scenes runs/scenes/fresh-2 --count 1000 --height 192 --width 256 --seed 116 --kinds $first
$scenes runs/scenes/rare-3 --count 1500 --height 192 --width 256 --seed 117 --kinds $later
$scenes runs/scenes/fresh-3 --count 1500 --height 192 --width 256 --seed 118 --kinds $first
$scenes runs/scenes/rare-4 --count 1000 --height 192 --width 256 --seed 119 --kinds $later
$scenes runs/scenes/figures-1 --count 500 --height 192 --width 256 --seed 120 --kinds figures
$scenes runs/scenes/figures-2 --count 500 --height 192 --width 256 --seed 121 --kinds figures
$scenes runs/scenes/rare-5 --count 3000 --height 192 --width 256 --seed 122 --kinds $later
$scenes runs/scenes/rare-6 --count 3000 --height 192 --width 256 --seed 123 --kinds $later
$scenes runs/scenes/fresh-4 --count 1250 --height 192 --width 256 --seed 124 --kinds $first
$scenes runs/scenes/fresh-5 --count 1250 --height 192 --width 256 --seed 125 --kinds $first
mean="python -m lotus_core.training.average"
$mean runs/tiny-depth-mean.safetensors runs/tiny-depth-g-{5,9}/lotus-tiny-depth-g.safetensors
$mean runs/tiny-normal-mean.safetensors runs/tiny-normal-g-{3,6}/lotus-tiny-normal-g.safetensors
for stage in 10 11 12 13 14 15 16 17 18 19; do lotus train "configs/tiny-depth-g-$stage.toml" --resume; done
$mean runs/tiny-depth-mean-18-19.safetensors runs/tiny-depth-g-{18,19}/lotus-tiny-depth-g.safetensors
for stage in 20 21 22; do lotus train "configs/tiny-depth-g-$stage.toml" --resume; done
$mean runs/tiny-depth-mean-21-22.safetensors runs/tiny-depth-g-{21,22}/lotus-tiny-depth-g.safetensors
for stage in 23 24; do lotus train "configs/tiny-depth-g-$stage.toml" --resume; done
$mean runs/tiny-depth-mean-23-24.safetensors runs/tiny-depth-g-{23,24}/lotus-tiny-depth-g.safetensors
for stage in 25 26; do lotus train "configs/tiny-depth-g-$stage.toml" --resume; done
$mean runs/tiny-depth-mean-25-26.safetensors runs/tiny-depth-g-{25,26}/lotus-tiny-depth-g.safetensors
lotus train configs/tiny-depth-g-27.toml --resume
for stage in 7 8 9 10 11 12 13 14 15 16 17 18; do lotus train "configs/tiny-normal-g-$stage.toml" --resume; done
$scenes runs/scenes/decoder --count 400 --height 96 --width 128 --seed 4
lotus train configs/tiny-decoder.toml --resume

weights=core/lotus_core/weights
for run in depth-g-27 normal-g-18; do
  name=lotus-tiny-${run%-*}
  lotus convert "runs/tiny-$run/$name.safetensors" "$weights/$name.safetensors" --dtype int8
  # One U-Net for both: the Lotus-D is the Lotus-G without its noise, of which only the first layer is a file of its own.
  python -m lotus_core.training.noiseless "runs/${name%g}d.safetensors" "runs/tiny-$run/$name.safetensors"
  lotus convert "runs/${name%g}d.safetensors" "$weights/${name%g}d.safetensors" --dtype int8 --rest "$weights/$name.safetensors"
done
python -m benchmarks.tiny
