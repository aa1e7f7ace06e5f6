"""The binary under test (INTAGLIO_BIN, else the release build), and fixtures exported once."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures"
BINARY = os.environ.get("INTAGLIO_BIN", str(ROOT / "build/release/intaglio"))


def intaglio(*arguments, **kwargs):
    """Runs the command line; never raises for its exit code."""
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=300, **kwargs)


def export(source, bundle, *options):
    result = intaglio("export", source, bundle, "--max-context", "512", "--max-batch", "2", "--batch-buckets", "1,2", *options)
    assert result.returncode == 0, result.stderr
    return bundle


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    return export(FIXTURES / "llama-tiny", tmp_path_factory.mktemp("cli") / "llama.bundle")


@pytest.fixture(scope="session")
def qwen(tmp_path_factory):
    return export(FIXTURES / "qwen3-tiny", tmp_path_factory.mktemp("cli") / "qwen.bundle")


@pytest.fixture(scope="session")
def silent_llama(tmp_path_factory):
    """The same model, exported from a checkpoint without a tokenizer."""
    folder = tmp_path_factory.mktemp("cli")
    source = folder / "llama-tiny"
    source.mkdir()
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        shutil.copy(FIXTURES / "llama-tiny" / name, source)
    return export(source, folder / "silent.bundle")
