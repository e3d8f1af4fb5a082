#!/usr/bin/env bash
# Renders the synthetic images that the shipped weights were trained on beside those of the base manifest, and writes the manifests.
#   DRR_ROOT=BONES tools/drr/training-set.sh BASE.tsv OUT [more | most | atlas | tomograms | lean]
# OUT gets `synthetic_extra/` and `MANIFEST.tsv`; the paths of BASE must hold relative to OUT too (link its folders there). Each further
# stage adds to the one before: `more` gives `MANIFEST-more.tsv` with the images from index 5000 on, `most` also `MANIFEST-most.tsv` with
# those from 6000 on, and `atlas` also `MANIFEST-every.tsv` with lower limbs of many shapes (from 7000 and 8000 on), and
# `MANIFEST-atlas.tsv`, `MANIFEST-atlas2.tsv` and `MANIFEST-atlas3.tsv`, where these stand in for further images of the one skeleton, and
# `tomograms` those of the runs 15 to 23 (docs/training.md), with a head and a trunk from tomograms at the end (README.md says where they come from),
# and `lean` those of the runs from 24 on, with bowels full of stool and bones that one sees through.
set -euo pipefail
base=$(realpath "$1") out=$(realpath -m "$2")
export DRR_ROOT=$(realpath "${DRR_ROOT:?names the folder of bones}")
case ${3:-} in
  "") stage=0 ;; more) stage=1 ;; most) stage=2 ;; atlas) stage=3 ;; tomograms) stage=4 ;; lean) stage=5 ;;
  *) echo "the third argument is more, most, atlas, tomograms or lean" >&2; exit 1 ;;
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
if ((stage >= 4)); then
  python3 -m drr.generate "$extra" 9000 SHOULDER=500 CLAVICLE=300 SKULL=250 KNEE_FEMUR_ATLAS=300 KNEE_LONG_ATLAS=200 ANKLE_ATLAS=300 PELVIS_ATLAS=200 \
    HUMERUS=200 CHEST=100
  python3 -m drr.generate "$extra" 10000 PELVIS_FRAIL_ATLAS=600 PELVIS_WIDE_ATLAS=300 KNEE_FEMUR_ATLAS=400 KNEE_WIRES_ATLAS=300 KNEE_METAL_ATLAS=200
  python3 -m drr.generate "$extra" 11000 SKULL_VOLUME=400
  python3 -m drr.generate "$extra" 12000 PELVIS_VOLUME=500 HIP_VOLUME=150 LSPINE_VOLUME=150 ABDOMEN_VOLUME=100 SACRUM_VOLUME=120
  python3 -m drr.generate "$extra" 13000 KNEE_LUXATION_ATLAS=300
  python3 -m drr.generate "$extra" 14000 FEMUR_FRACTURE_ATLAS=350 CLAVICLE_FRACTURE=250 HIP_FRACTURE_ATLAS=150 PELVIS_FRACTURE_ATLAS=250 HUMERUS_FRACTURE=120 \
    FOREARM_FRACTURE=120 WRIST_FRACTURE=150 LOWERLEG_FRACTURE_ATLAS=150 ANKLE_FRACTURE_ATLAS=200 KNEE_FRACTURE_ATLAS=300 ELBOW_FRACTURE=200 SHOULDER_FRACTURE=200
  python3 -m drr.sections "$extra" 15000 500
  python3 -m drr.generate "$extra" 16000 FEMUR_WIDE_ATLAS=350
  # Thighs with the knee on the film are no good examples of what is no knee: first those rendered here, then those of the base manifest, then broken ones.
  python3 -m drr.shown 0 FEMUR=150 | sed 's#^#synthetic/#' >"$out/thighs-base.txt"
  python3 -m drr.shown 14000 FEMUR_FRACTURE_ATLAS=350 | sed 's#^#synthetic_extra/#' >"$out/thighs-broken.txt"
  { python3 -m drr.shown 1000 FEMUR=75; python3 -m drr.shown 5000 FEMUR=150 FEMUR_METAL=150; python3 -m drr.shown 7000 FEMUR_ATLAS=350 FEMUR_METAL_ATLAS=100; } |
    sed 's#^#synthetic_extra/#' >"$out/thighs.txt"
  { cat "$out/MANIFEST-atlas2.tsv"; grep ^synthetic_extra/SACRUM/ "$out/MANIFEST-most.tsv"; } | grep -vFf "$out/thighs.txt" >"$out/base.tsv"
  add base.tsv MANIFEST-9000.tsv >"$out/MANIFEST-run15.tsv"
  grep -v ^synthetic_extra/SKULL/skull_09 "$out/MANIFEST-run15.tsv" >"$out/base.tsv"
  add base.tsv MANIFEST-10000.tsv >"$out/MANIFEST-run16.tsv"
  grep -v ^synthetic_extra/SKULL_JAW/skull_jaw_06[12] "$out/MANIFEST-run16.tsv" >"$out/base.tsv"
  add base.tsv MANIFEST-11000.tsv >"$out/MANIFEST-run18.tsv"
  grep -v ^synthetic_extra/SKULL/ "$out/MANIFEST-run18.tsv" >"$out/MANIFEST-run19.tsv"
  grep -vFf "$out/thighs-base.txt" "$out/MANIFEST-run19.tsv" >"$out/base.tsv"
  add base.tsv MANIFEST-12000.tsv MANIFEST-13000.tsv >"$out/MANIFEST-run20.tsv"
  add MANIFEST-run20.tsv MANIFEST-14000.tsv MANIFEST-sections-15000.tsv | grep -vFf "$out/thighs-broken.txt" >"$out/base.tsv"
  # Of the rendered images that were learnt before, one in `$3`, from the `$2`th on, all that match `$1`, and of those that match `$4` every second one.
  some() {
    awk -F'\t' -v all="$1" -v start="$2" -v of="$3" -v half="${4:-^$}" \
      'NR == 1 || $4 !~ /^synthetic/ || $1 ~ all || ($1 ~ half ? h++ % 2 == 0 : n++ % of == start)'
  }
  new='_VOLUME|LUXATION|FRACTURE|_1[56][0-9][0-9][0-9].jpg'
  some "$new" 0 2 <"$out/base.tsv" >"$out/MANIFEST-run21.tsv"
  add base.tsv MANIFEST-16000.tsv >"$out/wide.tsv"
  some "$new|SHOULDER|KNEE_WIRES|KNEE_FEMUR" 2 3 <"$out/wide.tsv" |
    grep -vE 'CLAVICLE_FRACTURE/clavicle_fracture_14[12]|ELBOW_FRACTURE/elbow_fracture_141' >"$out/MANIFEST-run22.tsv"
  # With the pelves and hips of the one skeleton again.
  { grep -vE 'CLAVICLE_FRACTURE/clavicle_fracture_14(0[5-9]|[12])|ELBOW_FRACTURE/elbow_fracture_141' "$out/wide.tsv" |
      some '(PELVIS|HIP|SACRUM|LSPINE|ABDOMEN)_VOLUME|/SHOULDER|ANKLE_FRACTURE|FEMUR_WIDE|KNEE_LUX' 2 5
    grep -E '^synthetic_extra/(PELVIS|HIP)(_CLOSE|_WIDE|_METAL)?/' "$out/MANIFEST-most.tsv"; } >"$out/MANIFEST-run23.tsv"
