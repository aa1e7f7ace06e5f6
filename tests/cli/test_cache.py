"""intaglio cache, and the exports that go through it."""
import json
import os
import signal
import subprocess
import time

import pytest
from conftest import BINARY, FIXTURES, intaglio

SMALL = ["--max-context", "128", "--prefill-buckets", "16", "--batch-buckets", "1"]
LLAMA, QWEN = FIXTURES / "llama-tiny", FIXTURES / "qwen3-tiny"


@pytest.fixture
def cache(tmp_path):
    """Runs the command line with a cache of its own, at `cache.folder`."""
    folder = tmp_path / "cache"

    def run(*arguments, status=0):
        result = intaglio(*arguments, env={**os.environ, "INTAGLIO_CACHE": str(folder)})
        assert result.returncode == status, result.stdout + result.stderr
        return result

    run.folder = folder
    return run


def in_json(result):
    return json.loads(result.stdout)


def contents(bundle):
    return {path.name: path.read_bytes() for path in bundle.iterdir()}


def test_a_second_export_is_taken_from_the_cache(cache, tmp_path):
    first = cache("export", LLAMA, tmp_path / "a", *SMALL)
    second = cache("export", LLAMA, tmp_path / "b", *SMALL)
    assert "Taken from the cache" not in first.stdout
    assert "Taken from the cache" in second.stdout
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert cache("run", tmp_path / "b", "-p", "x", "--max-tokens", "3").stdout


def test_no_cache_neither_takes_nor_keeps(cache, tmp_path):
    cache("export", LLAMA, tmp_path / "a", *SMALL, "--no-cache")
    assert not cache.folder.exists()
    cache("export", LLAMA, tmp_path / "b", *SMALL)
    assert "Taken" not in cache("export", LLAMA, tmp_path / "c", *SMALL, "--no-cache").stdout


def test_an_empty_variable_is_no_cache(tmp_path):
    environment = {**os.environ, "INTAGLIO_CACHE": "", "HOME": str(tmp_path / "home")}
    assert intaglio("export", LLAMA, tmp_path / "a", *SMALL, env=environment).returncode == 0
    assert not (tmp_path / "home").exists()
    status = intaglio("cache", "status", env=environment)
    assert status.returncode == 1
    assert "INTAGLIO_CACHE" in status.stderr


def test_the_cache_is_where_xdg_says(tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "xdg")}
    del environment["INTAGLIO_CACHE"]
    assert json.loads(intaglio("cache", "status", "--json", env=environment).stdout)["directory"] == str(tmp_path / "xdg/intaglio")


def test_lookup_tells_by_its_exit_status(cache, tmp_path):
    assert "miss" in cache("cache", "lookup", LLAMA, *SMALL, status=1).stdout
    cache("export", LLAMA, tmp_path / "a", *SMALL)
    assert "hit" in cache("cache", "lookup", LLAMA, *SMALL).stdout
    found = in_json(cache("cache", "lookup", LLAMA, *SMALL, "--json"))
    assert found["hit"] and found["entry"]["key"] == found["key"]
    assert not in_json(cache("cache", "lookup", LLAMA, *SMALL, "--weights", "bf16", "--json", status=1))["hit"]


def test_why_names_what_differs(cache, tmp_path):
    assert "empty" in cache("cache", "why", LLAMA, *SMALL).stdout
    cache("export", LLAMA, tmp_path / "a", *SMALL)
    out = in_json(cache("cache", "why", LLAMA, *SMALL, "--speculation", "2", "--json"))
    assert out["differs"] == {"speculation": {"wanted": "2", "nearest": "0"}}
    other = cache("cache", "why", QWEN, *SMALL).stdout
    assert all(word in other for word in ("miss", "source", "file model.safetensors"))
    assert "max_context" not in other
    assert "hit" in cache("cache", "why", LLAMA, *SMALL).stdout


def test_list_and_status_count(cache, tmp_path):
    assert cache("cache", "list").stdout == ""
    for name, source in (("a", LLAMA), ("b", QWEN)):
        cache("export", source, tmp_path / name, *SMALL)
    listed = in_json(cache("cache", "list", "--json"))
    assert {entry["fields"]["source"] for entry in listed} == {"llama-tiny", "qwen3-tiny"}
    assert "llama-tiny, max_context 128" in cache("cache", "list").stdout
    status = in_json(cache("cache", "status", "--json"))
    assert (status["entries"], status["damaged"], status["unfinished"]) == (2, 0, 0)
    assert status["bytes"] == sum(path.stat().st_size for path in cache.folder.glob("entries/*/bundle/*"))
    assert str(cache.folder) in cache("cache", "status").stdout


