"""The picture of a recommendation: a line a setting over the dimensions, as one SVG file that needs nothing else."""

from __future__ import annotations

from xml.sax.saxutils import escape

from lycoris.analysis.decisions.recommendation import RankedSetting, Recommendation
from lycoris.analysis.text.formatting import format_number

PLOT_LEFT, PLOT_TOP, PLOT_WIDTH, PLOT_HEIGHT = 56, 74, 700, 330
MAX_NAMED_SETTINGS = 14
"""Settings of the front that are named beneath; the rest are counted."""
STYLE = """
svg { color-scheme: light dark; background: #fcfbf9; font: 13px/1.4 system-ui, "Liberation Sans", Arial, sans-serif; }
text { fill: #1f1e1b; } .soft { fill: #6b6862; } .axis { stroke: #cfcabf; } .grid { stroke: #ece8e0; }
.line { fill: none; stroke-linejoin: round; } .rest { stroke: #c9c5bc; stroke-width: 1; opacity: .55; }
.front { stroke: #8b8880; stroke-width: 1.4; } .second { stroke: #d07c10; stroke-width: 2.5; stroke-dasharray: 7 4; }
.choice { stroke: #2f6fc0; stroke-width: 3.5; } .reach { stroke: #2f6fc0; stroke-width: 9; opacity: .22; }
.dot { fill: #2f6fc0; } .dot2 { fill: #d07c10; }
@media (prefers-color-scheme: dark) {
  svg { background: #151618; } text { fill: #ebe9e4; } .soft { fill: #a19e97; } .axis { stroke: #4a4e54; }
  .grid { stroke: #2a2d31; } .rest { stroke: #4a4e54; } .front { stroke: #85827c; } .second { stroke: #f0a848; }
  .choice, .reach { stroke: #6fa8f0; } .dot { fill: #6fa8f0; } .dot2 { fill: #f0a848; }
}
"""


def render_svg(recommendation: Recommendation, *, title: str) -> str:
    """The recommendation as SVG text.

    Each axis is a dimension's mean scaled rank from 0 to 1. The choice is thick, with its intervals; the runner-up
    dashed; the rest of the front dark grey; dominated settings pale. Settings left out are not drawn.
    """
    names = list(recommendation.weights)
    inside = [one for one in recommendation.options if not one.left_out]
    second = recommendation.runner_up
    wide = PLOT_LEFT * 2 + PLOT_WIDTH
    listed = [one for one in recommendation.front if one not in (recommendation.choice, second)]
    rows = [("choice", recommendation.choice)] + ([("second", second)] if second else [])
    rows += [("front", one) for one in listed[:MAX_NAMED_SETTINGS]]
    tall = PLOT_TOP + PLOT_HEIGHT + 56 + 20 * len(rows) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" width="{wide}" height="{tall}" '
        'role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text x="{PLOT_LEFT}" y="28" font-size="18" font-weight="600">{escape(title)}</text>',
        f'<text class="soft" x="{PLOT_LEFT}" y="48">mean scaled rank of each setting, 1 is best</text>',
        *_axes(recommendation, names),
    ]
    order = [("rest", one) for one in inside if not one.front] + [("front", one) for one in listed]
    order += [("second", second)] if second else []
    order += [("choice", recommendation.choice)]
    parts += [_polyline(kind, one, names) for kind, one in order]
    parts += _interval_lines(recommendation.choice, names)
    parts += _legend(rows)
    more = len(listed) - MAX_NAMED_SETTINGS
    pale = sum(not one.front for one in inside if one not in (recommendation.choice, second))
    tail = ([f"{more} more on the front"] if more > 0 else []) + ([f"{pale} dominated (pale)"] if pale else [])
    parts.append(f'<text class="soft" x="{PLOT_LEFT}" y="{tall - 16}">{escape("; ".join(tail))}</text></svg>')
    return "\n".join(parts) + "\n"


def _x(place: int, count: int) -> float:
    return PLOT_LEFT + PLOT_WIDTH * place / max(count - 1, 1)


def _y(rank: float | None) -> float:
    return PLOT_TOP + PLOT_HEIGHT * (1 - min(max(rank or 0.0, 0.0), 1.0))


def _axes(recommendation: Recommendation, names: list[str]) -> list[str]:
    last = _x(len(names) - 1, len(names))
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<line class="grid" x1="{PLOT_LEFT}" x2="{last:g}" y1="{_y(tick):g}" y2="{_y(tick):g}"/>')
        parts.append(
            f'<text class="soft" x="{PLOT_LEFT - 8}" y="{_y(tick) + 4:g}" text-anchor="end">{format_number(tick, 2)}</text>'  # noqa: E501
        )
    for place, name in enumerate(names):
        x, weight = _x(place, len(names)), recommendation.weights[name]
        said = name if weight == 1 else f"{name} × {weight:g}"
        anchor = "start" if place == 0 else "end" if place == len(names) - 1 > 0 else "middle"
        parts.append(f'<line class="axis" x1="{x:g}" x2="{x:g}" y1="{PLOT_TOP}" y2="{PLOT_TOP + PLOT_HEIGHT}"/>')
        parts.append(
            f'<text x="{x:g}" y="{PLOT_TOP + PLOT_HEIGHT + 22}" text-anchor="{anchor}" font-weight="600">{escape(said)}</text>'  # noqa: E501
        )
    return parts


def _polyline(kind: str, one: RankedSetting, names: list[str]) -> str:
    points = " ".join(
        f"{_x(place, len(names)):g},{_y(one.ranks[name]['mean']):.1f}" for place, name in enumerate(names)
    )
    told = ", ".join(f"{name} {format_number(one.ranks[name]['mean'], 2)}" for name in names)
    dots = {"choice": "dot", "second": "dot2"}.get(kind, "")
    marks = "".join(
        f'<circle class="{dots}" cx="{_x(place, len(names)):g}" cy="{_y(one.ranks[name]["mean"]):.1f}" r="4"/>'
        for place, name in enumerate(names)
        if dots
    )
    return (
        f'<g><title>{escape(f"{one.name}: {told}")}</title><polyline class="line {kind}" points="{points}"/>{marks}</g>'
    )


def _interval_lines(one: RankedSetting, names: list[str]) -> list[str]:
    return [
        f'<line class="reach" x1="{_x(place, len(names)):g}" x2="{_x(place, len(names)):g}" '
        f'y1="{_y(rank["low"]):.1f}" y2="{_y(rank["high"]):.1f}"/>'
        for place, name in enumerate(names)
        if (rank := one.ranks[name])["low"] is not None
    ]


def _legend(rows: list[tuple[str, RankedSetting]]) -> list[str]:
    parts = []
    for place, (kind, one) in enumerate(rows):
        y = PLOT_TOP + PLOT_HEIGHT + 56 + 20 * place
        role = {"choice": "choice: ", "second": "runner-up: "}.get(kind, "")
        parts.append(f'<line class="line {kind}" x1="{PLOT_LEFT}" x2="{PLOT_LEFT + 34}" y1="{y - 4}" y2="{y - 4}"/>')
        parts.append(
            f'<text x="{PLOT_LEFT + 66}" y="{y}" text-anchor="end">{format_number(one.rank["mean"], 2)}</text>'
        )
        parts.append(f'<text x="{PLOT_LEFT + 78}" y="{y}">{escape(role + one.name)}</text>')
    return parts
