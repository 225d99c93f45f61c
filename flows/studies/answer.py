"""The answer of a study: effects of its factors by category, further reports, and a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.runtime.environment import command_line
from lycoris.cache.atomic import atomic_write_text
from lycoris.errors import InputError

if TYPE_CHECKING:
    from flows.studies.definition import Study
    from lycoris.analysis.table_analysis import Analysis
    from lycoris.report.study.sealed import SealedAnswer


def answer_study(study: Study, folder: Path, result: Mapping[str, Any], budget: Sequence[str] = ()) -> dict[str, Any]:
    """Complete the result of a study's runs.

    Args:
        folder: The folder of the results.
        result: ``{"adapters": [...]}`` and more; an adapter that failed has ``"error"``.
        budget: Lines on the matched budget.

    Returns:
        `result` with that of `write_study_answer`, if at least one adapter succeeded, and ``"budget"``.
    """
    answer: dict[str, Any] = {}
    if not all(adapter.get("error") for adapter in result["adapters"]):
        answer = write_study_answer(study, folder, command=command_line())
    return {**result, **answer, "budget": list(budget)}


def write_study_answer(study: Study, folder: Path, *, command: str = "") -> dict[str, Any]:
    """Analyse the scores of a study and write its answer beside them.

    Args:
        study: A study whose runs are finished, except for those that failed.
        folder: The folder of the results, with ``scores.csv`` and ``study.json``; ``effects_by_category.csv``,
            ``answer.html`` and the folder ``analysis/`` are written there.
        command: The command line, shown on the pages.

    Returns:
        ``{"answer", "analysis", "sentences", "effects": [...], "told": {name: [...]}}``; of a study with expectations
        also ``"expected"``, sentences on what was confirmed.

    Raises:
        InputError: For each factor, no two runs differ in that factor alone.
    """
    import pandas as pd

    from flows.studies.analysis import analyze_file
    from lycoris.analysis.statistics.category_effects import effects_by_category
    from lycoris.analysis.text.category_text import describe_category_effects
    from lycoris.report.run.schema import read_study_record
    from lycoris.report.study.page import render

    analysis = analyze_file(folder / "scores.csv", None, folder / "analysis", command=command)
    record = read_study_record(folder / "study.json")
    effects, sentences, errors = [], [], []
    for factor in study.factors:
        try:
            table = effects_by_category(analysis.ranking, factor)
        except InputError as error:
            errors.append(error)
            sentences.append(str(error))
            continue
        effects.append((factor, table))
        sentences += describe_category_effects(table)
    if not effects:
        raise errors[0]
    reports = {name: REPORTERS[name](analysis, folder) for name in study.reports}
    sealed = _write_expectations(study, folder, analysis) if study.expect else None
    page = render(
        effects, record, folder / "answer.html", sealed=sealed,
        question=study.question, command=command, analysis=analysis,
        extra_sentences=[sentence for report in reports.values() for sentence in report],
    )  # fmt: skip
    rows = pd.concat([table for _, table in effects], ignore_index=True)
    atomic_write_text(folder / "effects_by_category.csv", rows.to_csv(index=False))
    return {
        "answer": str(page.resolve()),
        "analysis": str((folder / "analysis" / "analysis.html").resolve()),
        "sentences": sentences,
        "effects": rows.astype(object).where(rows.notna(), None).to_dict("records"),
        "told": reports,
        **({} if sealed is None else {"expected": sealed.sentences}),
    }


def _write_expectations(study: Study, folder: Path, analysis: Analysis) -> SealedAnswer:
    """Decide the expectations of a study and write ``expectations.json``."""
    from flows.studies.sealed_answer import expectations_json, sealed_answer
    from lycoris.analysis.statistics.expectations import evaluate_expectations

    results = evaluate_expectations(analysis.ranking, study.expect)
    answer = sealed_answer(study, folder, results)
    record = expectations_json(answer, results)
    atomic_write_text(folder / "expectations.json", json.dumps(record, ensure_ascii=False, indent=1))
    return answer


def load_adapter_records(folder: Path) -> list[dict[str, Any]]:
    """Return what was run, from the folder of a finished study.

    Raises:
        InputError: The folder has no readable ``study.json``.
    """
    names = ("concept", "algorithm", "captions", "seed", "checkpoint", "file", "run_id", "error")
    try:
        record = json.loads((folder / "study.json").read_text(encoding="utf-8"))
        return [{name: adapter.get(name) for name in names} for adapter in record["adapters"]]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"`{folder}` must be the folder of a finished study, with its `study.json`: {error}"
        ) from error


def _report_findings(analysis: Analysis, folder: Path) -> list[str]:
    """Return the findings of the paper as sentences; ``findings.json`` holds their parts."""
    from lycoris.analysis.statistics.paper_findings import FINDINGS_RULE, evaluate_findings

    findings = evaluate_findings(analysis.ranking, analysis.effects)
    record = {"rule": FINDINGS_RULE, "findings": [asdict(finding) for finding in findings]}
    atomic_write_text(folder / "findings.json", json.dumps(record, ensure_ascii=False, indent=1))
    return [*(finding.sentence for finding in findings), FINDINGS_RULE]


def _report_encoders(analysis: Analysis, folder: Path) -> list[str]:
    """Return what encoder and resize mode change; the tables are ``encoders_*.csv``."""
    from lycoris.analysis.statistics.encoder_agreement import encoder_agreement
    from lycoris.analysis.text.agreement_text import describe_encoder_agreement

    agreement = encoder_agreement(analysis.ranking, analysis.correlations, analysis.effects)
    for name in ("alike", "first", "conclusions"):
        atomic_write_text(folder / f"encoders_{name}.csv", getattr(agreement, name).to_csv(index=False))
    return describe_encoder_agreement(agreement)


def _report_costs(_: Analysis, folder: Path) -> list[str]:
    """Return what each adapter costs; the table is ``costs.csv``."""
    from lycoris.analysis.statistics.costs import mean_costs
    from lycoris.analysis.text.cost_text import describe_costs

    table = mean_costs(folder / "scores.csv")
    atomic_write_text(folder / "costs.csv", table.to_csv(index=False))
    return describe_costs(table)


REPORTERS: dict[str, Callable[[Analysis, Path], list[str]]] = {
    "findings": _report_findings,
    "encoders": _report_encoders,
    "costs": _report_costs,
}
"""Name of a report -> function from the analysis and the study's folder to its sentences."""
