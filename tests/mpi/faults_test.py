"""What goes wrong in a model whose ranks are processes ends all of them: within seconds, by a status that is not 0, with one message, and with
no process left."""
import re
import shutil
import signal
import time
from contextlib import ExitStack

import pytest
from launcher import INTAGLIO, Group, export, group, intaglio, launch, needs_mpirun

DEADLINE = 10   # seconds that ranks wait for each other
IDS = ["--input-ids", "5,6,7"]
MESSAGE = re.compile(r"^intaglio: error: (.*)$", re.MULTILINE)

pytestmark = needs_mpirun


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return export("llama-tiny", tmp_path_factory.mktemp("faults") / "bundle", "--tp", "2")


def error(result, status=1) -> str:
    assert result.returncode == status, result.stderr
    (message,) = MESSAGE.findall(result.stderr)
    return message


def error_of_stalled(result) -> str:
    """A rank that the launcher wakes, to end it, may repeat what another has said."""
    assert result.returncode == 1, result.stderr
    (message,) = set(MESSAGE.findall(result.stderr))
    return message


def damaged(bundle, folder):
    """A copy whose rank 1 has half its weights."""
    copy = shutil.copytree(bundle, folder / "damaged")
    weights = copy / "weights.rank1.bin"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    return copy


def on_rank_1(folder, *preparations: str):
    """A command that prepares rank 1 apart, in `folder`, and then is intaglio."""
    script = folder / "prepared"
    script.write_text("\n".join(["#!/bin/sh", 'if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then', *preparations, "fi", f'exec "{INTAGLIO}" "$@"']) + "\n")
    script.chmod(0o755)
    return script


# The wrong number of ranks.

def test_too_few_processes_are_told_how_to_export(tmp_path):
    four = export("llama-tiny", tmp_path / "four", "--tp", "4")
    message = error(launch(2, INTAGLIO, "run", four, *IDS))
    assert "the bundle is for 4 ranks, but 2 processes were started" in message
    assert "intaglio export CHECKPOINT OUT --tp 2" in message
    alone = intaglio("run", four, *IDS, "--max-tokens", "4")
    assert (alone.returncode, alone.stdout) == (0, intaglio("run", export("llama-tiny", tmp_path / "one"), *IDS, "--max-tokens", "4").stdout)


def test_a_bundle_of_one_rank_says_so(tmp_path):
    message = error(launch(2, INTAGLIO, "run", export("llama-tiny", tmp_path / "one"), *IDS))
    assert "the bundle is for 1 rank, but 2 processes were started" in message
    assert "--tp 2" in message


# What one rank finds while all load.

def test_wrong_usage_is_told_once():
    result = launch(2, INTAGLIO, "run")
    assert result.returncode == 2
    assert result.stderr.count("BUNDLE is required") == 1


def test_a_bundle_that_is_nowhere_is_told_once(tmp_path):
    assert "no such bundle" in error(launch(2, INTAGLIO, "run", tmp_path / "none", *IDS))


def test_a_bundle_that_one_rank_has_not_names_the_rank(bundle, tmp_path):
    result = launch(2, on_rank_1(tmp_path, f'cd "{tmp_path}"'), "run", bundle.name, *IDS, cwd=bundle.parent)
    assert error(result).startswith("rank 1 of 2: bundle: no such bundle")


def test_another_bundle_at_the_same_path_is_found(bundle, tmp_path):
    export("qwen3-tiny", tmp_path / "bundle", "--tp", "2")
    result = launch(2, on_rank_1(tmp_path, f'cd "{tmp_path}"'), "run", bundle.name, *IDS, cwd=bundle.parent)
    assert re.fullmatch(r"rank \d of 2: the bundle's digest of rank \d is \w{32}, of rank \d \w{32}; start all ranks with one bundle", error(result))


@pytest.mark.parametrize("ranks_are", ["processes", "threads"])
def test_weights_that_are_cut_short_name_rank_and_file(ranks_are, bundle, tmp_path):
    command = ["run", damaged(bundle, tmp_path), *IDS]
    result = launch(2, INTAGLIO, *command) if ranks_are == "processes" else intaglio(*command)
    assert re.search(r"^rank 1 of 2: \S*weights\.rank1\.bin: is \d+ bytes, the manifest says \d+: run intaglio export again$", error(result))


