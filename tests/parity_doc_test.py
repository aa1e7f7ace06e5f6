"""tools/parity_doc.py: the table of docs/PARITY.md."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests/fixtures"
BINARY = os.environ.get("INTAGLIO_BIN", str(ROOT / "build/release/intaglio"))
NUM_COLUMNS = 9


def rows(text):
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines() if line.startswith("| `")]


def write(out, *fixtures):
    run = subprocess.run([sys.executable, ROOT / "tools/parity_doc.py", "--binary", BINARY, "--out", out, *fixtures], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return out.read_text()


@pytest.fixture(scope="module")
def unknown(tmp_path_factory):
    """A fixture of a family that nobody knows."""
    folder = tmp_path_factory.mktemp("unknown") / "unknown-tiny"
    shutil.copytree(FIXTURES / "llama-tiny", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["NobodyForCausalLM"]}))
    return folder


def test_each_fixture_is_one_line_and_the_same_again(tmp_path):
    fixtures = [FIXTURES / "llama-tiny", FIXTURES / "llama-bf16-tiny"]
    text = write(tmp_path / "a.md", *fixtures)
    table = rows(text)
    assert [row[0] for row in table] == ["`llama-tiny`", "`llama-bf16-tiny`"]
    assert all(len(row) == NUM_COLUMNS and row[-1] == "ok" for row in table)
    assert "≠" not in text
    assert float(table[0][4]) < 5e-4
    assert write(tmp_path / "b.md", *fixtures) == text


def test_a_family_that_cannot_be_exported_shows_why(tmp_path, unknown):
    row, = rows(write(tmp_path / "a.md", unknown))
    assert row[1:3] == ["NobodyForCausalLM", "**not run**"]
    assert "unknown architecture" in row[-1]


def test_a_miss_is_marked(tmp_path):
    fixture = tmp_path / "wrong-tiny"
    shutil.copytree(FIXTURES / "llama-tiny", fixture)
    golden = json.loads((fixture / "golden.json").read_text())
    golden["prompts"][0]["greedy_ids"][5] = 1
    (fixture / "golden.json").write_text(json.dumps(golden))
    row, = rows(write(tmp_path / "a.md", fixture))
    assert row[-1] == "**miss**"
    assert row[3].startswith("p0.greedy_ids")


def test_the_document_in_the_tree_has_every_generator_and_no_path_of_a_machine():
    text = (ROOT / "docs/PARITY.md").read_text()
    generators = {folder.name for folder in FIXTURES.iterdir() if (folder / "golden.json").exists() and '"greedy_ids"' in
                  (folder / "golden.json").read_text() and (folder / "config.json").exists() and (folder / "model.safetensors").exists()}
    listed = {row[0].strip("`") for row in rows(text)}
    assert listed <= generators
    assert len(listed) >= 20
    assert str(ROOT) not in text
