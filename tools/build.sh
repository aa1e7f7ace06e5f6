#!/usr/bin/env bash
# Builds targets of one preset of CMakePresets.json, configuring it first where that was never done.
#
#   tools/build.sh PRESET [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."
readonly preset=$1
shift
if [[ ! -f build/$preset/build.ninja ]]; then
  mkdir -p "build/$preset"
  echo "build: configuring $preset"
  if ! cmake --preset "$preset" > "build/$preset/configure.log" 2>&1; then
    cat "build/$preset/configure.log" >&2
    exit 1
  fi
fi
exec ninja -C "build/$preset" "$@"