def test_an_instruction_set_that_one_rank_lacks_names_the_rank(bundle, tmp_path):
    result = launch(2, on_rank_1(tmp_path, "export INTAGLIO_ISA=sse2"), "run", bundle, *IDS)
    assert error(result).startswith('rank 1 of 2: unknown instruction set "sse2"')


def test_a_missing_plugin_is_told_once(tmp_path):
    shutil.copy(INTAGLIO, tmp_path)
    message = error(launch(2, tmp_path / INTAGLIO.name, "run", "bundle", *IDS))
    assert message.startswith("this is one of 2 processes of an MPI launcher, but the plugin for MPI does not load")
    assert "install libopenmpi-dev and openmpi-bin" in message


# What happens to a rank while all compute, or wait for the user.

def busy(bundle):
    return [INTAGLIO, "bench", bundle, "--repeat", "100000", "--prefill", "32", "--decode", "64"]


def idle(bundle):
    return [INTAGLIO, "run", bundle, "--chat"]


def wait_until_loaded(started: Group) -> None:
    time.sleep(2.5)   # takes half a second, and nothing tells
    assert started.launcher.poll() is None, started.launcher.communicate()


def signalled(command, rank, number):
    """How a group ends of which one rank gets a signal, and after how long."""
    with group(2, *command) as started:
        wait_until_loaded(started)
        started.signal_rank(rank, number)
        start = time.monotonic()
        return started.result(), time.monotonic() - start


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("does", [busy, idle])
def test_a_rank_that_is_killed_ends_all(does, rank, bundle):
    result, seconds = signalled(does(bundle), rank, signal.SIGKILL)
    assert result.returncode == 128 + signal.SIGKILL
    assert seconds < DEADLINE / 2
    assert re.search(rf"process rank {rank} with PID \d+ on node \S+ exited on signal 9", result.stderr), result.stderr
    assert not MESSAGE.findall(result.stderr)


@pytest.fixture(scope="module")
def stalled(bundle):
    """By what all do and the rank that stalls: how the group ended, and after how long. All wait for the deadline together."""
    results = {}
    with ExitStack() as stack:
        cases = {(does, rank): stack.enter_context(group(2, *does(bundle))) for does in (busy, idle) for rank in (0, 1)}
        for started in cases.values():
            wait_until_loaded(started)
        stopped = time.monotonic()
        for (_, rank), started in cases.items():
            started.signal_rank(rank, signal.SIGSTOP)
        for case, started in cases.items():
            results[case] = started.result(), time.monotonic() - stopped
    return results


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("does", [busy, idle])
def test_a_rank_that_stalls_is_named(does, rank, stalled):
    result, seconds = stalled[does, rank]
    assert re.fullmatch(rf"rank {1 - rank} of 2: waited {DEADLINE} s at \S+ for rank {rank}, which stalls or has ended; start all ranks again",
                        error_of_stalled(result))
    assert seconds < 2 * DEADLINE


@pytest.mark.parametrize("does", [busy, idle])
def test_an_interrupted_launcher_leaves_nothing(does, bundle):
    with group(2, *does(bundle)) as started:
        wait_until_loaded(started)
        started.launcher.send_signal(signal.SIGINT)
        result = started.result()
    assert result.returncode != 0
    assert not MESSAGE.findall(result.stderr)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("does", [busy, idle])
def test_an_interrupted_rank_ends_all(does, rank, bundle):
    result, _ = signalled(does(bundle), rank, signal.SIGINT)
    assert result.returncode == 128 + signal.SIGINT
    assert not MESSAGE.findall(result.stderr)


def test_all_leave_when_the_user_does(bundle):
    with group(2, *idle(bundle)) as started:
        started.launcher.stdin.close()
        started.launcher.stdin = None
        result = started.result()
    assert (result.returncode, result.stderr) == (0, "")
