#!/bin/sh
# The CPU engine beside ONNX Runtime and OpenVINO, in single precision and in 8 bits: same weights, same machine, in turn; a table
# of medians and ratios.
# Options go to engine/peers.py (--help); before them `--narrow` has all compute as on a CPU with AVX2 alone (engine/hide.py). Installs
# the peers into target/peers-engine (400 MB) on its first run.
# PyTorch is not among them: its wheel alone is larger than all others, and ONNX Runtime was the faster of the two.
set -eu
cd "$(dirname "$0")/../.."
env=target/peers-engine
narrow=
if [ "${1:-}" = --narrow ]; then
    narrow=yes
    shift
fi
if [ ! -x "$env/bin/python" ]; then
    python3 -m venv "$env"
    "$env/bin/pip" install --quiet 'numpy>=2' 'onnx>=1.18' 'onnxruntime>=1.22' 'openvino>=2025' 'safetensors>=0.5'
fi
cargo build --quiet --release --example engine_rate
set -- "$env/bin/python" benches/peers/engine/peers.py "${CARGO_TARGET_DIR:-target}/release/examples/engine_rate" \
    weights/radroute.safetensors "$@"
[ -n "$narrow" ] || exec "$@"
exec gdb -batch -iex 'set auto-load off' -ex 'set print thread-events off' -ex 'set print inferior-events off' \
    -x benches/peers/engine/hide.py -ex run --args "$@" --instructions avx2
