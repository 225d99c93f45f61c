"""A recommendation as a self-contained SVG file: one line per setting over the dimensions."""

from __future__ import annotations

from xml.sax.saxutils import escape

from lycoris.analysis.decisions.recommendation import RankedSetting, Recommendation
from lycoris.analysis.text.formatting import format_number

PLOT_LEFT, PLOT_TOP, PLOT_WIDTH, PLOT_HEIGHT = 56, 74, 700, 330
MAX_NAMED_SETTINGS = 14
"""The most settings of the front that the legend names; the rest are counted."""
STYLE = """
svg { color-scheme: light dark; background: #fcfbf9; font: 13px/1.4 system-ui, "Liberation Sans", Arial, sans-serif; }
text { fill: #1f1e1b; } .soft { fill: #6b6862; } .axis { stroke: #cfcabf; } .grid { stroke: #ece8e0; }
.line { fill: none; stroke-linejoin: round; } .dominated { stroke: #c9c5bc; stroke-width: 1; opacity: .55; }
.front { stroke: #8b8880; stroke-width: 1.4; } .runner-up { stroke: #d07c10; stroke-width: 2.5; stroke-dasharray: 7 4; }
.choice { stroke: #2f6fc0; stroke-width: 3.5; } .interval { stroke: #2f6fc0; stroke-width: 9; opacity: .22; }
.dot { fill: #2f6fc0; } .runner-up-dot { fill: #d07c10; }
@media (prefers-color-scheme: dark) {
  svg { background: #151618; } text { fill: #ebe9e4; } .soft { fill: #a19e97; } .axis { stroke: #4a4e54; }
  .grid { stroke: #2a2d31; } .dominated { stroke: #4a4e54; } .front { stroke: #85827c; } .runner-up { stroke: #f0a848; }
  .choice, .interval { stroke: #6fa8f0; } .dot { fill: #6fa8f0; } .runner-up-dot { fill: #f0a848; }
}
"""


def render_svg(recommendation: Recommendation, *, title: str) -> str:
    """The recommendation as SVG text.

    Each axis is a dimension's mean scaled rank from 0 to 1. The choice is a thick line with its intervals, the
    runner-up dashed, the rest of the front dark grey, dominated settings pale. Settings that are not eligible are
    omitted.
    """
    names = list(recommendation.weights)
    choice, runner_up = recommendation.choice, recommendation.runner_up
    front = [one for one in recommendation.front if one not in (choice, runner_up)]
    dominated = [one for one in recommendation.eligible if not one.front]
    runner_ups = [("runner-up", runner_up)] if runner_up else []
    rows = [("choice", choice), *runner_ups, *(("front", one) for one in front[:MAX_NAMED_SETTINGS])]
    width = PLOT_LEFT * 2 + PLOT_WIDTH
    height = PLOT_TOP + PLOT_HEIGHT + 56 + 20 * len(rows) + 34
    lines = [
        *(("dominated", one) for one in dominated), *(("front", one) for one in front), *runner_ups, ("choice", choice)
    ]  # fmt: skip
    unnamed = len(front) - MAX_NAMED_SETTINGS
    pale = sum(one not in (choice, runner_up) for one in dominated)
    remarks = ([f"{unnamed} more on the front"] if unnamed > 0 else []) + ([f"{pale} dominated (pale)"] if pale else [])
    intervals = _interval_lines(choice, names)
    bars = "; bars: 95 % intervals of the choice" if intervals else ""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text x="{PLOT_LEFT}" y="28" font-size="18" font-weight="600">{escape(title)}</text>',
        f'<text class="soft" x="{PLOT_LEFT}" y="48">mean scaled rank of each setting, 1 is best{bars}</text>',
        *_axes(recommendation, names),
        *(_polyline(kind, one, names) for kind, one in lines),
        *intervals,
        *_legend(rows),
        f'<text class="soft" x="{PLOT_LEFT}" y="{height - 16}">{escape("; ".join(remarks))}</text></svg>',
    ]
    return "\n".join(parts) + "\n"


def _x(index: int, count: int) -> float:
    return PLOT_LEFT + PLOT_WIDTH * index / max(count - 1, 1)


def _y(rank: float | None) -> float:
    return PLOT_TOP + PLOT_HEIGHT * (1 - min(max(rank or 0.0, 0.0), 1.0))


def _axes(recommendation: Recommendation, names: list[str]) -> list[str]:
    last = _x(len(names) - 1, len(names))
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(tick)
        parts.append(f'<line class="grid" x1="{PLOT_LEFT}" x2="{last:g}" y1="{y:g}" y2="{y:g}"/>')
        text = format_number(tick, 2)
        parts.append(f'<text class="soft" x="{PLOT_LEFT - 8}" y="{y + 4:g}" text-anchor="end">{text}</text>')
    bottom = PLOT_TOP + PLOT_HEIGHT
    for index, name in enumerate(names):
        x, weight = _x(index, len(names)), recommendation.weights[name]
        label = name if weight == 1 else f"{name} × {weight:g}"
        anchor = "start" if index == 0 else "end" if index == len(names) - 1 > 0 else "middle"
        parts.append(f'<line class="axis" x1="{x:g}" x2="{x:g}" y1="{PLOT_TOP}" y2="{bottom}"/>')
        position = f'x="{x:g}" y="{bottom + 22}" text-anchor="{anchor}"'
        parts.append(f'<text {position} font-weight="600">{escape(label)}</text>')
    return parts


def _polyline(kind: str, one: RankedSetting, names: list[str]) -> str:
    points = " ".join(
        f"{_x(index, len(names)):g},{_y(one.ranks[name]['mean']):.1f}" for index, name in enumerate(names)
    )
    ranks = ", ".join(f"{name} {format_number(one.ranks[name]['mean'], 2)}" for name in names)
    dots = {"choice": "dot", "runner-up": "runner-up-dot"}.get(kind, "")
    marks = "".join(
        f'<circle class="{dots}" cx="{_x(index, len(names)):g}" cy="{_y(one.ranks[name]["mean"]):.1f}" r="4"/>'
        for index, name in enumerate(names)
        if dots
    )
    title = escape(f"{one.name}: {ranks}")
    return f'<g><title>{title}</title><polyline class="line {kind}" points="{points}"/>{marks}</g>'


def _interval_lines(one: RankedSetting, names: list[str]) -> list[str]:
    return [
        f'<line class="interval" x1="{_x(index, len(names)):g}" x2="{_x(index, len(names)):g}" '
        f'y1="{_y(rank["low"]):.1f}" y2="{_y(rank["high"]):.1f}"/>'
        for index, name in enumerate(names)
        if (rank := one.ranks[name])["low"] is not None
    ]


def _legend(rows: list[tuple[str, RankedSetting]]) -> list[str]:
    parts = []
    for index, (kind, one) in enumerate(rows):
        y = PLOT_TOP + PLOT_HEIGHT + 56 + 20 * index
        role = {"choice": "choice: ", "runner-up": "runner-up: "}.get(kind, "")
        parts.append(f'<line class="line {kind}" x1="{PLOT_LEFT}" x2="{PLOT_LEFT + 34}" y1="{y - 4}" y2="{y - 4}"/>')
        parts.append(
            f'<text x="{PLOT_LEFT + 66}" y="{y}" text-anchor="end">{format_number(one.rank["mean"], 2)}</text>'
        )
        parts.append(f'<text x="{PLOT_LEFT + 78}" y="{y}">{escape(role + one.name)}</text>')
    return parts
