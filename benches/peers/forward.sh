#!/usr/bin/env bash
# Store and forward beside Orthanc, in turns: instances a second from the first byte sent to the last at the sink, on four associations.
#
#   benches/peers/forward.sh                 all of it, three rounds
#   benches/peers/forward.sh --help          what can be left out
#
# Orthanc edits the tag in Python and forwards in Lua, syncs nothing and looks at no pixel, its store is in memory. radroute classifies,
# corrects, and syncs every instance before it is answered, on a disk (--disk) and, for comparison, in memory.
set -euo pipefail
source "$(dirname "$0")/prepare.sh"
want orthanc orthanc-python python3-pydicom
exec "$PYTHON" "$root/benches/peers/network/forward.py" "$@"
