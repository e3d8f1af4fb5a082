#!/usr/bin/env bash
# Renders the synthetic images that the shipped weights were trained on beside those of the base manifest, and writes the manifests.
#   DRR_ROOT=BONES tools/drr/training-set.sh BASE.tsv OUT [more | most | atlas]
# OUT gets `synthetic_extra/` and `MANIFEST.tsv`; the paths of BASE must hold relative to OUT too (link its folders there). Each further
# stage adds to the one before: `more` gives `MANIFEST-more.tsv` with the images from index 5000 on, `most` also `MANIFEST-most.tsv` with
# those from 6000 on, and `atlas` also `MANIFEST-every.tsv` with lower limbs of many shapes (from 7000 and 8000 on), and
# `MANIFEST-atlas.tsv`, `MANIFEST-atlas2.tsv` and `MANIFEST-atlas3.tsv`, where these stand in for further images of the one skeleton: for the next
# weights.
set -euo pipefail
base=$(realpath "$1") out=$(realpath -m "$2")
export DRR_ROOT=$(realpath "${DRR_ROOT:?names the folder of bones}")
case ${3:-} in
  "") stage=0 ;; more) stage=1 ;; most) stage=2 ;; atlas) stage=3 ;;
  *) echo "the third argument is more, most or atlas" >&2; exit 1 ;;
esac
cd "$(dirname "$0")"
tools=$PWD extra=$out/synthetic_extra
mkdir -p "$extra"
add() { (cd "$out" && PYTHONPATH=$tools python3 -m drr.manifest "$1" synthetic_extra "${@:2}"); }

python3 -m drr.generate "$extra" 1000 FOOT=300 ANKLE=300 WRIST=300 FOREARM=200 HIP=75 FEMUR=75 LOWERLEG=75 HUMERUS=75 \
  CLAVICLE=75 CHEST=75 LSPINE=75 CSPINE=50 SKULL=50
python3 -m drr.generate "$extra" 2000 PELVIS=300 HAND=250 KNEE=200 ELBOW=200 SHOULDER=200 FOOT=200 ANKLE=150 WRIST=150 HIP=150 \
  LSPINE=100 CHEST=75 SKULL=75 CSPINE=75
python3 -m drr.generate "$extra" 3010 FINGER=300 ABDOMEN=200 TSPINE=150 HAND=150
python3 -m drr.generate "$extra" 4000 PELVIS_CLOSE=450 FOOT_TOES=350 KNEE_LONG=150
python3 -m drr.other "$extra" 0 500
add "$base" MANIFEST-{1000,2000,3010,4000,other-0}.tsv >"$out/MANIFEST.tsv"
if ((stage >= 1)); then
  python3 -m drr.generate "$extra" 5000 PELVIS_WIDE=300 KNEE_FEMUR=250 KNEE_METAL=350 KNEE=200 PELVIS_METAL=250 HIP_METAL=200 ELBOW_METAL=200 \
    FEMUR_METAL=150 FEMUR=150 LOWERLEG_METAL=100 ANKLE_METAL=100 SHOULDER_METAL=150 HUMERUS_METAL=100 WRIST_METAL=100 FOREARM_METAL=100 CLAVICLE=200
  add MANIFEST.tsv MANIFEST-5000.tsv >"$out/MANIFEST-more.tsv"
fi
if ((stage >= 2)); then
  python3 -m drr.generate "$extra" 6000 SHOULDER_WIDE=450 SKULL_JAW=350 SACRUM=200
  add MANIFEST-more.tsv MANIFEST-6000.tsv >"$out/MANIFEST-most.tsv"
fi
if ((stage >= 3)); then
  [[ -e $DRR_ROOT/atlas.npz ]] || python3 -m drr.atlas
  python3 -m drr.generate "$extra" 7000 KNEE_ATLAS=700 KNEE_LONG_ATLAS=350 KNEE_FEMUR_ATLAS=350 KNEE_METAL_ATLAS=350 PELVIS_ATLAS=600 \
    PELVIS_CLOSE_ATLAS=400 PELVIS_WIDE_ATLAS=300 PELVIS_METAL_ATLAS=200 HIP_ATLAS=450 HIP_METAL_ATLAS=150 FEMUR_ATLAS=350 FEMUR_METAL_ATLAS=100 \
    LOWERLEG_ATLAS=300 ANKLE_ATLAS=500 SACRUM_ATLAS=150 LSPINE_ATLAS=200 ABDOMEN_ATLAS=200
  python3 -m drr.generate "$extra" 8000 KNEE_WIRES_ATLAS=500 KNEE_FEMUR_ATLAS=350 PELVIS_FRAIL_ATLAS=350 HIP_FRAIL_ATLAS=200
  one_pelvis='^synthetic_extra/(PELVIS|HIP|SACRUM)(_CLOSE|_WIDE|_METAL)?/' one_knee='^synthetic_extra/KNEE_(LONG|FEMUR|METAL)/'
  add MANIFEST-most.tsv MANIFEST-{7000,8000}.tsv >"$out/MANIFEST-every.tsv"
  add MANIFEST-most.tsv MANIFEST-7000.tsv | grep -vE "$one_pelvis" >"$out/MANIFEST-atlas.tsv"
  add MANIFEST-atlas.tsv MANIFEST-8000.tsv | grep -vE "$one_knee" >"$out/MANIFEST-atlas2.tsv"
  { grep -v ^synthetic_extra/SKULL_JAW/ "$out/MANIFEST-atlas2.tsv"; grep ^synthetic_extra/SACRUM/ "$out/MANIFEST-most.tsv"; } >"$out/MANIFEST-atlas3.tsv"
fi
sha256sum "$out"/MANIFEST*.tsv