def test_prune_understands_ages_and_sizes(cache, tmp_path):
    cache("export", LLAMA, tmp_path / "a", *SMALL)
    assert in_json(cache("cache", "prune", "--older-than", "30d", "--max-size", "20GB", "--json"))["removed"] == 0
    [entry] = cache.folder.glob("entries/*/entry.json")
    os.utime(entry, (time.time() - 3 * 86400,) * 2)
    assert in_json(cache("cache", "prune", "--older-than", "4d", "--json"))["removed"] == 0
    assert in_json(cache("cache", "prune", "--older-than", "2d", "--json"))["removed"] == 1
    cache("export", LLAMA, tmp_path / "b", *SMALL)
    assert in_json(cache("cache", "prune", "--max-size", "1kB", "--json"))["removed"] == 1
    cache("export", LLAMA, tmp_path / "c", *SMALL)
    assert "Removed 1 bundles" in cache("cache", "prune", "--all").stdout
    assert in_json(cache("cache", "status", "--json"))["hashes"] == 0
    assert cache("run", tmp_path / "c", "-p", "x", "--max-tokens", "1").stdout


def test_an_entry_travels_to_another_cache(cache, tmp_path):
    cache("export", LLAMA, tmp_path / "a", *SMALL)
    [entry] = in_json(cache("cache", "list", "--json"))
    cache("cache", "export", entry["key"][:8], tmp_path / "entry")
    other = ["--cache-dir", tmp_path / "other"]
    assert in_json(cache("cache", "import", tmp_path / "entry", *other, "--json")) == {"key": entry["key"]}
    assert "Taken" in cache("export", LLAMA, tmp_path / "b", *SMALL, *other).stdout
    assert "exists already" in cache("cache", "export", entry["key"], tmp_path / "entry", status=1).stderr


def test_two_exports_at_once_are_fine(cache, tmp_path):
    environment = {**os.environ, "INTAGLIO_CACHE": str(cache.folder)}
    processes = [subprocess.Popen([BINARY, "export", LLAMA, tmp_path / name, *SMALL], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                 for name in "abcd"]
    for process in processes:
        assert (process.wait(timeout=60), process.stderr.read()) == (0, b"")
        process.stdout.close()
        process.stderr.close()
    status = in_json(cache("cache", "status", "--json"))
    assert (status["entries"], status["damaged"], status["unfinished"]) == (1, 0, 0)


def test_an_export_that_is_killed_leaves_no_lock_and_no_entry(cache, tmp_path):
    environment = {**os.environ, "INTAGLIO_CACHE": str(cache.folder)}
    for delay in (0.01, 0.03, 0.06):
        process = subprocess.Popen([BINARY, "export", LLAMA, tmp_path / "a", *SMALL, "--force"], env=environment, stdout=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    cache("export", LLAMA, tmp_path / "b", *SMALL)
    assert in_json(cache("cache", "status", "--json"))["entries"] == 1
    assert cache("run", tmp_path / "b", "-p", "x", "--max-tokens", "1").stdout


@pytest.mark.parametrize("command", [[], ["lookup"], ["why"], ["list"], ["prune"], ["status"], ["export"], ["import"]])
def test_help_is_there(command):
    assert intaglio("cache", *command, "--help").returncode == 0


@pytest.mark.parametrize("arguments", [[], ["lookup"], ["prune", "--older-than", "30"], ["prune", "--max-size", "much"], ["export", "key"]])
def test_wrong_usage_exits_with_2(arguments):
    assert intaglio("cache", *arguments).returncode == 2


def test_errors_name_what_is_missing(cache, tmp_path):
    assert "/no/checkpoint" in cache("cache", "lookup", "/no/checkpoint", status=1).stderr
    assert "abc" in cache("cache", "export", "abc", tmp_path / "x", status=1).stderr
    assert "entry.json" in cache("cache", "import", tmp_path, status=1).stderr
