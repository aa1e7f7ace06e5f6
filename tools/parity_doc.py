#!/usr/bin/env python3
"""Writes docs/PARITY.md: every fixture against its goldens, f32 at every instruction-set level that this CPU has, and bf16.

    tools/parity_doc.py [--binary build/release/intaglio] [--out docs/PARITY.md] [FIXTURE...]

Without fixtures: all folders of tests/fixtures with goldens of a text generator. The same build writes the same bytes again.
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEVELS = ("scalar", "avx2", "avx512")
INTRO = """# Parity with Transformers

Written by `tools/parity_doc.py`; not by hand. One line a fixture of `tests/fixtures`, against goldens of Transformers {transformers}:
rotary tables, masks, inner values of each kind of layer, hidden states, all logits, teacher-forced margins, 48 greedy tokens of three
prompts, log-probabilities, chat texts and tokenisations. `intaglio compare --fixture tests/fixtures/NAME` lists every check of a line.

- **worst check**: the one that used most of its tolerance, and how much of it.
- **logits**: largest error in f32. **KL**: largest divergence of a next-token distribution, in nats.
- **levels**: the instruction sets that were run. `=` between two: every figure of the comparison is the same at both. That all bits are is
  tested by `tests/parity/one_answer_test.cc`.
- **bf16**: mean logit error with weights rounded to bfloat16, and what is allowed (`tests/fixtures/README.md`).

| fixture | architecture | f32 | worst check | logits | KL | levels | bf16 | |
|---|---|---|---|---|---|---|---|---|
"""


def compare(binary, fixtures, level, dtype):
    """The reports of one run by fixture name; None where the CPU lacks the level."""
    run = subprocess.run([binary, "compare", "--json", "--dtype", dtype, "--fixture", *map(str, fixtures)], capture_output=True, text=True,
                         env={**os.environ, "INTAGLIO_ISA": level})
    if run.returncode not in (0, 1) or not run.stdout:
        sys.exit(f"parity_doc: {run.stderr.strip()}")
    reports = {report["fixture"]: report for report in json.loads(run.stdout)}
    return None if any("this CPU has no" in report.get("error", "") for report in reports.values()) else reports


def is_generator(folder):
    golden = folder / "golden.json"
    return golden.exists() and {"model_type", "prompts"} <= json.loads(golden.read_text()).keys()


def strain(check):
    """How much of its tolerance a check used."""
    if check["worst"] is None:
        return float("inf")
    return check["worst"] / check["tolerance"] if check["tolerance"] else (0.0 if check["ok"] else float("inf"))


def one_line(text, longest=160):
    text = " ".join(text.replace(f"{ROOT}/", "").split()).replace("|", "\\|")
    return text if len(text) <= longest else text[:longest - 1] + "…"


def describe_levels(by_level):
    """"scalar = avx2 = avx512", or what differs."""
    figures = {level: {**report, "isa": None} for level, report in by_level.items()}
    text, previous = "", None
    for level, figure in figures.items():
        text += level if previous is None else f" {'=' if figure == previous else '≠'} {level}"
        previous = figure
    return text


def describe_bf16(report):
    if "error" in report:
        return one_line(report["error"]), False
    means = [check for check in report["checks"] if check["name"] == "logits (mean error)"]
    if means:
        return f"{means[0]['worst']:.2g} of {means[0]['tolerance']:g}", report["ok"]
    return "exact (stored in bf16)", report["ok"]   # the goldens' own weights: held to f32's tolerances


def line(folder, by_level, bf16):
    best = next(reversed(by_level.values()))
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    if "error" in best:
        return f"| `{folder.name}` | {architecture} | **not run** | | | | | | {one_line(best['error'])} |"
    checks = best["checks"]
    worst = max(checks, key=strain)
    logits = next(band["worst"] for band in best["logits"] if band["top"] == "all")
    bf16_text, is_bf16_ok = describe_bf16(bf16)
    is_ok = is_bf16_ok and all(report["ok"] for report in by_level.values())
    cells = [f"`{folder.name}`", architecture, f"{sum(check['ok'] for check in checks)} of {len(checks)}",
             f"{worst['name']}: {100 * strain(worst):.0f} %", f"{logits:.1e}", f"{best['kl']['worst']:.1e}", describe_levels(by_level), bf16_text,
             "ok" if is_ok else "**miss**"]
    return "| " + " | ".join(cells) + " |"


def document(binary, fixtures):
    f32 = {level: compare(binary, fixtures, level, "f32") for level in LEVELS}
    f32 = {level: reports for level, reports in f32.items() if reports is not None}
    bf16 = compare(binary, fixtures, next(reversed(f32)), "bf16")
    made_with = json.loads((fixtures[0] / "golden.json").read_text())["made_with"]
    lines = [line(fixture, {level: reports[fixture.name] for level, reports in f32.items()}, bf16[fixture.name]) for fixture in fixtures]
    return INTRO.format(transformers=made_with["transformers"]) + "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--binary", default=ROOT / "build/release/intaglio")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/PARITY.md")
    parser.add_argument("fixtures", nargs="*", type=Path)
    options = parser.parse_args()
    fixtures = [fixture.resolve() for fixture in options.fixtures]
    fixtures = fixtures or [folder for folder in sorted((ROOT / "tests/fixtures").iterdir()) if is_generator(folder)]
    options.out.write_text(document(options.binary, fixtures))


if __name__ == "__main__":
    main()
