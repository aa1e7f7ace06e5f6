"""How each engine is run, and what its output says. Every figure comes from a process of its own."""

import json
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

PREFILL = 512
DECODE = 32


@dataclass(frozen=True)
class Finished:
    output: str
    seconds: float
    peak_rss: int  # bytes


def run(command: list) -> Finished:
    """Runs a command to its end; raises RuntimeError with the end of what it printed if it fails."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.monotonic()
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=err, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - start
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(str(part) for part in command)} ended with {process.returncode}: {err.read()[-500:]}")
        return Finished(out.read(), seconds, usage.ru_maxrss * 1024)


@dataclass(frozen=True)
class Shapes:
    """What is measured: depths of decoding, sizes of batches."""

    depths: tuple = (0, 2048, 8192)
    batches: tuple = (1, 2, 4, 8, 16)

    @property
    def context(self) -> int:
        return max(self.depths) + PREFILL + DECODE + 64


@dataclass
class Intaglio:
    binary: Path
    threads: int
    name: str = "Intaglio"
    limits: dict = field(default_factory=dict)  # of the machine, a list of one figure a measurement
    shares: dict = field(default_factory=dict)

    def bench(self, bundle: Path, **shape: int) -> dict:
        options = [part for key, value in shape.items() for part in (f"--{key}", value)]
        command = [self.binary, "bench", bundle, "--repeat", 1, "--threads", self.threads, "--json", *options]
        result = {key: value["median"] for key, value in json.loads(run(command).output).items() if isinstance(value, dict)}
        for key in ("read_bytes_per_s", "fma_operations_per_s", "int8_operations_per_s"):
            if key in result:
                self.limits.setdefault(key, []).append(result[key])
        return result

    def figures(self, bundle: Path, shapes: Shapes) -> dict:
        figures = {}
        for depth in shapes.depths:
            result = self.bench(bundle, prefill=PREFILL, decode=DECODE, depth=depth)
            figures[f"decode at depth {depth}"] = result["decode_tokens_per_s"]
            self.shares.setdefault(f"decode at depth {depth}", []).append(result.get("decode_share_of_read_bandwidth"))
            if depth == 0:
                figures[f"prefill {PREFILL}"] = result["prefill_tokens_per_s"]
        for batch in shapes.batches:
            result = self.bench(bundle, prefill=16, decode=DECODE, batch=batch)
            figures[f"batched decode, {batch}"] = result["decode_tokens_per_s"]
        one_token = ["--input-ids", 1, "--max-tokens", 1, "--ignore-eos", "--json"]
        whole = run([self.binary, "run", bundle, *one_token, "--threads", self.threads])
        figures["start to first token, s"] = whole.seconds
        figures["peak RSS, MiB"] = whole.peak_rss / 2**20
        return figures


@dataclass
class LlamaCpp:
    """llama.cpp, or ik_llama.cpp, whose tools are the same but for a few options."""

    binaries: Path
    threads: int
    name: str = "llama.cpp"
    repack: tuple = ()

    def bench(self, model: Path, *options: object) -> Finished:
        return run([self.binaries / "llama-bench", "-m", model, "-t", self.threads, "-r", 1, *self.repack, *options])

    def speeds(self, model: Path, *options: object) -> list:
        return [test["avg_ts"] for test in json.loads(self.bench(model, "-o", "json", *options).output)]

    def decode_at(self, model: Path, depth: int) -> float:
        if self.name == "llama.cpp":
            return self.speeds(model, "-p", 0, "-n", DECODE, "-d", depth)[0]
        if depth == 0:
            return self.speeds(model, "-p", 0, "-n", DECODE)[0]
        return self.speeds(model, "-p", 0, "-n", 0, "-gp", f"{depth},{DECODE}")[-1]

    def batched(self, model: Path, batches: tuple) -> dict:
        """Tokens a second over the whole batch, from the table's rows |PP|TG|B|N_KV|T_PP|S_PP|T_TG|S_TG|…|."""
        context = (16 + DECODE) * max(batches) + 64
        options = ["-c", context, "-b", 2048, "-ub", 512, "-npp", 16, "-ntg", DECODE, "-npl", ",".join(str(batch) for batch in batches)]
        flags = ["-rtr"] if self.repack else []
        output = run([self.binaries / "llama-batched-bench", "-m", model, "-t", self.threads, *flags, *options]).output
        rows = [re.findall(r"[\d.]+", line) for line in output.splitlines() if re.match(r"\|\s*\d", line)]
        return {f"batched decode, {int(row[2])}": float(row[7]) for row in rows}

    def figures(self, model: Path, shapes: Shapes) -> dict:
        figures = {f"prefill {PREFILL}": self.speeds(model, "-p", PREFILL, "-n", 0)[0]}
        for depth in shapes.depths:
            figures[f"decode at depth {depth}"] = self.decode_at(model, depth)
        figures.update(self.batched(model, shapes.batches))
        warmup = ["--no-warmup"] if self.name == "llama.cpp" else ["-w", 0]
        whole = self.bench(model, "-p", 0, "-n", 1, *warmup)
        figures["start to first token, s"] = whole.seconds
        figures["peak RSS, MiB"] = whole.peak_rss / 2**20
        return figures
