"""Measures Intaglio, llama.cpp and ik_llama.cpp on the same weights, machine and minutes, and writes ratios.

Models: Gemma 3 270M in Q4_K_M as `make demo` fetches it, and one that is shaped as Llama 3.2 1B, of which --llama1b names the folder: a
checkpoint `llama1b/` of Hugging Face and `llama1b-bf16.gguf` of the same weights (values do not matter to speed). Formats of the peers are
made from the latter by llama-quantize. Rounds are interleaved, because machines drift; figures are medians.

Writes compare.md, compare.json and compare.svg into --out.
"""

import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from comparison import report
from comparison.engines import Intaglio, LlamaCpp, Shapes, run

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Workload:
    name: str
    source: Path  # what Intaglio exports
    options: tuple  # of the export
    gguf: Path  # what the peers run


def workloads(args: argparse.Namespace) -> list[Workload]:
    found = []
    if args.gemma.exists():
        found.append(Workload("Gemma 3 270M, Q4_K_M", args.gemma, (), args.gemma))
    if args.llama1b:
        checkpoint, bf16 = args.llama1b / "llama1b", args.llama1b / "llama1b-bf16.gguf"
        quantised = {name: args.llama1b / f"llama1b-{name.lower()}.gguf" for name in ("Q8_0", "Q4_0")}
        for name, path in quantised.items():
            if not path.exists():
                run([args.llama_cpp / "llama-quantize", "--pure", bf16, path, name])
        found += [
            Workload("Llama 1B, bf16", checkpoint, ("--weights", "bf16"), bf16),
            Workload("Llama 1B, int8 beside Q8_0", checkpoint, ("--weights", "int8"), quantised["Q8_0"]),
            Workload("Llama 1B, Q8_0", quantised["Q8_0"], (), quantised["Q8_0"]),
            Workload("Llama 1B, int4 beside Q4_0", checkpoint, ("--weights", "int4"), quantised["Q4_0"]),
            Workload("Llama 1B, Q4_0", quantised["Q4_0"], (), quantised["Q4_0"]),
        ]
    return [workload for workload in found if args.only in workload.name]


def export(args: argparse.Namespace, workload: Workload, shapes: Shapes) -> tuple[Path, float]:
    """The bundle and the seconds its export took."""
    bundle = args.out / "bundles" / re.sub(r"[^a-z0-9]+", "-", workload.name.lower())
    batches = ",".join(str(batch) for batch in shapes.batches)
    sizes = ["--max-context", shapes.context, "--batch-buckets", batches, "--prefill-buckets", "16,64,512"]
    command = [args.intaglio, "export", workload.source, bundle, "--force", "--no-cache", *workload.options, *sizes]
    return bundle, run(command).seconds


def measure(args: argparse.Namespace, workload: Workload, engines: list, shapes: Shapes) -> dict:
    bundle, export_seconds = export(args, workload, shapes)
    intaglio = engines[0]
    intaglio.shares = {}
    rounds = {engine.name: [] for engine in engines}
    for index in range(args.rounds):
        for engine in engines:
            print(f"{workload.name}: round {index + 1} of {args.rounds}, {engine.name}", file=sys.stderr, flush=True)
            rounds[engine.name].append(engine.figures(bundle if engine is intaglio else workload.gguf, shapes))
    result = {name: report.medians(figures) for name, figures in rounds.items()}
    result[intaglio.name]["export, s"] = export_seconds
    known = {row: [share for share in shares if share] for row, shares in intaglio.shares.items()}
    return {
        "name": workload.name,
        "engines": result,
        "rounds": rounds,
        "shares": {row: statistics.median(shares) for row, shares in known.items() if shares},
    }


def describe_machine(args: argparse.Namespace, intaglio: Intaglio) -> dict:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    limits = {key: statistics.median(values) for key, values in intaglio.limits.items()}
    return {
        "cpu": cpu.group(1) if cpu else "unknown CPU",
        "threads": args.threads,
        "isa": args.isa or "the best instruction set",
        "date": datetime.date.today().isoformat(),
        "commit": commit,
        "rounds": args.rounds,
        "read_gb_s": limits.get("read_bytes_per_s", 0) / 1e9,
        "fma_g_s": limits.get("fma_operations_per_s", 0) / 1e9,
        "int8_g_s": limits.get("int8_operations_per_s", 0) / 1e9,
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--intaglio", type=Path, default=ROOT / "build/release/intaglio")
    parser.add_argument("--llama-cpp", type=Path, metavar="DIR", help="with llama-bench, llama-batched-bench and llama-quantize")
    parser.add_argument("--ik-llama-cpp", type=Path, metavar="DIR", help="with llama-bench and llama-batched-bench")
    parser.add_argument("--gemma", type=Path, default=ROOT / "build/models/gemma-3-270m-q4_k_m.gguf")
    parser.add_argument("--llama1b", type=Path, metavar="DIR")
    parser.add_argument("--only", default="", metavar="TEXT", help="models whose name has it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--depths", default="0,2048,8192")
    parser.add_argument("--batches", default="1,2,4,8,16")
    parser.add_argument("--isa", default="", help="instruction set of Intaglio alone, as INTAGLIO_ISA; peers keep what they were built for")
    parser.add_argument("--out", type=Path, default=ROOT / "build/compare")
    args = parser.parse_args()
    for name in ("intaglio", "llama_cpp", "ik_llama_cpp", "gemma", "llama1b", "out"):
        if getattr(args, name):
            setattr(args, name, getattr(args, name).resolve())
    if args.llama1b and not args.llama_cpp:
        parser.error("--llama1b needs --llama-cpp: its llama-quantize makes the peers' formats")
    return args


def main() -> None:
    args = parse()
    shapes = Shapes(*(tuple(int(n) for n in option.split(",")) for option in (args.depths, args.batches)))
    args.out.mkdir(parents=True, exist_ok=True)
    if args.isa:
        os.environ["INTAGLIO_ISA"] = args.isa
    engines = [Intaglio(args.intaglio, args.threads)]
    if args.llama_cpp:
        engines.append(LlamaCpp(args.llama_cpp, args.threads))
    if args.ik_llama_cpp:
        engines.append(LlamaCpp(args.ik_llama_cpp, args.threads, name="ik_llama.cpp", repack=("-rtr", 1)))
    results = []
    for workload in workloads(args):
        results.append(measure(args, workload, engines, shapes))
        machine = describe_machine(args, engines[0])
        (args.out / "compare.json").write_text(json.dumps({"machine": machine, "results": results}, indent=1))
        (args.out / "compare.md").write_text(report.markdown(results, machine))
        (args.out / "compare.svg").write_text(report.svg(results))
    print((args.out / "compare.md").read_text() if results else "no model to compare: see --gemma and --llama1b")


main()
