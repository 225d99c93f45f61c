"""`lycoris analyze`: analyse a table of scores."""

from __future__ import annotations

from flows.cli.options import JSON, PATH, Arguments, argument, option
from flows.cli.output import print_lines
from flows.runtime.environment import command_line
from lycoris.safety.redaction import redact

DESCRIPTION = """\
Rank the adapters in a table of scores and measure how each choice (algorithm, preset, captions, capacity, learning
rate, epoch) affects each metric: effects with confidence intervals, trade-offs, correlations and SHAP values, written
as CSV files and one page.
"""


PARAMETERS = (
    argument(
        "metrics",
        type=PATH,
        help="scores.csv of a study, a published table with a column Folder, or a folder of PEFT's result files",
    ),
    option("--configs", type=PATH, help="the table of configurations that belongs to a published table"),
    option("--out", type=PATH, required=True, help="folder for the tables and analysis.html"),
    JSON,
)


def run(arguments: Arguments) -> int:
    """Analyse the table and print the findings."""
    from flows.studies.analysis import analyze_file
    from lycoris.analysis.statistics.paper_findings import evaluate_findings
    from lycoris.analysis.table_analysis import json_line
    from lycoris.analysis.text.effect_text import describe_effects, describe_leads

    analysis = analyze_file(arguments.metrics, arguments.configs, arguments.out, command=command_line())
    findings = [
        finding.sentence for finding in evaluate_findings(analysis.ranking, analysis.effects) if finding.evidence
    ]
    print_lines(
        [
            *analysis.notes,
            *describe_effects(analysis.effects),
            describe_leads(analysis.leaders),
            *findings,
            arguments.out / "analysis.html",
        ]
    )
    if arguments.json:
        print(redact(json_line(analysis)))
    return 0
