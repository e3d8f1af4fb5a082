#!/usr/bin/env bash
# Everything that must hold: format, lints, tests with real peers, dependency audit, shipped configurations.
# Installs what the tests want where it can (Debian, as root or with sudo); what cannot be had, the tests say they skip.
#
#   tests/run.sh            all of it
#   tests/run.sh NAME …     only the tests whose names contain NAME, no other checks
set -euo pipefail
cd "$(dirname "$0")/.."

# The compiler's notes for building the same again take as much of the disk as what is built.
export CARGO_INCREMENTAL=0

step() { printf '\n── %s\n' "$*"; }

install_peers() {
  local want=() package sudo=
  command -v apt-get >/dev/null || { echo "no apt-get here: tests whose peers are missing will skip"; return 0; }
  for package in dcmtk dicom3tools orthanc python3-venv; do
    dpkg -s "$package" >/dev/null 2>&1 || want+=("$package")
  done
  ((${#want[@]})) || return 0
  if ((EUID != 0)); then
    command -v sudo >/dev/null || { echo "not root and no sudo: ${want[*]} not installed"; return 0; }
    sudo=sudo
  fi
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${want[@]}" >/dev/null ||
    echo "could not install ${want[*]}: tests that want them will skip"
}

install_python() {
  # pynetdicom and a reader of figures in an environment of the project's own: nothing is changed outside target/.
  local venv=target/peers-python
  if ! "$venv/bin/python" -c 'import pynetdicom, pydicom, numpy, prometheus_client' 2>/dev/null; then
    mkdir -p target
    { python3 -m venv "$venv" && "$venv/bin/pip" install -q 'pynetdicom>=3.0.4,<4' 'pydicom>=3,<4' 'numpy>=2,<3' 'prometheus-client>=0.20,<1'; } ||
      { echo "pynetdicom could not be installed: tests that want it will skip"; return 0; }
  fi
  export RADROUTE_TEST_PYTHON=$PWD/$venv/bin/python
}

step "peers"
install_peers
install_python

if (($#)); then
  exec cargo test --locked -- "$@"
fi

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --locked --all-targets -- -D warnings

step "tests"
mkdir -p target
cargo test --locked -- --show-output 2>&1 | tee target/tests.log
skipped=$(grep -c '^SKIPPED' target/tests.log || true)
echo
echo "$skipped tests said that they skipped:"
grep '^SKIPPED' target/tests.log | sort | uniq -c || true

step "shipped configurations"
for file in config.toml docs/examples/*.toml; do
  [[ -e $file ]] || continue
  cargo run --quiet --locked -- check --config "$file"
done

step "dependencies"
# Unoptimised: it is built in half the time and has little to do.
command -v cargo-deny >/dev/null || CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --locked --debug cargo-deny
cargo deny check licenses bans sources
# The advisory database is a repository on the network; where it cannot be reached, say so instead of failing.
if ! cargo deny check advisories; then
  if git ls-remote -q https://github.com/RustSec/advisory-db HEAD >/dev/null 2>&1; then
    exit 1
  fi
  echo "advisories: SKIPPED, the advisory database cannot be reached from here"
fi

step "all of it holds"
