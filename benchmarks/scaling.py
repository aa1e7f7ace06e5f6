#!/usr/bin/env python3
"""What tensor parallelism gains: a paper model of ranks on two sockets or eight nodes, from figures measured on this machine.

    benchmarks/scaling.py BUNDLE        a bundle of one rank, e.g. build/models/gemma-3-270m

Measures with `intaglio bench` what one rank does here (prefill and decode, and the shares of read bandwidth and multiply-add peak that this
is), then computes what N ranks with a socket or a node each would do, for that model and for others whose shapes are below. Assumptions:

- A rank computes as one rank does here, on 1 / N of the matrices: the shares of a layer are equal, and everything that is replicated (norms,
  residuals, router) is free. Each rank has --bandwidth and --peak of its own, scaled by the shares measured.
- A step has two all-reduces a layer and one for the embedding, [rows, hidden] in f32 each, and three gathers for sampling, which move a few KiB.
- An all-reduce takes meetings + bytes * 2 (N - 1) / N / speed of the link: every rank sends and receives that much. A meeting of threads of two
  sockets is two crossings of the interconnect; of processes, a message there and back.
- Nothing overlaps. Where the sums of a prompt travel while its next rows are computed (ranks on several hosts, 128 rows and more), the shorter
  of both times is hidden but for a quarter: that is the last column.
"""
import argparse
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

INTAGLIO = Path(__file__).resolve().parents[1] / "build/release/intaglio"
PREFILL_ROWS = 256


@dataclass(frozen=True)
class Model:
    name: str
    layers: int
    hidden: int
    parameters: float   # of the matrices that every token is multiplied by
    bytes_per_parameter: float = 2.0


@dataclass(frozen=True)
class Link:
    name: str
    ranks: tuple[int, ...]
    meeting_s: float
    bytes_per_s: float
    overlaps: bool


MODELS = (Model("Llama-3.2-1B, bf16", 16, 2048, 1.24e9), Model("Llama-3.1-8B, bf16", 32, 4096, 8.0e9), Model("Llama-3.1-70B, bf16", 80, 8192, 70e9))
LINKS = (
    Link("sockets, 40 GB/s, 1 us", (2,), 1e-6, 40e9, False),
    Link("nodes, 10 Gbit/s, 30 us", (2, 4, 8), 30e-6, 1.25e9, True),
    Link("nodes, 100 Gbit/s RDMA, 3 us", (2, 4, 8), 3e-6, 12.5e9, True),
)


def measure(bundle: str, rounds: int) -> dict:
    command = [INTAGLIO, "bench", bundle, "--prefill", str(PREFILL_ROWS), "--decode", "32", "--repeat", str(rounds), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def describe(bundle: str) -> Model:
    manifest = json.loads(subprocess.run([INTAGLIO, "inspect", bundle, "--json"], check=True, capture_output=True, text=True).stdout)["manifest"]
    if manifest["tp_degree"] != 1:
        raise SystemExit(f"scaling: {bundle} is for {manifest['tp_degree']} ranks; the model starts from one: export it without --tp")
    width = {"f32": 4.0, "bf16": 2.0}[manifest["weight_dtype"]]
    parameters = manifest["memory"]["weights"] / width
    return Model(f"{manifest['source']}, {manifest['weight_dtype']}", manifest["num_layers"], manifest["hidden_size"], parameters, width)


def sums_s(model: Model, link: Link, ranks: int, rows: int) -> float:
    """Seconds that a step of `rows` rows spends in collectives."""
    sums = 2 * model.layers + 1
    bytes_sent = rows * model.hidden * 4 * 2 * (ranks - 1) / ranks
    return sums * (2 * link.meeting_s + bytes_sent / link.bytes_per_s) + 3 * 2 * link.meeting_s


def row(model: Model, link: Link, ranks: int, rates: dict[str, float]) -> str:
    decode = model.parameters * model.bytes_per_parameter / rates["bandwidth"]
    prefill = 2 * model.parameters * PREFILL_ROWS / rates["peak"]
    decode_n = decode / ranks + sums_s(model, link, ranks, 1)
    compute, sums = prefill / ranks, sums_s(model, link, ranks, PREFILL_ROWS)
    hidden = max(compute, sums) + min(compute, sums) / 4 if link.overlaps else compute + sums
    return (f"| {model.name} | {link.name} | {ranks} | {decode * 1e3:.1f} | {decode / decode_n:.2f} | {prefill * 1e3:.0f} | "
            f"{prefill / (compute + sums):.2f} | {prefill / hidden:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--bandwidth", type=float, default=200e9, help="bytes a second that a socket or node reads (default 200e9)")
    parser.add_argument("--peak", type=float, default=2e12, help="f32 operations a second of a socket or node (default 2e12)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    own = describe(options.bundle)
    bench = measure(options.bundle, options.rounds)
    shares = {"decode": bench["decode_share_of_read_bandwidth"]["median"], "prefill": bench["prefill_share_of_fma_peak"]["median"]}
    print(f"Measured: {own.name}, {bench['isa']}, {bench['threads']} threads: decode {bench['decode_tokens_per_s']['median']:.1f} tokens/s "
          f"({shares['decode']:.0%} of read bandwidth), prefill {bench['prefill_tokens_per_s']['median']:.0f} tokens/s "
          f"({shares['prefill']:.0%} of the multiply-add peak)")
    print(f"A rank is taken to read {options.bandwidth / 1e9:.0f} GB/s and compute {options.peak / 1e12:.1f} TFLOP/s at most, and to reach "
          "those shares\n")
    rates = {"bandwidth": options.bandwidth * shares["decode"], "peak": options.peak * shares["prefill"]}
    print("| model | link, meeting | ranks | decode ms of one | speed-up | prefill ms of one | speed-up | with overlap |")
    print("|---|---|---|---|---|---|---|---|")
    for model in (own, *MODELS):
        for link in LINKS:
            for ranks in link.ranks:
                print(row(model, link, ranks, rates))


if __name__ == "__main__":
    main()
