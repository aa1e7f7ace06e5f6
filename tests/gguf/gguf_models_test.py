"""Whole models as GGUF files, written by llama.cpp's own Python package: from the file to the logits and ids of Transformers."""
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures"
MAKER = ROOT / "tests/checkpoint/make_gguf_fixtures.py"
BINARY = os.environ.get("INTAGLIO_BIN", str(ROOT / "build/release/intaglio"))
LOGIT_TOLERANCE = 5e-4  # tests/fixtures/README.md
# GGUF says nothing of Qwen2's window of 16, which this fixture uses: only what stays inside it compares.
WITHIN_WINDOW = {"qwen2-tiny": 16}


def run(*command) -> str:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_committed_files_are_what_their_maker_writes(tmp_path):
    run(sys.executable, MAKER, "small", tmp_path)
    committed = sorted((ROOT / "tests/data/gguf").iterdir())
    assert [path.name for path in committed] == sorted(path.name for path in tmp_path.iterdir())
    assert [path.name for path in committed if path.read_bytes() != (tmp_path / path.name).read_bytes()] == []


@pytest.mark.parametrize("fixture", ["llama-tiny", "llama-untied-mqa-tiny", "llama-heads-not-divisible-tiny", "mistral-tiny", "qwen2-tiny",
                                     "qwen3-tiny", "gemma3-text-tiny"])
def test_a_gguf_file_gives_the_golden_logits_and_ids(fixture, tmp_path):
    run(sys.executable, MAKER, "model", FIXTURES / fixture, tmp_path / "model.gguf")
    run(BINARY, "export", tmp_path / "model.gguf", tmp_path / "bundle", "--max-context", 256, "--max-batch", 1)
    golden = load_file(FIXTURES / fixture / "golden.safetensors")
    num_compared = 0
    for number, prompt in enumerate(json.loads((FIXTURES / fixture / "golden.json").read_text())["prompts"]):
        ids = prompt["input_ids"]
        num_new = min(len(prompt["greedy_ids"]), WITHIN_WINDOW.get(fixture, 256) - len(ids))
        if num_new < 1:
            continue
        output = run(BINARY, "run", tmp_path / "bundle", "--input-ids", ",".join(map(str, ids)), "--max-tokens", num_new, "--ignore-eos", "--json",
                     "--logits", tmp_path / "logits.safetensors")
        logits = load_file(tmp_path / "logits.safetensors")["logits"][:len(ids)]
        assert json.loads(output)["ids"] == prompt["greedy_ids"][:num_new]
        assert np.abs(logits - golden[f"p{number}.logits"]).max() <= LOGIT_TOLERANCE
        num_compared += 1
    assert num_compared == (1 if fixture in WITHIN_WINDOW else 3)
