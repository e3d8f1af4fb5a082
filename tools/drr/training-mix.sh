#!/usr/bin/env bash
# Renders the synthetic images of the runs 32 and on (docs/training.md), a part of each kind that training-set.sh renders, and writes their manifests.
#   DRR_ROOT=BONES tools/drr/training-mix.sh BASE.tsv OUT
# OUT gets `synthetic_extra/` and `MANIFEST-run32.tsv` to `MANIFEST-run37.tsv`; the paths of BASE must hold relative to OUT too (link its folders there).
# BONES holds `atlas.npz`, `skull.npz` and `trunk.npz` as well (README.md says how they are made).
set -euo pipefail
base=$(realpath "$1") out=$(realpath -m "$2")
export DRR_ROOT=$(realpath "${DRR_ROOT:?names the folder of bones}")
cd "$(dirname "$0")"
tools=$PWD extra=$out/synthetic_extra
mkdir -p "$extra"
cp "$base" "$out/all.tsv"
: >"$out/thighs.txt"
add() {
  # A list that is rendered in two goes has its first images twice.
  (cd "$out" && PYTHONPATH=$tools python3 -m drr.manifest all.tsv synthetic_extra "$1") | awk -F'\t' '!seen[$1]++' >"$out/more.tsv"
  mv "$out/more.tsv" "$out/all.tsv"
}
render() { python3 -m drr.generate "$extra" "$@" && add "MANIFEST-$1.tsv"; }
# Thighs with the knee on the film are no good examples of what is no knee.
unlike() { python3 -m drr.shown "${@:2}" | sed "s#^#$1/#" >>"$out/thighs.txt"; }
# The list of run `$1`: what is rendered so far, of which seed `$2` and the shares after it leave a part.
run() { grep -vFf "$out/thighs.txt" "$out/all.tsv" | python3 -m drr.thin "$2" "${@:3}" >"$out/MANIFEST-$1.tsv"; }

render 19000 KNEE_LEAN_ATLAS=450 FEMUR_LEAN_ATLAS=30 LOWERLEG_LEAN_ATLAS=150 ANKLE_LEAN_ATLAS=300 FOOT_LEAN=250 SHOULDER_LEAN=300 CLAVICLE_LEAN=120 \
  CHEST_LEAN=60 HUMERUS_LEAN=100 ELBOW_LEAN=150 WRIST_LEAN=150 HAND_LEAN=200 FINGER_LEAN=100 FOREARM_LEAN=100
render 18000 PELVIS_LEAN_ATLAS=900 HIP_LEAN_ATLAS=250 LSPINE_LEAN_ATLAS=100 ABDOMEN_LEAN_ATLAS=100 SACRUM_LEAN_ATLAS=100
render 20000 SHOULDER_HALF=400 PELVIS_LEAN_ATLAS=300 KNEE_LEAN_ATLAS=300
render 17000 PELVIS_BOWEL_ATLAS=400 HIP_BOWEL_ATLAS=100 ANKLE_LONG_ATLAS=200 SHOULDER_WIDE=350 FEMUR_WIDE_ATLAS=30 KNEE_WIRES_ATLAS=150
render 12000 PELVIS_VOLUME=62 HIP_VOLUME=62 LSPINE_VOLUME=62 ABDOMEN_VOLUME=61 SACRUM_VOLUME=61
render 6000 SHOULDER_WIDE=400 SACRUM=200 SKULL_JAW=60
render 4000 FOOT_TOES=350 PELVIS_CLOSE=60
render 8000 KNEE_WIRES_ATLAS=350 PELVIS_FRAIL_ATLAS=60
render 11000 SKULL_VOLUME=150
render 3010 TSPINE=120 FINGER=120
python3 -m drr.sections "$extra" 15000 200 && add MANIFEST-sections-15000.tsv
python3 -m drr.other "$extra" 0 400 && add MANIFEST-other-0.tsv
unlike synthetic 0 FEMUR=150
unlike synthetic_extra 19000 FEMUR_LEAN_ATLAS=30
run run32 a1.tsv '^synthetic/=0.4' '/(CLAVICLE|HUMERUS|CHEST)_LEAN/=0.8'
render 1000 FOOT=300 ANKLE=150
run run33 a2.tsv '^synthetic/=0.3' '/(CLAVICLE|HUMERUS)_LEAN/=0.7' '/(PELVIS_BOWEL|HIP_LEAN)/=0.6'
render 10000 KNEE_FEMUR_ATLAS=400 PELVIS_FRAIL_ATLAS=200 PELVIS_WIDE_ATLAS=150
render 2000 HAND=250 FOOT=200
render 9000 KNEE_FEMUR_ATLAS=150 ANKLE_ATLAS=250 SHOULDER=250
render 14000 ANKLE_FRACTURE_ATLAS=200 SHOULDER_FRACTURE=200 KNEE_FRACTURE_ATLAS=150 WRIST_FRACTURE=100 ELBOW_FRACTURE=100 HUMERUS_FRACTURE=60 \
  PELVIS_FRACTURE_ATLAS=150 FEMUR_FRACTURE_ATLAS=60
