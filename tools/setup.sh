#!/usr/bin/env bash
# Installs what building and testing need and this machine lacks. Looks at what is really there, so it may be run at any time: when
# nothing is missing it says nothing and takes about a second.
#
#   tools/setup.sh          what `make build` and `make demo` need
#   tools/setup.sh test     also what `make test` needs (clang for the fuzz targets)
#   tools/setup.sh lint     also what `make lint` and `make format` need
set -euo pipefail
cd "$(dirname "$0")/.."
readonly log=build/setup.log
mkdir -p build
: > "$log"

packages=(make g++ cmake ninja-build python3 python3-venv ca-certificates libgtest-dev libbenchmark-dev nlohmann-json3-dev
          libcli11-dev libxxhash-dev libopenmpi-dev openmpi-bin libhwloc-dev)
requirements=(tools/requirements.txt)
case "${1:-build}" in
  build) ;;
  test) packages+=(clang-19 libclang-rt-19-dev) ;;
  lint) requirements+=(tools/requirements-lint.txt) ;;
  *) echo "setup: unknown argument '$1'; use build, test or lint" >&2; exit 2 ;;
esac

# Runs a command with its output in the log; shows the log's end only if the command fails.
logged() {
  if ! "$@" >> "$log" 2>&1; then
    echo "setup: '$*' failed; the end of $log:" >&2
    tail -n 20 "$log" >&2
    exit 1
  fi
}

as_root() {
  if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

# The Rust crate needs cargo 1.85. Debian 12's plain cargo is older, its package for browsers is not.
has_cargo() {
  local version
  version=$(cargo --version 2>/dev/null) || return 1
  [[ $version =~ ^cargo\ ([0-9]+)\.([0-9]+) ]] && (( BASH_REMATCH[1] > 1 || BASH_REMATCH[2] >= 85 ))
}

install_packages() {
  if ! command -v apt-get > /dev/null; then
    echo "setup: this is not a Debian system; install the counterparts of: ${packages[*]}, and Rust 1.85 or newer" >&2
    return
  fi
  has_cargo || packages+=(rustc-web cargo-web)
  local missing=() package
  for package in "${packages[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  (( ${#missing[@]} > 0 )) || return 0
  echo "setup: installing ${missing[*]}"
  logged as_root apt-get update
  logged as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

# The crates' sources, at the versions of Cargo.lock; the build itself runs offline.
fetch_crates() {
  has_cargo || { echo "setup: needs cargo 1.85 or newer, found '$(cargo --version 2>&1 || true)'" >&2; exit 1; }
  local arguments=(fetch --locked --manifest-path rust/Cargo.toml --target "$(rustc -vV | sed -n 's/^host: //p')")
  cargo "${arguments[@]}" --offline >> "$log" 2>&1 && return
  echo "setup: fetching Rust crates"
  logged cargo "${arguments[@]}"
}

# build/venv, with the exact versions of the requirements files.
install_python_packages() {
  local python=python3
  "$python" -c 'import ensurepip, venv' 2> /dev/null || python=/usr/bin/python3
  build/venv/bin/python -c '' 2> /dev/null || { rm -rf build/venv; logged "$python" -m venv build/venv; }
  build/venv/bin/python tools/check_requirements.py "${requirements[@]}" && return
  echo "setup: installing Python packages in build/venv"
  logged build/venv/bin/python -m pip install --disable-pip-version-check --no-deps "${requirements[@]/#/--requirement=}"
}

install_packages
fetch_crates
install_python_packages
