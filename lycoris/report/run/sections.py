"""The sections of a run report. A new plot is a script in this folder and an entry here."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from markupsafe import Markup

from lycoris.report.shared.templates import Section

FOLDER = Path(__file__).parent
SCRIPTS = tuple(FOLDER / f"{name}.js" for name in ("comparison", "cost-measures", "closeup", "concepts", "usage"))
"""What the scripts of several sections share."""
_section = partial(Section, FOLDER)

SECTIONS = (
    _section("verdict", "Verdict", "Verdict", per_concept=True, preposition="on"),
    _section(
        "images", "Images", "Images",
        "Within a column, prompt and seed are the same and only the model changes. Click an image to enlarge it beside "
        "the base's.", per_concept=True,
    ),
    _section("scores", "Scores", "Scores", per_concept=True),
    _section(
        "differences", "Differences", "Differences to the base",
        Markup(
            "Each dot is an adapter's difference to the base, with its interval. <b>Right of the line is better</b>, "
            "whichever direction the score has. Color means that the interval excludes 0 and the difference "
            "matters; grey means that none is shown, or one too small to matter. A distance from the base is black: "
            "the base itself has none."
        ), per_concept=True,
    ),
    _section("table", "Table", "All scores", "Click a heading to sort; click again to reverse the order."),
    _section(
        "tradeoff", "Trade-offs", "Trade-offs",
        "One score against another, each with its interval. Towards the arrow both get better; a line "
        "connects the checkpoints of a training. In a crowded plot only the selected point has its interval. Point at "
        "a point, or reach it with the arrow keys, to see its images; click to pin it.", per_concept=True,
    ),
    _section(
        "cost", "Costs", "Costs",
        "Each dot is an adapter, the line its algorithm's median, and the band (in brackets) the middle half.",
    ),
    _section(
        "losses", "Losses", "Loss curves",
        "Smoothed over a tenth of the run; the faint lines are single steps.", per_concept=True,
    ),
    _section(
        "validation", "Loss by noise", "Loss by noise level",
        "Mean loss of the last tenth of each run by the noise of its images, in quarters from clean to pure noise. "
        "Where images were held out from training, the loss on them as well.", per_concept=True,
    ),
    _section("samples", "Samples", "Images generated during training", per_concept=True),
    _section("captions", "Captions", "Captions", per_concept=True),
    _section("adapters", "Adapters", "All adapters"),
    _section("run", "About this run", "About this run"),
)  # fmt: skip
"""In the order of the page. The last one is printed; the scripts draw the others."""
