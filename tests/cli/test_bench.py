"""intaglio bench: what it reports and refuses. Nothing here depends on how fast the machine is."""
import json
import shutil
import signal
import subprocess
import time

import pytest
from conftest import BINARY, FIXTURES, intaglio

FIGURES = ["load_s", "first_token_s", "prefill_tokens_per_s", "decode_tokens_per_s", "peak_rss_bytes"]
LIMITS = ["read_bytes_per_s", "int8_operations_per_s"]
SHARES = ["decode_share_of_read_bandwidth", "prefill_share_of_fma_peak"]
SMALL = ["--prefill", "20", "--decode", "3", "--repeat", "2"]


def bench(bundle, *arguments):
    result = intaglio("bench", bundle, "--json", *arguments)
    assert result.returncode == 0, result.stderr
    assert not result.stderr  # no progress where no terminal reads it
    return json.loads(result.stdout)


def test_each_figure_has_its_median_within_its_spread(llama):
    out = bench(llama, *SMALL)
    for key in FIGURES + LIMITS + SHARES:
        least, most = out[key]["spread"]
        assert 0 < least <= out[key]["median"] <= most, key


def test_float_weights_have_no_share_of_the_int8_peak(llama):
    assert bench(llama, *SMALL)["prefill_share_of_int8_peak"] is None


def test_all_times_every_graph_at_every_depth(llama):
    out = bench(llama, "--all", "--depths", "0,100", "--repeat", "2", "--threads", "1")
    assert (out["model"], out["threads"], out["repeat"]) == ("llama-tiny", 1, 2)
    steps = {(step["phase"], step["sequences"], step["rows"], step["depth"]) for step in out["steps"]}
    assert steps == {("context_encoding", 1, rows, depth) for rows in (16, 64, 256) for depth in (0, 100)} | {
        ("token_generation", batch, batch, depth) for batch in (1, 2) for depth in (0, 100)}
    for step in out["steps"]:
        least, most = step["seconds"]["spread"]
        assert 0 < least <= step["seconds"]["median"] <= most


def test_a_cost_table_can_be_kept_in_the_bundle(silent_llama, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(silent_llama, bundle)
    assert json.loads(intaglio("inspect", bundle, "--json").stdout)["costs"]["tables"] == []
    for threads in ("1", "2", "2"):
        result = intaglio("bench", bundle, "--all", "--store", "--depths", "0", "--repeat", "1", "--threads", threads)
        assert result.returncode == 0, result.stderr
    assert "Stored in" in result.stdout
    tables = json.loads(intaglio("inspect", bundle, "--json").stdout)["costs"]["tables"]
    assert [table["threads"] for table in tables] == [1, 2]
    assert "Cost of a step, in milliseconds" in intaglio("inspect", bundle).stdout
    (bundle / "costs.json").write_text("{}")
    refused = intaglio("run", bundle, "--input-ids", "1")
    assert refused.returncode == 1
    assert "costs.json" in refused.stderr


def test_what_was_measured_is_named(llama):
    out = bench(llama, *SMALL, "--depth", "9", "--batch", "2", "--threads", "1")
    asked = {"prefill": 20, "decode": 3, "depth": 9, "batch": 2, "repeat": 2, "threads": 1}
    assert {key: out[key] for key in asked} == asked
    assert out["model"] == "llama-tiny"


def test_a_bundle_without_tokenizer_can_be_measured(silent_llama):
    assert bench(silent_llama, *SMALL)["decode_tokens_per_s"]["median"] > 0


def test_the_defaults_fit_a_context_of_512(llama):
    out = bench(llama, "--repeat", "1")
    assert (out["prefill"], out["decode"], out["depth"], out["batch"]) == (512, 64, 0, 1)


def test_people_get_a_table(llama):
    lines = intaglio("bench", llama, *SMALL).stdout.splitlines()
    assert "llama-tiny" in lines[0]
    assert [line.split()[-1] for line in lines if line.startswith(("prefill ", "decode "))] == ["tokens/s", "tokens/s", "%", "%"]


def test_experts_have_speeds_and_no_shares(tmp_path):
    assert intaglio("export", FIXTURES / "mixtral-tiny", tmp_path / "out", "--max-context", "128").returncode == 0
    out = bench(tmp_path / "out", *SMALL)
    assert out["prefill_tokens_per_s"]["median"] > 0
    assert [out[key] for key in SHARES] == [None, None]
    assert "experts" in intaglio("bench", tmp_path / "out", *SMALL).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prefill", "513"], ["--prefill 513", "512", "--max-context"]),
        (["--depth", "450", "--decode", "63"], ["513", "512", "--max-context"]),
        (["--depth", "2147483647"], ["2147483711", "512"]),
        (["--batch", "3"], ["--batch 3", "2 sequences", "--max-batch"]),
        (["--all", "--depths", "0,513"], ["513", "512"]),
    ],
)
def test_errors_name_the_option_and_the_way_out(llama, arguments, words):
    result = intaglio("bench", llama, *arguments)
    assert result.returncode == 1
    assert all(word in result.stderr for word in words), result.stderr
    assert not result.stdout


def test_a_bundle_that_embeds_is_refused(tmp_path):
    assert intaglio("export", FIXTURES / "bert-embedding-tiny", tmp_path / "out").returncode == 0
    result = intaglio("bench", tmp_path / "out", *SMALL)
    assert result.returncode == 1
    assert "embeds" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["bundle", "--repeat", "0"], ["bundle", "--depth", "-1"], ["bundle", "--decode", "0"],
                                       ["bundle", "--store"], ["bundle", "--all", "--batch", "2"]])
def test_wrong_usage_exits_with_2(arguments):
    assert intaglio("bench", *arguments).returncode == 2


def test_ctrl_c_leaves_at_once(llama):
    command = [BINARY, "bench", str(llama), "--repeat", "1000"]
    # Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
    listen = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=listen)
    try:
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10) == (b"", b"")
        assert process.returncode == -signal.SIGINT
    finally:
        process.kill()
