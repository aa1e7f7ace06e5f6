"""intaglio compare --against, and export --validate with a text: two bundles of one model, on a text."""
import json
import shutil

import numpy
import pytest
from conftest import FIXTURES, ROOT, export, intaglio
from safetensors.numpy import load_file, save_file

TEXT = ROOT / "tests/data/text/alice.txt"


@pytest.fixture(scope="session")
def bf16_llama(tmp_path_factory):
    return export(FIXTURES / "llama-tiny", tmp_path_factory.mktemp("cli") / "bf16.bundle", "--dtype", "bf16")


def compare(*arguments):
    result = intaglio("compare", *arguments, "--json")
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    return json.loads(result.stdout)


def test_rounded_weights_cost_a_little(llama, bf16_llama):
    out = compare(bf16_llama, "--against", llama, "--text", TEXT)
    assert (out["bundle"], out["reference"]) == ("llama-tiny, bf16 weights", "llama-tiny, f32 weights")
    assert (out["context"], out["windows"], out["tokens"]) == (512, 2, 2 * 255)
    assert 0 < out["kl_mean"] < out["kl_p99"] < out["kl_worst"] < 0.1
    assert 0.9 < out["top1_agreement"] < 1
    assert out["perplexity_ratio"] == pytest.approx(out["perplexity"] / out["reference_perplexity"])


def test_a_bundle_is_no_distance_from_itself(bf16_llama):
    out = compare(bf16_llama, "--against", bf16_llama, "--text", TEXT, "--context", "64", "--max-tokens", "200")
    assert (out["windows"], out["kl_mean"], out["kl_worst"], out["top1_agreement"], out["perplexity_ratio"]) == (3, 0, 0, 1, 1)


def test_people_get_lines(llama, bf16_llama):
    out = intaglio("compare", bf16_llama, "--against", llama, "--text", TEXT).stdout
    assert all(words in out for words in ("510 tokens, in 2 windows of 512", "KL(reference || bundle)", "same likeliest token", "perplexity"))


def test_a_bundle_without_tokenizer_reads_ids(silent_llama, bf16_llama, tmp_path):
    ids = [1, *(3 + i * 37 % 1000 for i in range(99))]
    (tmp_path / "ids").write_text(" ".join(map(str, ids)))
    (tmp_path / "ids.json").write_text(json.dumps(ids))
    plain = compare(silent_llama, "--against", silent_llama, "--ids", tmp_path / "ids", "--context", "50")
    assert plain == compare(silent_llama, "--against", silent_llama, "--ids", tmp_path / "ids.json", "--context", "50")
    assert plain["windows"] == 2
    # One tokenizer is enough for two bundles.
    assert compare(bf16_llama, "--against", silent_llama, "--text", TEXT)["windows"] == 2


def test_without_any_tokenizer_text_is_refused(silent_llama):
    result = intaglio("compare", silent_llama, "--against", silent_llama, "--text", TEXT)
    assert result.returncode == 1
    assert "--ids" in result.stderr


def test_vocabularies_of_two_sizes_are_refused(llama, tmp_path):
    source = tmp_path / "small"
    shutil.copytree(FIXTURES / "llama-tiny", source)
    config = json.loads((source / "config.json").read_text())
    weights = load_file(source / "model.safetensors")
    weights["model.embed_tokens.weight"] = numpy.ascontiguousarray(weights["model.embed_tokens.weight"][:512])
    save_file(weights, source / "model.safetensors")
    (source / "config.json").write_text(json.dumps(config | {"vocab_size": 512}))
    result = intaglio("compare", llama, "--against", export(source, tmp_path / "small.bundle"), "--text", TEXT)
    assert result.returncode == 1
    assert all(words in result.stderr for words in ("1024", "512", "of one model?")), result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--text", TEXT], ["--against", "OTHER"], ["--against", "OTHER", "--text", TEXT, "--ids", TEXT],
     ["--against", "OTHER", "--text", "no-such-file"], ["CAPTURE", "--against", "OTHER", "--text", TEXT],
     ["--against", "OTHER", "--text", TEXT, "--context", "0"]])
def test_wrong_usage_is_exit_code_2(llama, arguments):
    assert intaglio("compare", llama, *arguments).returncode == 2


def test_an_export_tells_its_accuracy_on_a_text(tmp_path):
    bundle = export(FIXTURES / "llama-tiny", tmp_path / "b", "--dtype", "bf16", "--validate", TEXT, "--max-kl", "0.01")
    gate = json.loads(intaglio("inspect", bundle, "--json").stdout)["manifest"]["parity"]
    assert gate["ok"] is True
    assert 0 < gate["kl_mean"] < gate["text"]["kl_p99"] < gate["kl_worst"]
    assert gate["text"]["reference"] == "llama-tiny, f32 weights"
    assert "Accuracy on a text: ok" in intaglio("inspect", bundle).stdout
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_bundle_that_is_too_far_runs_only_on_request(llama, tmp_path):
    options = ["--max-context", "512", "--dtype", "bf16", "--validate", TEXT, "--against", llama, "--max-kl", "1e-7"]
    result = intaglio("export", FIXTURES / "llama-tiny", tmp_path / "b", *options)
    assert result.returncode == 1
    assert "alice.txt" in result.stdout
    assert "mean KL divergence" in result.stdout
    refused = intaglio("run", tmp_path / "b", "--input-ids", "1,2,3", "--max-tokens", "2")
    assert refused.returncode == 1
    assert "--allow-failed-parity" in refused.stderr
    assert intaglio("run", tmp_path / "b", "--input-ids", "1,2,3", "--max-tokens", "2", "--allow-failed-parity").returncode == 0


def test_a_limit_needs_a_text(tmp_path):
    for options in (["--max-kl", "1"], ["--validate", FIXTURES / "llama-tiny", "--max-kl", "1"], ["--validate", TEXT, "--against", "no-such-bundle"]):
        assert intaglio("export", FIXTURES / "llama-tiny", tmp_path / "b", *options).returncode == 2, options