fi
if ((stage >= 5)); then
  python3 -m drr.generate "$extra" 17000 PELVIS_BOWEL_ATLAS=500 HIP_BOWEL_ATLAS=100 ANKLE_LONG_ATLAS=200 SHOULDER_WIDE=350 FEMUR_WIDE_ATLAS=200 KNEE_WIRES_ATLAS=150
  python3 -m drr.generate "$extra" 18000 PELVIS_LEAN_ATLAS=900 HIP_LEAN_ATLAS=250 LSPINE_LEAN_ATLAS=100 ABDOMEN_LEAN_ATLAS=100 SACRUM_LEAN_ATLAS=100
  python3 -m drr.generate "$extra" 19000 KNEE_LEAN_ATLAS=450 FEMUR_LEAN_ATLAS=120 LOWERLEG_LEAN_ATLAS=150 ANKLE_LEAN_ATLAS=300 FOOT_LEAN=250 SHOULDER_LEAN=300 \
    CLAVICLE_LEAN=120 CHEST_LEAN=60 HUMERUS_LEAN=100 ELBOW_LEAN=150 WRIST_LEAN=150 HAND_LEAN=200 FINGER_LEAN=100 FOREARM_LEAN=100
  python3 -m drr.generate "$extra" 20000 SHOULDER_HALF=400 PELVIS_LEAN_ATLAS=300 KNEE_LEAN_ATLAS=300
  python3 -m drr.shown 19000 FEMUR_LEAN_ATLAS=120 | sed 's#^#synthetic_extra/#' >"$out/thighs-lean.txt"
  kept='(PELVIS|HIP|LSPINE|ABDOMEN)_VOLUME|FEMUR_WIDE|/SHOULDER|_17[0-9][0-9][0-9].jpg'
  add wide.tsv MANIFEST-17000.tsv >"$out/base.tsv"
  some "SACRUM|CHEST|$kept" 1 3 <"$out/base.tsv" >"$out/MANIFEST-run24.tsv"
  some "$kept" 2 3 <"$out/base.tsv" >"$out/MANIFEST-run25.tsv"
  add base.tsv MANIFEST-18000.tsv >"$out/wide.tsv"
  some '_18[0-9][0-9][0-9].jpg|/SHOULDER|PELVIS_VOLUME' 3 4 <"$out/wide.tsv" >"$out/MANIFEST-run26.tsv"
  add wide.tsv MANIFEST-19000.tsv >"$out/base.tsv"
  some '_19[0-9][0-9][0-9].jpg|KNEE_WIRES' 0 4 '_18[0-9][0-9][0-9].jpg|/SHOULDER' <"$out/base.tsv" >"$out/MANIFEST-run27.tsv"
  add base.tsv MANIFEST-20000.tsv | grep -vFf "$out/thighs-lean.txt" >"$out/wide.tsv"
  some '_20[0-9][0-9][0-9].jpg|SHOULDER_WIDE|PELVIS_LEAN' 2 4 'KNEE_WIRES|KNEE_LEAN|/SHOULDER' <"$out/wide.tsv" >"$out/MANIFEST-run28.tsv"
  grep -vE '/FEMUR[^/]*/[^/]*[1-9].jpg' "$out/wide.tsv" |
    some 'KNEE_WIRES|KNEE_LEAN|SHOULDER_(WIDE|HALF)|PELVIS_LEAN' 1 5 'KNEE_FEMUR|/FEMUR' >"$out/MANIFEST-run29.tsv"
  grep -vE '/FEMUR[^/]*/[^/]*[1-9].jpg|CLAVICLE_FRACTURE' "$out/wide.tsv" >"$out/base.tsv"
  some 'KNEE_(WIRES|LEAN)|SHOULDER_(WIDE|HALF)|_18[0-9][0-9][0-9].jpg|PELVIS_(LEAN|VOLUME)' 1 8 'KNEE_FEMUR|/FEMUR|/SHOULDER' <"$out/base.tsv" >"$out/MANIFEST-run30.tsv"
  some 'KNEE_(WIRES|LEAN)|SHOULDER_(WIDE|HALF)|(PELVIS|HIP)_LEAN|/SACRUM' 3 9 'KNEE_FEMUR|/FEMUR|/SHOULDER|PELVIS_VOLUME' <"$out/base.tsv" >"$out/MANIFEST-run31.tsv"
fi
rm -f "$out"/{wide,base}.tsv
sha256sum "$out"/MANIFEST*.tsv
