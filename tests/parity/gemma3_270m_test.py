"""Real weights: Gemma 3 270M against what Transformers generates, from the GGUF and from the goldens' own bfloat16 checkpoint."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("INTAGLIO_BIN", str(ROOT / "build/release/intaglio"))
GGUF = Path(os.environ.get("INTAGLIO_GEMMA_GGUF", str(ROOT / "build/models/gemma-3-270m-q4_k_m.gguf")))
GOLDEN = json.loads((ROOT / "tests/fixtures/gemma3-270m.json").read_text())
# The goldens' weights are rounded to bfloat16, the GGUF's are not: only the first tokens must agree (the smallest margin among them is 0.3).
EARLY_TOKENS = 8


def run(*arguments: str) -> str:
    result = subprocess.run([BINARY, *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def generate(bundle: Path, prompt: dict, tokens: int) -> dict:
    ids = ",".join(map(str, prompt["input_ids"]))
    return json.loads(run("run", str(bundle), "--input-ids", ids, "--max-tokens", str(tokens), "--ignore-eos", "--json"))


@pytest.fixture(scope="module")
def gguf_bundle(tmp_path_factory):
    bundle = tmp_path_factory.mktemp("gemma") / "gguf"
    run("export", str(GGUF), str(bundle), "--dequantize", "--max-context", "512", "--max-batch", "1")
    return bundle


@pytest.fixture(scope="module")
def quantised_bundle(tmp_path_factory):
    bundle = tmp_path_factory.mktemp("gemma") / "quantised"
    run("export", str(GGUF), str(bundle), "--max-context", "512", "--max-batch", "1")
    return bundle


@pytest.fixture(scope="module")
def bf16_bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gemma")
    tool = str(ROOT / "tools/gemma3_bf16_checkpoint.py")
    made = subprocess.run([sys.executable, tool, str(GGUF), str(folder / "checkpoint")], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert GOLDEN["checkpoint_sha256"] in made.stdout
    run("export", str(folder / "checkpoint"), str(folder / "bf16"), "--max-context", "512", "--max-batch", "1")
    return folder / "bf16"


@pytest.mark.parametrize("index", range(len(GOLDEN["prompts"])))
def test_quantised_weights_give_the_same_bits_at_every_level(quantised_bundle, tmp_path, index, monkeypatch):
    ids = ",".join(map(str, GOLDEN["prompts"][index]["input_ids"]))
    logits = {}
    for isa in ("scalar", "avx2", ""):   # the last: the best that the CPU has
        monkeypatch.setenv("INTAGLIO_ISA", isa)
        out = tmp_path / f"{isa}.safetensors"
        run("run", str(quantised_bundle), "--input-ids", ids, "--max-tokens", "2", "--ignore-eos", "--json", "--logits", str(out))
        logits[isa] = out.read_bytes()
    assert logits["scalar"] == logits["avx2"] == logits[""]


def test_quantised_activations_cost_little(quantised_bundle, gguf_bundle):
    text = ROOT / "tests/data/text/alice.txt"
    told = run("compare", str(quantised_bundle), "--against", str(gguf_bundle), "--text", str(text), "--context", "256", "--json")
    report = json.loads(told)
    assert report["kl_mean"] < 0.01, report
    assert report["top1_agreement"] > 0.9, report


@pytest.mark.parametrize("index", range(len(GOLDEN["prompts"])))
def test_the_gguf_gives_the_early_greedy_tokens(gguf_bundle, index):
    prompt = GOLDEN["prompts"][index]
    assert generate(gguf_bundle, prompt, EARLY_TOKENS)["ids"] == prompt["greedy_ids"][:EARLY_TOKENS]


@pytest.mark.parametrize("index", range(len(GOLDEN["prompts"])))
def test_the_bfloat16_checkpoint_gives_all_greedy_tokens(bf16_bundle, index):
    prompt = GOLDEN["prompts"][index]
    assert generate(bf16_bundle, prompt, len(prompt["greedy_ids"]))["ids"] == prompt["greedy_ids"]


def test_the_gguf_tokenizer_encodes_the_prompts(gguf_bundle):
    for prompt in GOLDEN["prompts"]:
        output = json.loads(run("run", str(gguf_bundle), "-p", prompt["prompt"], "--max-tokens", "1", "--json"))
        assert output["prompt_ids"] == prompt["input_ids"]
