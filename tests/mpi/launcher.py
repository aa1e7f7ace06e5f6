"""Starts groups of processes, and makes sure that none is left."""
import os
import shutil
import signal
import subprocess
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures"
INTAGLIO = Path(os.environ.get("INTAGLIO_BIN", ROOT / "build/release/intaglio"))
SECONDS = 60   # none takes a quarter of it; a hang takes for ever
SKIP = 77      # of the wrappers, which say why

needs_mpirun = pytest.mark.skipif(shutil.which("mpirun") is None, reason="mpirun is not installed; run tools/setup.sh")


def intaglio(*arguments) -> subprocess.CompletedProcess:
    """One process; never raises for its exit code."""
    return subprocess.run([INTAGLIO, *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS)


def export(fixture: str, bundle: Path, *options) -> Path:
    context = [] if "--max-context" in options else ["--max-context", "128"]
    result = intaglio("export", FIXTURES / fixture, bundle, *context, "--max-batch", "2", *options)
    assert result.returncode == 0, result.stderr
    return bundle


def ranks_alive(mark: str) -> dict[int, str]:
    """Command lines by pid of processes with `mark` in their environment, those that nobody has buried yet apart."""
    alive = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                alive[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue   # it has just ended, or is another user's
    return alive


class Group:
    """Ranks under mpirun."""

    def __init__(self, size: int, command, wrapper: str, cwd: Path | None):
        self.mark = f"INTAGLIO_TEST_MARK={uuid.uuid4()}"
        name, value = self.mark.split("=")
        self.start = time.monotonic()
        self.launcher = subprocess.Popen([ROOT / "tests/mpi" / wrapper, "-n", str(size), *map(str, command)], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=os.environ | {name: value})

    def signal_rank(self, rank: int, number: signal.Signals) -> None:
        """Once it computes, or waits to be told something."""
        for pid in ranks_alive(self.mark):
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if f"OMPI_COMM_WORLD_RANK={rank}".encode() in environment and os.readlink(f"/proc/{pid}/exe") == str(INTAGLIO.resolve()):
                os.kill(pid, number)
                return
        raise AssertionError(f"no rank {rank} among {ranks_alive(self.mark)}")

    def result(self) -> subprocess.CompletedProcess:
        out, err = self.launcher.communicate(timeout=SECONDS)
        left = ranks_alive(self.mark)
        assert not left, f"still running: {left}"
        return subprocess.CompletedProcess(self.launcher.args, self.launcher.returncode, out, err)


@contextmanager
def group(size: int, *command, wrapper: str = "run.sh", cwd: Path | None = None):
    """Leaves nothing behind, whatever fails."""
    started = Group(size, command, wrapper, cwd)
    try:
        yield started
    finally:
        started.launcher.kill()
        started.launcher.communicate()
        for pid in ranks_alive(started.mark):
            os.kill(pid, signal.SIGKILL)


def launch(size: int, *command, wrapper: str = "run.sh", cwd: Path | None = None) -> subprocess.CompletedProcess:
    with group(size, *command, wrapper=wrapper, cwd=cwd) as started:
        result = started.result()
    if result.returncode == SKIP:
        pytest.skip(result.stderr.strip())
    return result
