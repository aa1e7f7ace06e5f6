"""intaglio export and inspect."""
import json
import shutil

from conftest import FIXTURES, export, intaglio


def test_prints_the_memory_plan_that_inspect_prints(tmp_path):
    result = intaglio("export", FIXTURES / "qwen3-tiny", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    plan = intaglio("inspect", tmp_path / "out").stdout
    for line in result.stdout.splitlines():
        if "bytes)" in line:
            assert line in plan
    assert "\033[" not in result.stderr + result.stdout  # nothing is coloured or redrawn where no terminal reads it


def test_kv_dtype_sets_the_type_of_the_cache(tmp_path):
    sizes = {}
    for kv_dtype in ("f32", "bf16", "int8"):
        bundle = export(FIXTURES / "llama-tiny", tmp_path / kv_dtype, "--kv-dtype", kv_dtype)
        assert f" of {kv_dtype}, layers" in intaglio("inspect", bundle).stdout
        sizes[kv_dtype] = json.loads(intaglio("inspect", bundle, "--json").stdout)["manifest"]["memory"]["kv_cache"]
    assert sizes["f32"] == 2 * sizes["bf16"] > 2 * sizes["int8"]
    refused = intaglio("export", FIXTURES / "llama-tiny", tmp_path / "out", "--kv-dtype", "f16")
    assert refused.returncode != 0 and "--kv-dtype" in refused.stderr


def test_an_existing_bundle_is_kept_unless_forced(tmp_path):
    bundle = export(FIXTURES / "llama-tiny", tmp_path / "out")
    before = {p.name: p.read_bytes() for p in bundle.iterdir()}
    refused = intaglio("export", FIXTURES / "qwen3-tiny", bundle)
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert {p.name: p.read_bytes() for p in bundle.iterdir()} == before
    export(FIXTURES / "qwen3-tiny", bundle, "--force")
    assert "Qwen3ForCausalLM" in intaglio("inspect", bundle).stdout


def test_a_failed_export_leaves_nothing(tmp_path):
    source = tmp_path / "broken"
    shutil.copytree(FIXTURES / "llama-tiny", source)
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    result = intaglio("export", source, tmp_path / "out")
    assert result.returncode == 1
    assert "model.safetensors" in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["broken"]


def test_an_unknown_architecture_lists_the_known_ones(tmp_path):
    source = tmp_path / "unknown"
    shutil.copytree(FIXTURES / "llama-tiny", source)
    config = source / "config.json"
    config.write_text(config.read_text().replace("LlamaForCausalLM", "NoSuchForCausalLM"))
    result = intaglio("export", source, tmp_path / "out")
    assert result.returncode == 1
    assert "NoSuchForCausalLM" in result.stderr
    assert "LlamaForCausalLM" in result.stderr


def test_inspect_gives_json(llama):
    inspected = json.loads(intaglio("inspect", llama, "--json").stdout)
    assert inspected["manifest"]["max_context"] == 512
    phases = {plan["phase"] for plan in inspected["plans"]}
    assert phases == {"context_encoding", "token_generation"}


def test_inspect_shows_plan_graph_and_weights(llama):
    assert "kv_write" in intaglio("inspect", llama, "--plan").stdout
    assert intaglio("inspect", llama, "--graph").stdout.strip()
    assert "model.embed_tokens.weight" in intaglio("inspect", llama, "--weights").stdout


def test_a_corrupted_bundle_is_refused_by_name(llama, tmp_path):
    bundle = tmp_path / "damaged"
    shutil.copytree(llama, bundle)
    weights = bundle / "weights.rank0.bin"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    for command in (["inspect", bundle], ["run", bundle, "-p", "x"]):
        result = intaglio(*command)
        assert result.returncode == 1
        assert "weights.rank0.bin" in result.stderr
        assert not result.stdout
