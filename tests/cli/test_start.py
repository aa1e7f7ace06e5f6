"""How a bundle is loaded: checksums once, memory when it is needed or at once."""
import ctypes
import json
import os
import resource
import shutil
import time

import pytest
from conftest import FIXTURES, intaglio

ONE_TOKEN = ["--input-ids", "1,2,3", "--max-tokens", "1", "--ignore-eos"]


def memory(bundle, *options):
    result = intaglio("run", bundle, *ONE_TOKEN, "--json", *options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["memory"]


def kv_bytes(bundle):
    return json.loads(intaglio("inspect", bundle, "--json").stdout)["manifest"]["memory"]["kv_cache"]


@pytest.fixture(scope="module")
def roomy(tmp_path_factory):
    """A bundle with far more KV cache than one token needs."""
    bundle = tmp_path_factory.mktemp("start") / "bundle"
    result = intaglio("export", FIXTURES / "llama-tiny", bundle, "--max-context", "512", "--max-batch", "256", "--prefill-buckets", "16")
    assert result.returncode == 0, result.stderr
    return bundle


def test_memory_is_held_when_it_is_needed_and_at_once_on_request(roomy):
    kv = kv_bytes(roomy)
    lazy, full = memory(roomy), memory(roomy, "--prefault")
    assert kv > 60 << 20
    assert full["rss_bytes"] - lazy["rss_bytes"] > kv // 2


def test_the_plan_and_a_constant_for_the_program_are_all_that_is_held(roomy):
    program = 64 << 20   # code, libraries, stacks
    for options in ([], ["--prefault"]):
        held = memory(roomy, *options)
        assert held["peak_rss_bytes"] < held["planned_bytes"] + program, options


def lower_limit_on_locked_memory():
    """Also for root, whom the limit does not bind while he has CAP_IPC_LOCK."""
    drop_from_bounding_set, ipc_lock = 24, 14
    ctypes.CDLL(None).prctl(drop_from_bounding_set, ipc_lock, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))


def test_a_limit_on_locked_memory_is_told(roomy):
    result = intaglio("run", roomy, *ONE_TOKEN, "--mlock", preexec_fn=lower_limit_on_locked_memory)
    assert result.returncode == 1
    assert all(word in result.stderr for word in ("--mlock", "65536", "ulimit -l"))


# A file that was overwritten under its old time: only who reads it sees that.
def test_checksums_are_verified_once_and_on_request(llama, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(llama, bundle)
    large = bundle / "weights.rank0.bin"
    assert large.stat().st_size > 1 << 18   # smaller ones are verified at every load
    long_ago = (time.time() - 3600,) * 2
    os.utime(large, long_ago)
    assert intaglio("run", bundle, *ONE_TOKEN).returncode == 0
    data = bytearray(large.read_bytes())
    data[-1] ^= 1
    large.write_bytes(data)
    os.utime(large, long_ago)
    assert intaglio("run", bundle, *ONE_TOKEN).returncode == 0
    assert "checksum" in intaglio("run", bundle, *ONE_TOKEN, "--verify").stderr
    assert "checksum" in intaglio("inspect", bundle).stderr
    os.utime(large)
    assert "checksum" in intaglio("run", bundle, *ONE_TOKEN).stderr
