#!/usr/bin/env bash
# Resident memory of radroute: under 64 associations that send 15 MB images at once, and over many instances.
#
#   benches/memory.sh                        the 64 associations, then 2,000 CR
#   benches/memory.sh --instances 50000      the long one: an hour or two
set -euo pipefail
source "$(dirname "$0")/peers/prepare.sh"
exec "$PYTHON" "$root/benches/peers/network/memory.py" "$@"
