"""How groups of processes end, well and badly: with one message, within seconds, and with no process left. The ranks are
tests/collectives/mpi/rank.cc, beside INTAGLIO_BIN."""
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from launcher import INTAGLIO, SECONDS, needs_mpirun
from launcher import launch as launch_command

BINARY = INTAGLIO.parent / "mpi_rank"
NOT_FOUND, UNSUPPORTED, DATA_LOSS, UNAVAILABLE = 1, 2, 3, 6   # intaglio::ErrorCode

pytestmark = needs_mpirun


def launch(size: int, *arguments: str, wrapper: str = "run.sh") -> subprocess.CompletedProcess:
    return launch_command(size, BINARY, *arguments, wrapper=wrapper)


def errors(result: subprocess.CompletedProcess) -> set[tuple[int, str]]:
    """A rank that is woken to be ended may repeat what another has said."""
    return {(int(code), text) for code, text in re.findall(r"^error (\d+): (.*)$", result.stderr, re.MULTILINE)}


@pytest.mark.parametrize("size", [2, 3, 8])
def test_ranks_that_all_leave_end_well(size):
    result = launch(size, "nothing")
    assert (result.returncode, result.stdout) == (0, "fine\n"), result.stderr
    assert result.stderr == ""


@pytest.mark.parametrize("bad, size", [(0, 4), (1, 2)])
@pytest.mark.parametrize("kind, code, text", [
    ("throws", NOT_FOUND, r"rank BAD of SIZE: weights\.rank1\.bin is not there"),
    ("aborts", DATA_LOSS, r"rank BAD of SIZE: the answer is lost"),
    ("disagrees", UNAVAILABLE, r"rank \d of SIZE: asks for .*; do they run the same bundle and version\?"),
    ("stalls", UNAVAILABLE, r"rank \d of SIZE: waited 2 s at all-reduce for rank BAD, which stalls or has ended; start all ranks again"),
    ("stops", UNAVAILABLE, r"rank \d of SIZE: waited 2 s at all-reduce for rank BAD, which stalls or has ended; start all ranks again"),
])
def test_a_rank_that_goes_wrong_ends_all_with_one_error(kind, code, text, bad, size):
    result = launch(size, kind, str(bad))
    assert result.returncode == 3, result.stderr
    ((found_code, found_text),) = errors(result)
    assert found_code == code
    assert re.fullmatch(text.replace("BAD", str(bad)).replace("SIZE", str(size)), found_text), found_text


@pytest.mark.parametrize("size", [2, 4])
def test_a_rank_that_leaves_without_a_word_is_named(size):
    result = launch(size, "leaves", "1")
    assert result.returncode == 3
    assert errors(result) == {(UNAVAILABLE, f"rank 1 of {size}: has ended before the others")}


@pytest.mark.parametrize("bad, size", [(0, 4), (1, 2)])
@pytest.mark.parametrize("kind", ["dies", "exits"])
def test_the_launcher_names_a_rank_that_is_gone(kind, bad, size):
    result = launch(size, kind, str(bad))
    assert result.returncode != 0
    assert re.search(rf"process rank {bad} with PID", result.stderr), result.stderr


@pytest.mark.parametrize("kind", ["dies", "stalls", "throws"])
def test_a_rank_that_goes_wrong_on_another_host_ends_all(kind):
    result = launch(2, kind, "1", wrapper="two_hosts.sh")
    assert result.returncode == (137 if kind == "dies" else 3), result.stderr
    assert len(errors(result)) == (0 if kind == "dies" else 1), result.stderr


def test_without_a_launcher_there_is_no_group():
    result = subprocess.run([BINARY, "throws"], capture_output=True, text=True, timeout=SECONDS)
    assert (result.returncode, result.stdout, result.stderr) == (0, "no group\n", "")


def alone(binary: Path, **environment: str) -> set[tuple[int, str]]:
    return errors(subprocess.run([binary], capture_output=True, text=True, timeout=SECONDS, env=os.environ | environment))


def test_a_missing_plugin_is_an_error_that_says_what_to_install(tmp_path):
    shutil.copy(BINARY, tmp_path)
    ((code, text),) = alone(tmp_path / BINARY.name, OMPI_COMM_WORLD_SIZE="2", LD_LIBRARY_PATH="")
    assert code == UNSUPPORTED
    assert "libintaglio_mpi.so" in text and "install libopenmpi-dev and openmpi-bin" in text


def test_a_launcher_of_another_mpi_is_an_error():
    ((code, text),) = alone(BINARY, PMI_SIZE="2", PMI_RANK="0", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    assert code == UNSUPPORTED
    assert text.startswith("the launcher has started 2 processes, but MPI knows of 1;")