render 5000 FEMUR_METAL=100 SHOULDER_METAL=150 ELBOW_METAL=100
render 16000 FEMUR_WIDE_ATLAS=60
render 7000 ANKLE_ATLAS=250 KNEE_METAL_ATLAS=150 SACRUM_ATLAS=150 LSPINE_ATLAS=100 HIP_ATLAS=150 PELVIS_ATLAS=200 KNEE_ATLAS=200
render 11000 SKULL_VOLUME=300
render 3010 HAND=150 ABDOMEN=100
render 1000 WRIST=150 FOREARM=100 HIP=75 HUMERUS=75 CLAVICLE=75 CHEST=75 LSPINE=75 CSPINE=50 SKULL=50 LOWERLEG=75
render 21000 KNEE_LEAN_ATLAS=450 FOOT_LEAN=150
unlike synthetic_extra 14000 FEMUR_FRACTURE_ATLAS=60
unlike synthetic_extra 5000 FEMUR_METAL=100
run run34 a3.tsv '^synthetic/FEMUR=0.15' '^synthetic/=0.3' '/(CLAVICLE|HUMERUS)_LEAN/=0.7' '/(PELVIS_BOWEL|HIP_LEAN)/=0.6' '/SHOULDER_(WIDE|HALF|LEAN)/=0.6' \
  '/PELVIS_LEAN/=0.6' '/KNEE_WIRES/=0.7' '/FEMUR_METAL/=0.4' '/KNEE_METAL/=0.6' '/KNEE_ATLAS/=0.7'
render 16000 FEMUR_WIDE_ATLAS=350
render 22000 ANKLE_LONG_ATLAS=300 PELVIS_BOWEL_ATLAS=250 SHOULDER_HALF=150 KNEE_FEMUR_ATLAS=200
run run35 a4.tsv '^synthetic/(FEMUR|CLAVICLE|SKULL)=0.15' '^synthetic/=0.25' '/(CLAVICLE)(_LEAN)?/=0.5' '/HUMERUS(_LEAN|_FRACTURE)?/=0.7' \
  '/(HIP_LEAN|HIP_BOWEL)/=0.6' '/SHOULDER_(WIDE|LEAN)/=0.6' '/PELVIS_LEAN/=0.5' '/PELVIS_(ATLAS|FRACTURE)/=0.5' '/KNEE_WIRES/=0.6' '/FEMUR_METAL/=0.4' \
  '/KNEE_(METAL|ATLAS|FRACTURE)/=0.5' '/KNEE_LEAN/=0.7' '/(SKULL_VOLUME|SKULL_JAW|SKULL)/=0.6' '/FOOT_TOES/=0.7' '/(ELBOW|WRIST|HAND|FINGER|FOREARM)/=0.7' \
  'NOT_A_RAD=0.6' '/(SACRUM|LSPINE|ABDOMEN)_/=0.7'
python3 -m drr.sections "$extra" 15200 300 && add MANIFEST-sections-15200.tsv
run run36 a5.tsv '/FEMUR_WIDE=0.35' '/FEMUR=0' '^synthetic/(CLAVICLE|SKULL)=0.15' '^synthetic/=0.15' '/(CLAVICLE)=0.4' '/HUMERUS=0.6' \
  '/(HIP_LEAN|HIP_BOWEL|HIP_ATLAS|HIP_VOLUME)=0.5' '/SHOULDER_(WIDE|LEAN|METAL|FRACTURE)/=0.4' '/PELVIS_LEAN=0.3' '/PELVIS_(ATLAS|FRACTURE|WIDE)=0.4' \
  '/KNEE_(METAL|ATLAS|FRACTURE)=0.3' '/KNEE_WIRES=0.8' '/KNEE_LEAN=0.8' '/(SKULL_VOLUME|SKULL)/=0.5' '/FOOT=0.5' '/ANKLE_LONG=0.8' '/ANKLE=0.5' \
  '/(ELBOW|WRIST|HAND|FINGER|FOREARM|LOWERLEG)=0.5' 'NOT_A_RADIOGRAPH/(not_a_radiograph_0|other)=0.3' '/(SACRUM|LSPINE|ABDOMEN)=0.5'
run run37 a6.tsv '/FEMUR_WIDE=0.15' '/FEMUR=0' '^synthetic/SKULL=0.5' '^synthetic/CLAVICLE=0.15' '^synthetic/=0.15' '/(CLAVICLE)=0.4' '/HUMERUS=0.6' \
  '/(HIP_LEAN|HIP_BOWEL|HIP_ATLAS|HIP_VOLUME)=0.5' '/SHOULDER_(WIDE|LEAN|METAL|FRACTURE)/=0.4' '/PELVIS_LEAN=0.4' '/PELVIS_(ATLAS|FRACTURE|WIDE)=0.4' \
  '/KNEE_(METAL|ATLAS|FRACTURE)=0.3' '/KNEE_WIRES=0.8' '/KNEE_LEAN=0.8' '/SKULL_VOLUME=0.08' '/SKULL_JAW=0.5' '/SKULL/=0.3' '/FOOT=0.4' '/ANKLE_LONG=0.8' \
  '/ANKLE=0.5' '/(ELBOW|WRIST|HAND|FINGER|FOREARM|LOWERLEG)=0.5' 'NOT_A_RADIOGRAPH/(not_a_radiograph_0|other)=0.2' '/(SACRUM|LSPINE|ABDOMEN)=0.5'
rm -f "$out"/{all,more}.tsv
sha256sum "$out"/MANIFEST-run*.tsv
