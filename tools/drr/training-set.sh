#!/usr/bin/env bash
# Renders the synthetic images that the shipped weights were trained on beside those of the base manifest, and writes the manifest.
#   DRR_ROOT=BONES tools/drr/training-set.sh BASE.tsv OUT [more | most]
# OUT gets `synthetic_extra/` and `MANIFEST.tsv`; the paths of BASE must hold relative to OUT too (link its folders there). With
# `more` it also gets `MANIFEST-more.tsv` with the images from index 5000 on, with `most` also `MANIFEST-most.tsv` with those from 6000
# on: for the next weights.
set -euo pipefail
base=$(realpath "$1") out=$(realpath -m "$2")
cd "$(dirname "$0")"
extra=$out/synthetic_extra
mkdir -p "$extra"
python3 -m drr.generate "$extra" 1000 FOOT=300 ANKLE=300 WRIST=300 FOREARM=200 HIP=75 FEMUR=75 LOWERLEG=75 HUMERUS=75 \
  CLAVICLE=75 CHEST=75 LSPINE=75 CSPINE=50 SKULL=50
python3 -m drr.generate "$extra" 2000 PELVIS=300 HAND=250 KNEE=200 ELBOW=200 SHOULDER=200 FOOT=200 ANKLE=150 WRIST=150 HIP=150 \
  LSPINE=100 CHEST=75 SKULL=75 CSPINE=75
python3 -m drr.generate "$extra" 3010 FINGER=300 ABDOMEN=200 TSPINE=150 HAND=150
python3 -m drr.generate "$extra" 4000 PELVIS_CLOSE=450 FOOT_TOES=350 KNEE_LONG=150
python3 -m drr.other "$extra" 0 500
if [[ ${3:-} == more || ${3:-} == most ]]; then
  python3 -m drr.generate "$extra" 5000 PELVIS_WIDE=300 KNEE_FEMUR=250 KNEE_METAL=350 KNEE=200 PELVIS_METAL=250 HIP_METAL=200 ELBOW_METAL=200 \
    FEMUR_METAL=150 FEMUR=150 LOWERLEG_METAL=100 ANKLE_METAL=100 SHOULDER_METAL=150 HUMERUS_METAL=100 WRIST_METAL=100 FOREARM_METAL=100 CLAVICLE=200
fi
if [[ ${3:-} == most ]]; then
  python3 -m drr.generate "$extra" 6000 SHOULDER_WIDE=450 SKULL_JAW=350 SACRUM=200
fi
tools=$PWD
cd "$out"
parts=(MANIFEST-1000.tsv MANIFEST-2000.tsv MANIFEST-3010.tsv MANIFEST-4000.tsv MANIFEST-other-0.tsv)
PYTHONPATH=$tools python3 -m drr.manifest "$base" synthetic_extra "${parts[@]}" >MANIFEST.tsv
if [[ ${3:-} == more || ${3:-} == most ]]; then
  PYTHONPATH=$tools python3 -m drr.manifest MANIFEST.tsv synthetic_extra MANIFEST-5000.tsv >MANIFEST-more.tsv
fi
if [[ ${3:-} == most ]]; then
  PYTHONPATH=$tools python3 -m drr.manifest MANIFEST-more.tsv synthetic_extra MANIFEST-6000.tsv >MANIFEST-most.tsv
fi
sha256sum MANIFEST*.tsv
