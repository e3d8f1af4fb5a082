#!/usr/bin/env bash
# How long one CR takes from the release of its association to an idle radroute until its last byte is at the archive.
#
#   benches/peers/latency.sh [--times N]
set -euo pipefail
source "$(dirname "$0")/prepare.sh"
exec "$PYTHON" "$root/benches/peers/network/latency.py" "$@"
