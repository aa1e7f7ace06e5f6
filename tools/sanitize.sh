#!/usr/bin/env bash
# Builds and runs under a sanitizer the tests that it is most likely to catch something in.
#
#   tools/sanitize.sh asan|tsan [RESULTS.xml]
#
# asan: whatever reads bytes from outside or computes offsets. tsan: whatever runs in threads. The other folders are pure functions
# of what these give them, and take long under a sanitizer; run them with FOLDERS="kernels models" tools/sanitize.sh asan.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly preset=$1 results=${2:-$PWD/build/$1.xml}
case $preset in
  asan) folders=(base checkpoint text graph bundle runtime) ;;
  tsan) folders=(base runtime) ;;
  *) echo "sanitize: unknown sanitizer '$preset'; use asan or tsan" >&2; exit 2 ;;
esac
if [[ -n ${FOLDERS:-} ]]; then read -ra folders <<< "$FOLDERS"; fi

# The sanitizers of older compilers cannot place their shadow memory where the kernel randomises addresses over many bits.
fixed_addresses=()
if setarch -R true 2> /dev/null; then fixed_addresses=(setarch -R); fi

${fixed_addresses[@]+"${fixed_addresses[@]}"} tools/build.sh "$preset" "${folders[@]/%/_test}"
pattern=$(IFS='|'; echo "^(${folders[*]})\\.")
${fixed_addresses[@]+"${fixed_addresses[@]}"} ctest --test-dir "build/$preset" --tests-regex "$pattern" --no-tests=error \
  --output-on-failure --parallel "$(nproc)" --output-junit "$results"
