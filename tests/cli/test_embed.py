"""intaglio embed."""
import json

import pytest
from conftest import FIXTURES, intaglio


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    bundle = tmp_path_factory.mktemp("cli") / "bert.bundle"
    result = intaglio("export", FIXTURES / "bert-embedding-tiny", bundle)
    assert result.returncode == 0, result.stderr
    assert "intaglio embed" in result.stdout
    return bundle


GOLDEN = json.loads((FIXTURES / "bert-embedding-tiny/golden.json").read_text())


def test_json_has_a_vector_for_each_text(bert):
    texts = [entry["text"] for entry in GOLDEN["texts"][:5]]
    embedded = json.loads(intaglio("embed", bert, "--json", "--text", *texts).stdout)
    assert embedded["dim"] == 64
    assert [entry["text"] for entry in embedded["embeddings"]] == texts
    assert [entry["input_ids"] for entry in embedded["embeddings"]] == [entry["input_ids"] for entry in GOLDEN["texts"][:5]]
    for entry in embedded["embeddings"]:
        assert abs(sum(x * x for x in entry["embedding"]) - 1) < 1e-5


def test_a_file_gives_a_line_of_numbers_a_line(bert, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("Bananas are yellow.\n\nWhat is a KV cache?\r\n")
    printed = [[float(x) for x in line.split()] for line in intaglio("embed", bert, "--file", lines).stdout.splitlines()]
    expected = json.loads(intaglio("embed", bert, "--json", "--text", "Bananas are yellow.", "--text", "What is a KV cache?").stdout)
    assert [len(vector) for vector in printed] == [64] * 3
    assert printed[0] == expected["embeddings"][0]["embedding"]  # to the last digit, alone or not
    assert printed[2] == expected["embeddings"][1]["embedding"]


def test_ids_need_no_tokenizer(bert):
    entry = GOLDEN["texts"][0]
    by_ids = intaglio("embed", bert, "--input-ids", ",".join(map(str, entry["input_ids"]))).stdout
    assert by_ids == intaglio("embed", bert, "--text", entry["text"]).stdout


def test_a_text_that_is_too_long_says_what_to_do(bert):
    result = intaglio("embed", bert, "--text", "word " * 200)
    assert result.returncode == 1
    assert "--max-context" in result.stderr
    assert not result.stdout


def test_bundles_that_embed_and_bundles_that_generate_are_told_apart(bert, llama):
    assert "--task embed" in intaglio("embed", llama, "--text", "x").stderr
    assert "intaglio embed" in intaglio("run", bert, "-p", "x").stderr
    assert "embeds" in intaglio("inspect", bert).stdout


def test_the_task_can_be_chosen(tmp_path):
    result = intaglio("export", FIXTURES / "qwen3-embedding-tiny", tmp_path / "out", "--task", "generate")
    assert result.returncode == 0, result.stderr
    assert intaglio("run", tmp_path / "out", "--input-ids", "54,71", "--max-tokens", "2").returncode == 0
