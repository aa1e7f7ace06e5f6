#!/usr/bin/env bash
# Builds and runs under a sanitizer the tests that it is most likely to catch something in.
#
#   tools/sanitize.sh asan|tsan [RESULTS_FOLDER]
#
# asan: whatever reads bytes from outside or computes offsets. tsan: whatever runs in threads. The other folders are pure functions
# of what these give them, and take long under a sanitizer; run them with FOLDERS="kernels models" tools/sanitize.sh asan.
# One process runs all tests of a folder: starting under a sanitizer costs more than most tests do.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly preset=$1 results=${2:-build/$1}
case $preset in
  asan) folders=(base checkpoint text graph bundle runtime) ;;
  tsan) folders=(base collectives runtime) ;;
  *) echo "sanitize: unknown sanitizer '$preset'; use asan or tsan" >&2; exit 2 ;;
esac
if [[ -n ${FOLDERS:-} ]]; then read -ra folders <<< "$FOLDERS"; fi

# The sanitizers of older compilers cannot place their shadow memory where the kernel randomises addresses over many bits.
prefix=()
if setarch -R true 2> /dev/null; then prefix=(setarch -R); fi

${prefix[@]+"${prefix[@]}"} tools/build.sh "$preset" "${folders[@]/%/_test}"
status=0
for folder in "${folders[@]}"; do
  ${prefix[@]+"${prefix[@]}"} timeout 900 "build/$preset/tests/${folder}_test" --gtest_brief=1 \
    --gtest_output="xml:$results/$preset.$folder.xml" || { echo "$preset: $folder FAILED"; status=1; }
done
exit $status
