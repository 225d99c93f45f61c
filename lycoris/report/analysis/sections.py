"""The sections of an analysis. A new plot is a script in this folder and an entry here."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from markupsafe import Markup

from lycoris.report.shared.templates import Section

FOLDER = Path(__file__).parent
SCRIPTS = (FOLDER / "measures.js",)
"""What the scripts of several sections share."""
_section = partial(Section, FOLDER)

SECTIONS = (
    _section(
        "choices", "Effects", "What each choice does",
        Markup(
            "Configurations that differ in one factor only, compared on the same concepts. Each dot is the mean change "
            "in scaled rank with its 95 % interval; <b>right of the line is better</b>. Color means that the interval "
            "excludes 0."
        ),
    ),
    _section("by-concept", "By concept", "Effects concept by concept"),
    _section(
        "rank-tradeoffs", "Rank trade-offs", "Trade-offs between ranks",
        "Mean scaled ranks of every configuration, with intervals over concepts. Color is the algorithm, shape the "
        "preset. Towards the corner with the star, both get better.",
    ),
    _section(
        "ranks", "Ranks", "Ranks",
        "Mean scaled rank, 1 is best; in brackets the interval over concepts. Click a heading to sort.",
    ),
    _section(
        "correlations", "Correlations", "Which measures agree",
        "Spearman's correlation within a concept, averaged over concepts. Distances are reversed first, so 1 means "
        "that two measures rank all adapters alike.",
    ),
    _section(
        "importance", "SHAP", "Which settings change a measure",
        "SHAP values of a regressor from settings to rank: how much each setting of a configuration raises (right) or "
        "lowers (left) its rank. R² is computed on classes that the model was not fitted to; below .1 the model "
        "explains nothing, and its values are not shown.",
    ),
    _section(
        "effects", "All effects", "All effects",
        "q is the p-value of a paired t-test over concepts after Benjamini and Hochberg's correction for all "
        "comparisons of this table.",
    ),
    _section("methods", "Methods", "How it was computed"),
)  # fmt: skip
"""In the order of the page. The last one is printed; the scripts draw the others."""
