"""intaglio run."""
import json
import os
import signal
import subprocess

import numpy
import pytest
from conftest import BINARY, FIXTURES, intaglio
from safetensors.numpy import load_file

GOLDEN = json.loads((FIXTURES / "llama-tiny/golden.json").read_text())
PROMPT = GOLDEN["prompts"][1]
IDS = ",".join(map(str, PROMPT["input_ids"]))


def run_json(bundle, *arguments, **kwargs):
    result = intaglio("run", bundle, "--json", *arguments, **kwargs)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_a_prompt_gives_the_tokens_of_transformers(llama):
    out = run_json(llama, "-p", PROMPT["text"], "--max-tokens", "48")
    assert out["prompt_ids"] == PROMPT["input_ids"]
    assert out["ids"] == PROMPT["greedy_ids"]
    assert out["finish_reason"] == "length"
    assert set(out["timings"]) == {"load_s", "prefill_s", "decode_s", "prefill_tokens_per_s", "decode_tokens_per_s"}


def test_text_goes_to_stdout_and_statistics_to_stderr(llama):
    result = intaglio("run", llama, "-p", PROMPT["text"], "--max-tokens", "20")
    assert result.stdout == run_json(llama, "-p", PROMPT["text"], "--max-tokens", "20")["text"] + "\n"
    assert "tokens/s" in result.stderr
    assert "planned" in result.stderr


def test_ids_need_no_tokenizer(silent_llama):
    out = run_json(silent_llama, "--input-ids", IDS, "--max-tokens", "48")
    assert out["ids"] == PROMPT["greedy_ids"]
    assert out["text"] is None
    result = intaglio("run", silent_llama, "-p", "text")
    assert result.returncode == 1
    assert "--input-ids" in result.stderr


def test_logits_are_one_row_a_token_but_the_last(llama, tmp_path):
    file = tmp_path / "logits.safetensors"
    out = run_json(llama, "--input-ids", IDS, "--max-tokens", "5", "--logits", file)
    logits = load_file(file)["logits"]
    golden = load_file(FIXTURES / "llama-tiny/golden.safetensors")["p1.logits"]
    rows = len(PROMPT["input_ids"])
    assert logits.dtype == numpy.float32
    assert logits.shape == (rows + 4, golden.shape[1])
    assert numpy.abs(logits[:rows] - golden).max() <= 5e-4
    assert logits[rows - 1 :].argmax(axis=1).tolist() == out["ids"]


def test_the_most_likely_token_is_the_greedy_one(llama):
    out = run_json(llama, "--input-ids", IDS, "--max-tokens", "8", "--logprobs", "5")
    assert [step[0]["id"] for step in out["top_logprobs"]] == out["ids"]
    assert all(len(step) == 5 for step in out["top_logprobs"])


def test_a_seed_fixes_the_text_whatever_the_threads(llama):
    sample = ["--input-ids", IDS, "--temperature", "1", "--top-k", "50", "--max-tokens", "32", "--seed"]
    first = run_json(llama, *sample, "7", "--threads", "1")["ids"]
    assert run_json(llama, *sample, "7", "--threads", "2")["ids"] == first
    assert run_json(llama, *sample, "8")["ids"] != first
    assert first != PROMPT["greedy_ids"][:32]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input-ids", ",".join(["3"] * 600)], ["600 tokens", "512", "--max-context"]),
        (["--input-ids", "99999"], ["99999", "vocabulary"]),
        (["--input-ids", "-1"], ["-1"]),
    ],
)
def test_errors_name_the_numbers(llama, arguments, words):
    result = intaglio("run", llama, *arguments)
    assert result.returncode == 1
    assert all(word in result.stderr for word in words), result.stderr


def test_an_unknown_instruction_set_is_an_error(llama):
    result = intaglio("run", llama, "-p", "x", env={**os.environ, "INTAGLIO_ISA": "mmx"})
    assert result.returncode == 1
    assert "mmx" in result.stderr


def test_chat_answers_line_by_line(qwen):
    golden = json.loads((FIXTURES / "qwen3-tiny/golden.json").read_text())
    case = next(c for c in golden["chat"]["cases"] if c["name"] == "user_only")
    message = case["messages"][0]["content"]
    result = intaglio("run", qwen, "--chat", "--max-tokens", "12", input=f"{message}\n\nAnd then?\n")
    assert result.returncode == 0, result.stderr
    first = run_json(qwen, "--input-ids", ",".join(map(str, case["ids"])), "--max-tokens", "12")["text"]
    assert result.stdout.startswith(first + "\n")
    assert len(result.stdout) > len(first) + 1
    assert result.stderr.count("prefill") == 2  # an empty line is no message


def test_a_model_without_chat_template_says_so(silent_llama):
    result = intaglio("run", silent_llama, "--chat", input="Hello\n")
    assert result.returncode == 1
    assert "chat template" in result.stderr


def test_ctrl_c_keeps_the_text_so_far(llama):
    command = [BINARY, "run", str(llama), "--input-ids", IDS, "--max-tokens", "400", "--ignore-eos"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first = process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert first
    assert rest.endswith(b"\n")


def test_memory_is_what_was_planned(llama):
    memory = run_json(llama, "-p", PROMPT["text"])["memory"]
    allowed = max(16 << 20, 0.03 * memory["planned_bytes"])
    assert abs(memory["rss_bytes"] - memory["planned_bytes"]) <= allowed
    assert abs(memory["peak_rss_bytes"] - memory["planned_bytes"]) <= allowed
