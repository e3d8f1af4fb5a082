# Sourced by the scripts beside it: peers, a Python and a release build. Leaves $PYTHON and $RADROUTE.
#
# RADROUTE=PATH takes a binary that is there already, RADROUTE_TEST_PYTHON=PATH a Python with pydicom and numpy.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"

want() {
  local missing=() package sudo=
  for package in "$@"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  ((EUID == 0)) || sudo=sudo
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
want dcmtk python3-venv

PYTHON=${RADROUTE_TEST_PYTHON:-$root/target/peers-python/bin/python}
if ! "$PYTHON" -c 'import pynetdicom, pydicom, numpy' 2>/dev/null; then
  mkdir -p target
  python3 -m venv target/peers-python
  target/peers-python/bin/pip install -q 'pynetdicom>=3.0.4,<4' 'pydicom>=3,<4' 'numpy>=2,<3'
fi

if [[ -z ${RADROUTE:-} ]]; then
  cargo build --release --locked --bin radroute
  RADROUTE=${CARGO_TARGET_DIR:-target}/release/radroute
fi
export RADROUTE PYTHON
