#!/usr/bin/env bash
# Builds and runs the benchmarks of benchmarks/. Compare two runs only on the same, quiet machine.
#
#   tools/bench.sh [ARGUMENT...]      arguments go to every benchmark, e.g. --benchmark_filter=matmul
set -euo pipefail
cd "$(dirname "$0")/.."
tools/build.sh release benchmarks/all
for program in build/release/benchmarks/*; do
  if [[ -f $program && -x $program ]]; then "$program" "$@"; fi
done
