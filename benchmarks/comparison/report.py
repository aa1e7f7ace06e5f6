"""Tables and the plot of a comparison."""

import statistics
from html import escape

SMALLER_IS_BETTER = ("start to first token, s", "peak RSS, MiB", "export, s")


def is_smaller_better(row: str) -> bool:
    return row in SMALLER_IS_BETTER


def medians(rounds: list[dict]) -> dict:
    """Of each figure, over the rounds that have it."""
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: statistics.median(figures[name] for figures in rounds if name in figures) for name in names}


def ratio(row: str, ours: float, theirs: float) -> float:
    """How many times better ours is."""
    return theirs / ours if is_smaller_better(row) else ours / theirs


def best_peer(row: str, engines: dict, name: str) -> tuple[str, float] | None:
    figures = [(figures[row], peer) for peer, figures in engines.items() if peer != name and row in figures]
    if not figures:
        return None
    value, peer = (min if is_smaller_better(row) else max)(figures)
    return peer, value


def ratios(result: dict) -> dict:
    """By row, Intaglio's advantage over the best peer."""
    ours = result["engines"]["Intaglio"]
    pairs = {row: best_peer(row, result["engines"], "Intaglio") for row in ours}
    return {row: ratio(row, ours[row], peer[1]) for row, peer in pairs.items() if peer}


def markdown(results: list[dict], machine: dict) -> str:
    lines = [
        f"{machine['cpu']}, {machine['threads']} threads, {machine['isa']}, {machine['date']}, commit {machine['commit']}. "
        f"Medians of {machine['rounds']} interleaved rounds; tokens/s where nothing else is said.",
        "",
        f"Limits in the same rounds: reads {machine['read_gb_s']:.1f} GB/s, f32 FMA {machine['fma_g_s']:.0f} G/s"
        + (f", int8 dot {machine['int8_g_s']:.0f} G/s." if machine.get("int8_g_s") else "."),
        "",
    ]
    for result in results:
        names = list(result["engines"])
        lines += [f"### {result['name']}", "", "| | " + " | ".join(names) + " | Intaglio / best peer | share of reads |"]
        lines.append("|---|" + "--:|" * (len(names) + 2))
        better = ratios(result)
        for row in result["engines"]["Intaglio"]:
            cells = [f"{result['engines'][name][row]:.4g}" if row in result["engines"][name] else "" for name in names]
            share = result["shares"].get(row)
            cells.append(f"{better[row]:.2f}" if row in better else "")
            cells.append(f"{100 * share:.0f} %" if share else "")
            lines.append(f"| {row} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def svg(results: list[dict]) -> str:
    """Bars of Intaglio's advantage over the best peer, a group a model; the line is a tie."""
    rows = [row for row in dict.fromkeys(row for result in results for row in ratios(result)) if row != "export, s"]
    bar, label_width, width = 12, 190, 720
    most = max([1.5, *(value for result in results for value in ratios(result).values())])
    scale = (width - label_width - 60) / most
    colours = ("#2b6cb0", "#dd6b20", "#38a169", "#805ad5", "#d53f8c", "#718096")
    parts, y = [], 30 + 16 * len(results)
    for i, result in enumerate(results):
        parts.append(f'<rect x="10" y="{12 + 16 * i}" width="10" height="10" fill="{colours[i % len(colours)]}"/>')
        parts.append(f'<text x="26" y="{21 + 16 * i}">{escape(result["name"])}</text>')
    top = y
    for row in rows:
        parts.append(f'<text x="{label_width - 8}" y="{y + bar * len(results) / 2 + 4}" text-anchor="end">{escape(row)}</text>')
        for i, result in enumerate(results):
            value = ratios(result).get(row)
            if value is not None:
                parts.append(f'<rect x="{label_width}" y="{y}" width="{value * scale:.1f}" height="{bar - 2}" fill="{colours[i % len(colours)]}"/>')
                parts.append(f'<text x="{label_width + value * scale + 4:.1f}" y="{y + bar - 3}">{value:.2f}</text>')
            y += bar
        y += 8
    tie = label_width + scale
    parts.append(f'<line x1="{tie:.1f}" y1="{top - 4}" x2="{tie:.1f}" y2="{y}" stroke="#1a202c" stroke-dasharray="4 3"/>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 10}" font-family="sans-serif" font-size="11">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])
