#!/usr/bin/env bash
# Reception beside dcmtk's storescp --fork, in turns: instances a second, server CPU, memory.
#
#   benches/peers/receive.sh                 all of it, three rounds
#   benches/peers/receive.sh --help          what can be left out
#
# Images and the peers' stores are in memory (--memory, /dev/shm); radroute's spool is there too, and once more on a disk
# (--disk, the temporary folder), where every instance is synced before it is answered.
set -euo pipefail
source "$(dirname "$0")/prepare.sh"
exec "$PYTHON" "$root/benches/peers/network/receive.py" "$@"
