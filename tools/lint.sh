#!/usr/bin/env bash
# Checks layout, likely bugs and sizes in C++, Python and shell files; --fix rewrites what can be rewritten (layout, Python imports).
#
#   tools/lint.sh [--fix]
#
# clang-tidy reads the compile commands of the release build and takes minutes; TIDY="src/graph/*.cc" narrows it, TIDY=none skips it.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly bin=$PWD/build/venv/bin
mapfile -t sources < <(find src include tests fuzz benchmarks -name fixtures -prune -o \( -name '*.cc' -o -name '*.h' \) -print | sort)
if [[ ${1:-} == --fix ]]; then
  "$bin/clang-format" -i "${sources[@]}"
  "$bin/ruff" check --quiet --fix tools tests python
  exit
fi

status=0
check() {  # NAME COMMAND...
  local name=$1
  shift
  echo "lint: $name"
  "$@" || { echo "lint: $name FAILED"; status=1; }
}

# shellcheck disable=SC2329  # called through check
layout() {
  local file status=0
  for file in "${sources[@]}"; do
    "$bin/clang-format" "$file" | cmp --silent - "$file" || { echo "  $file"; status=1; }
  done
  return "$status"
}

# shellcheck disable=SC2329,SC2086  # called through check; TIDY is a list of patterns
tidy() {
  printf '%s\n' ${TIDY:-src/*/*.cc} | xargs -n 1 -P "$(nproc)" "$bin/clang-tidy" --quiet -p build/release
}

check "C++ layout (make format repairs it)" layout
check "functions of at most 50 lines and 5 parameters" "$bin/lizard" -l cpp -L 50 -a 5 -C 1000 -w src include
check "Python" "$bin/ruff" check --quiet tools tests python
check "shell" "$bin/shellcheck" tools/*.sh tests/mpi/*.sh .ci/run
if [[ ${TIDY:-} != none ]]; then
  tools/build.sh release build.ninja > /dev/null  # configures, for the compile commands; nothing is compiled
  check "clang-tidy" tidy
fi
exit $status
