#!/usr/bin/env bash
# From weights to words: exports Gemma 3 270M, generates from it, and says what to try next. Expects a release build.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly intaglio=build/release/intaglio gguf=build/models/gemma-3-270m-q4_k_m.gguf bundle=build/models/gemma-3-270m
readonly prompt="Once upon a time, in a small village by the sea,"

tools/fetch_gemma.sh "$gguf"
if [[ ! $bundle/manifest.json -nt $gguf || ! $bundle/manifest.json -nt $intaglio ]]; then
  echo "demo: $intaglio export $gguf $bundle"
  "$intaglio" export "$gguf" "$bundle" --force
fi
echo "demo: $intaglio run $bundle -p \"$prompt\" --max-tokens 64"
echo
"$intaglio" run "$bundle" -p "$prompt" --max-tokens 64
cat <<TEXT

Try next:
  $intaglio run $bundle -p "The three laws of robotics are" --temperature 0.8 --top-p 0.95 --seed 7
  $intaglio inspect $bundle            # graphs, buckets, memory map, weights
  $intaglio inspect $bundle --plan     # every kernel call of every step
  INTAGLIO_ISA=scalar $intaglio run $bundle -p "$prompt" --max-tokens 64    # slower, the same words: every bit is the same
  $intaglio compare --fixture tests/fixtures/llama-tiny     # module by module against Transformers
  $intaglio export YOUR_CHECKPOINT YOUR_BUNDLE              # a Hugging Face folder or a GGUF file
TEXT
