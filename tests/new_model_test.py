"""tools/new_model writes files that fit the tree, and never over others."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def new_model(root, *arguments):
    return subprocess.run([sys.executable, ROOT / "tools/new_model", *arguments, "--root", root], capture_output=True, text=True)


@pytest.fixture
def tree(tmp_path):
    for folder in ("src/models", "tests/models"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def test_writes_a_model_that_is_registered_by_its_name(tree):
    assert new_model(tree, "olmo_3", "Olmo3ForCausalLM").returncode == 0
    model = (tree / "src/models/olmo_3.cc").read_text()
    assert 'extern const Architecture kOlmo3{.hf_names = {"Olmo3ForCausalLM"}' in model
    assert model.startswith("// ")
    assert 'ExpectMatchesTransformers("olmo-3-tiny")' in (tree / "tests/models/olmo_3_test.cc").read_text()


def test_the_skeleton_compiles(tree):
    new_model(tree, "olmo_3", "Olmo3ForCausalLM")
    command = ["c++", "-std=c++20", "-fsyntax-only", f"-I{ROOT}/src", f"-I{ROOT}/include", tree / "src/models/olmo_3.cc"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_keeps_what_is_there(tree):
    (tree / "tests/models/olmo3_test.cc").write_text("mine")
    result = new_model(tree, "olmo3", "Olmo3ForCausalLM")
    assert result.returncode != 0 and "already there" in result.stderr
    assert (tree / "tests/models/olmo3_test.cc").read_text() == "mine"
    assert not (tree / "src/models/olmo3.cc").exists()


@pytest.mark.parametrize("family", ["Olmo", "../evil", ""])
def test_refuses_names_that_cannot_be(tree, family):
    assert new_model(tree, family, "Olmo3ForCausalLM").returncode != 0
