#!/usr/bin/env bash
# Builds and runs the benchmarks of benchmarks/, each with the limits of the machine measured in turn with it, then times a whole model
# if `make demo` has made one. Compare two runs only on the same, quiet machine.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly intaglio=build/release/intaglio bundle=build/models/gemma-3-270m
tools/build.sh release benchmarks/all intaglio
for program in build/release/benchmarks/*; do
  if [[ -f $program && -x $program ]]; then
    echo "=== $(basename "$program")"
    "$program"
  fi
done
if [[ -x build/release/collectives_mpi_benchmark ]]; then
  echo "=== collectives_mpi_benchmark"
  tests/mpi/run.sh -n 2 build/release/collectives_mpi_benchmark
fi
if [[ -f $bundle/manifest.json ]]; then
  echo "=== Gemma 3 270M, bf16 weights"
  "$intaglio" run "$bundle" -p "$(head -c 4000 LICENSE)" --max-tokens 128 --ignore-eos > /dev/null
else
  echo "bench: no model to time; run make demo first"
fi
