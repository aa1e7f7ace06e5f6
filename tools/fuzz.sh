#!/usr/bin/env bash
# Builds the fuzz targets (fuzz/, one for each parser of outside bytes) and runs each for FUZZ_SECONDS, 30 by default, as many at once as
# there are cores.
#
#   tools/fuzz.sh [RESULTS.xml]
#
# What a target finds interesting stays in build/fuzz/corpus/ for the next run; an input that fails is kept in build/fuzz/failures/.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly results=${1:-build/fuzz.xml}
export seconds=${FUZZ_SECONDS:-30} out=build/fuzz
tools/build.sh fuzz fuzz/all

# shellcheck disable=SC2329  # called through xargs
run_target() {  # PROGRAM: prints a line, leaves its test case in $out/NAME.case
  local program=$1 name corpora runs
  name=$(basename "$program" _fuzz)
  mkdir -p "$out/corpus/$name" "$out/failures"
  corpora=("$out/corpus/$name")
  [[ -d fuzz/corpus/$name ]] && corpora+=("fuzz/corpus/$name")
  if "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
      -artifact_prefix="$out/failures/$name-" "${corpora[@]}" > "$out/$name.log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$name.log")
    echo "fuzz: $name, $runs inputs in $seconds s, no fault"
    echo "<testcase name=\"$name\"/>" > "$out/$name.case"
  else
    tail -n 40 "$out/$name.log"
    echo "fuzz: $name FAILED; run it again with: $program $out/failures/$name-…"
    echo "<testcase name=\"$name\"><failure/></testcase>" > "$out/$name.case"
    return 1
  fi
}
export -f run_target

rm -f "$out"/*.case
status=0
# shellcheck disable=SC2016  # expanded by the shells that xargs starts
printf '%s\n' "$out"/fuzz/*_fuzz | xargs -P "$(nproc)" -I{} bash -c 'run_target "$1"' run {} || status=1
echo "<testsuite name=\"fuzz\">$(cat "$out"/*.case)</testsuite>" > "$results"
exit $status
