"""intaglio compare, and export --validate. A fixture's goldens alone are the capture."""
import json
import shutil
import xml.etree.ElementTree

import pytest
from conftest import FIXTURES, export, intaglio

GOLDENS = ("golden.json", "golden.safetensors")


def capture_of(fixture, folder, change=None):
    """The folder with the fixture's goldens, their JSON changed."""
    folder.mkdir()
    for name in GOLDENS:
        shutil.copy(FIXTURES / fixture / name, folder)
    if change is not None:
        golden = json.loads((folder / "golden.json").read_text())
        change(golden)
        (folder / "golden.json").write_text(json.dumps(golden))
    return folder


@pytest.fixture(scope="session")
def capture(tmp_path_factory):
    return capture_of("llama-tiny", tmp_path_factory.mktemp("captures") / "right")


@pytest.fixture(scope="session")
def wrong_capture(tmp_path_factory):
    def change(golden):
        golden["prompts"][1]["greedy_ids"][7] = 3
    return capture_of("llama-tiny", tmp_path_factory.mktemp("captures") / "wrong", change)


def test_a_bundle_without_probes_is_compared_by_what_comes_out(llama, capture):
    result = intaglio("compare", llama, capture)
    assert result.returncode == 0, result.stdout
    assert "| logits, top 5 |" in result.stdout
    assert "first divergence of greedy tokens: none" in result.stdout
    assert "--keep-probes" in result.stdout
    assert "attn_out" not in result.stdout


def test_a_bundle_with_probes_is_compared_module_by_module(capture, tmp_path):
    bundle = export(FIXTURES / "llama-tiny", tmp_path / "b", "--keep-probes")
    result = intaglio("compare", bundle, capture, "--json", "--plot", tmp_path / "drift.svg")
    assert result.returncode == 0, result.stdout
    report, = json.loads(result.stdout)
    assert {"p1.layer0.attn_out", "p1.layer0.mlp_out", "p1.hidden.layer2"} <= {check["name"] for check in report["checks"]}
    assert [layer["name"] for layer in report["drift"]] == ["embed", "layer0", "layer1", "layer2", "final_norm"]
    assert [band["top"] for band in report["logits"]] == [5, 50, 1000, "all"]
    picture = xml.etree.ElementTree.parse(tmp_path / "drift.svg").getroot()
    assert len(picture.findall("{http://www.w3.org/2000/svg}polyline")) == 1


def test_modules_are_compared_one_by_one(capture):
    report, = json.loads(intaglio("compare", FIXTURES / "llama-tiny", capture, "--modules", "--json").stdout)
    assert report["ok"]
    assert {check["name"] for check in report["checks"]} == {
        "hidden.embed -> layer0.attn_in", "layer0.attn_in -> layer0.attn_out", "layer0.mlp_in -> layer0.mlp_out", "hidden.embed -> hidden.layer0",
        "hidden.layer0 -> hidden.layer1", "hidden.layer1 -> hidden.layer2", "hidden.layer2 -> hidden.final_norm"}


def test_a_miss_is_exit_code_1_and_says_where(llama, wrong_capture):
    result = intaglio("compare", llama, wrong_capture, "--json")
    assert result.returncode == 1
    report, = json.loads(result.stdout)
    assert report["first_divergence"] == 7
    assert {check["name"] for check in report["checks"] if not check["ok"]} == {"p1.greedy_ids", "p1.teacher_forced"}


def test_tolerances_can_be_set_by_band(llama, capture):
    assert intaglio("compare", llama, capture, "--logit-tolerances", "1e-9,1,1,1").returncode == 1
    assert intaglio("compare", llama, capture, "--logit-tolerances", "1,1,1,1").returncode == 0
    assert intaglio("compare", llama, capture, "--logit-tolerances", "1,1").returncode == 2


def test_a_capture_of_another_model_is_refused_or_misses(qwen, llama, capture, tmp_path):
    assert intaglio("compare", qwen, capture).returncode == 1
    larger = capture_of("llama-tiny", tmp_path / "larger", lambda golden: golden["prompts"][0]["input_ids"].append(99999))
    result = intaglio("compare", llama, larger)
    assert result.returncode == 1
    assert "token 99999" in result.stderr


def test_wrong_usage_is_exit_code_2(llama, capture):
    for arguments in ([], [llama], [llama, capture, "--fixture", FIXTURES / "llama-tiny"], [llama, capture, "--dtype", "int8"]):
        assert intaglio("compare", *arguments).returncode == 2, arguments


def test_a_folder_that_is_no_capture_says_how_to_make_one(llama, tmp_path):
    result = intaglio("compare", llama, tmp_path)
    assert result.returncode == 1
    assert "intaglio.parity.capture" in result.stderr


def test_a_validated_bundle_says_so_and_runs(capture, tmp_path):
    bundle = export(FIXTURES / "llama-tiny", tmp_path / "b", "--validate", capture)
    assert "Parity with Transformers: ok" in intaglio("inspect", bundle).stdout
    gate = json.loads(intaglio("inspect", bundle, "--json").stdout)["manifest"]["parity"]
    assert gate["ok"] is True
    assert gate["capture"] == "right"
    assert gate["first_divergence"] == -1
    assert intaglio("run", bundle, "--input-ids", "1,2,3", "--max-tokens", "2").returncode == 0


def test_a_bundle_whose_gate_failed_runs_only_on_request(wrong_capture, tmp_path):
    bundle = tmp_path / "b"
    result = intaglio("export", FIXTURES / "llama-tiny", bundle, "--validate", wrong_capture)
    assert result.returncode == 1
    assert "greedy_ids" in result.stdout
    refused = intaglio("run", bundle, "--input-ids", "1,2,3", "--max-tokens", "2")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "--allow-failed-parity" in refused.stderr
    assert intaglio("run", bundle, "--input-ids", "1,2,3", "--max-tokens", "2", "--allow-failed-parity").returncode == 0
    assert "FAILED" in intaglio("inspect", bundle).stdout
    assert intaglio("compare", bundle, wrong_capture).returncode == 1


def test_a_gate_that_cannot_be_run_leaves_no_bundle(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    result = intaglio("export", FIXTURES / "llama-tiny", tmp_path / "b", "--validate", empty)
    assert result.returncode == 1
    assert "golden.json" in result.stderr
    assert not (tmp_path / "b").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
