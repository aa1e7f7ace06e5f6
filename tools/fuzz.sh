#!/usr/bin/env bash
# Builds the fuzz targets (fuzz/, one for each parser of outside bytes) and runs each for FUZZ_SECONDS, 30 by default.
#
#   tools/fuzz.sh [RESULTS.xml]
#
# What a target finds interesting stays in build/fuzz/corpus/ for the next run; an input that fails is kept in build/fuzz/failures/.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly seconds=${FUZZ_SECONDS:-30} results=${1:-build/fuzz.xml} out=build/fuzz
tools/build.sh fuzz fuzz/all

cases=""
status=0
for program in "$out"/fuzz/*_fuzz; do
  name=$(basename "$program" _fuzz)
  mkdir -p "$out/corpus/$name" "$out/failures"
  corpora=("$out/corpus/$name")
  [[ -d fuzz/corpus/$name ]] && corpora+=("fuzz/corpus/$name")
  if "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
      -artifact_prefix="$out/failures/$name-" "${corpora[@]}" > "$out/$name.log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out/$name.log")
    echo "fuzz: $name, $runs inputs in $seconds s, no fault"
    cases+="<testcase name=\"$name\"/>"
  else
    tail -n 40 "$out/$name.log"
    echo "fuzz: $name FAILED; run it again with: $program $out/failures/$name-…"
    cases+="<testcase name=\"$name\"><failure/></testcase>"
    status=1
  fi
done
echo "<testsuite name=\"fuzz\">$cases</testsuite>" > "$results"
exit $status
