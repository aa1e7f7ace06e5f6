#!/usr/bin/env bash
# The whole test suite. A failed step does not stop the next ones; the last line counts the tests of all of them.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly results=build/test-results gguf=build/models/gemma-3-270m-q4_k_m.gguf
rm -rf "$results"
mkdir -p "$results"
failed_steps=()

step() {  # NAME COMMAND...
  local name=$1 start=$SECONDS
  shift
  echo "=== $name"
  if "$@"; then
    echo "=== $name: fine, $((SECONDS - start)) s"
  else
    echo "=== $name: FAILED, $((SECONDS - start)) s"
    failed_steps+=("$name")
  fi
}

ctest_release() {
  ctest --test-dir build/release --output-on-failure --parallel "$(nproc)" --output-junit "$PWD/$results/ctest.xml"
}

pytest_all() {
  INTAGLIO_BIN=$PWD/build/release/intaglio INTAGLIO_GEMMA_GGUF=$PWD/$gguf \
    build/venv/bin/python -m pytest tests --junit-xml="$results/pytest.xml"
}

step "release build" tools/build.sh release
step "Gemma 3 270M" tools/fetch_gemma.sh "$gguf"
if [[ " ${failed_steps[*]-} " != *" release build "* ]]; then
  step "unit and parity tests" ctest_release
  step "layering, style and command line" pytest_all
  step "address and undefined behaviour" tools/sanitize.sh asan "$results"
  step "threads" tools/sanitize.sh tsan "$results"
  step "fuzz" tools/fuzz.sh "$results/fuzz.xml"
fi
build/venv/bin/python tools/count_tests.py "$results" ${failed_steps[@]+"${failed_steps[@]}"}
