"""The page of a study: its answer first, then the images, scores and analysis behind it, in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from lycoris.analysis.statistics.category_effects import ALL_CATEGORIES
from lycoris.analysis.table_analysis import Analysis
from lycoris.analysis.text.formatting import adapter_label
from lycoris.report.analysis import page as analysis_page
from lycoris.report.analysis import sections as analysis_sections
from lycoris.report.analysis.payload import analysis_payload
from lycoris.report.run import sections as run_sections
from lycoris.report.run.page import add_file_links
from lycoris.report.run.payload import report_payload
from lycoris.report.run.schema import StudyRecord
from lycoris.report.shared.image_store import ImageStore
from lycoris.report.shared.json_data import replace_nonfinite
from lycoris.report.shared.templates import Section, write_page
from lycoris.report.study.answer import factor_answer
from lycoris.report.study.sealed import SealedAnswer
from lycoris.report.study.sections import FOLDER, SEALED, SECTIONS

EffectTables: TypeAlias = pd.DataFrame | Sequence[tuple[str, pd.DataFrame]]


def render(
    effects: EffectTables,
    study: StudyRecord,
    out: Path,
    *,
    factor: str = "",
    question: str = "",
    command: str = "",
    analysis: Analysis | None = None,
    extra_sentences: Sequence[str] = (),
    sealed: SealedAnswer | None = None,
) -> Path:
    """Write a study's page as one HTML file that loads nothing over the network.

    Args:
        effects: a table of `lycoris.analysis.statistics.category_effects.effects_by_category`; for several factors,
            (factor, table) pairs.
        study: what was run.
        out: the file. An interrupted write leaves no partial file.
        factor: the factor, where `effects` is a single table.
        question: the question of the study, its heading.
        command: the command line that made it.
        analysis: the analysis of the study's ``scores.csv``; without it the page has no ranks, correlations and SHAP
            values.
        extra_sentences: further sentences of the answer.
        sealed: what was confirmed, which comes first; None for a study without expectations.

    Returns:
        ``out``.
    """
    pairs = [(factor, effects)] if isinstance(effects, pd.DataFrame) else list(effects)
    study = replace_nonfinite(StudyRecord(title="Study") | study)
    store = ImageStore()
    page = report_payload(study, store)
    page["factors"] = [name for name, _ in pairs]
    if analysis is not None:
        page["analysis"] = analysis_payload(analysis, page["adapters"])
        known = {name for name, _ in page["algorithms"]}
        page["algorithms"] += [pair for pair in page["analysis"]["algorithms"] if pair[0] not in known]
    page["images"] = store.encode()
    add_file_links(page, Path(out).parent)
    champions = [one for one in page["adapters"] if one.get("champion") and not one.get("error")]
    return write_page(
        "study/study.html",
        out,
        sections=[*(SEALED if sealed is not None else ()), *_sections(with_analysis=analysis is not None)],
        scripts=[*run_sections.SCRIPTS, *(analysis_sections.SCRIPTS if analysis is not None else ())],
        styles=[analysis_page.STYLE, FOLDER / "study.css"],
        data=page,
        title=study["title"],
        page=page,
        study=study,
        unreadable=store.unreadable,
        question=question,
        command=command,
        factors=[factor_answer(name, table) for name, table in pairs],
        extra_sentences=extra_sentences,
        sealed=sealed,
        champions=champions,
        champion_counts=_champion_counts(champions),
        not_learned=[
            one["name"] for one in page["concepts"] if one["verdict"] and one["verdict"]["outcome"] == "not learned"
        ],
        all_categories=ALL_CATEGORIES,
        **({} if analysis is None else analysis_page.template_context(analysis)),
    )


def _sections(*, with_analysis: bool) -> list[Section]:
    """The answer, the sections of the run report and, behind its costs, those of the analysis."""
    run = list(run_sections.SECTIONS)
    position = next(index for index, section in enumerate(run) if section.name == "cost") + 1
    analysis = analysis_sections.SECTIONS if with_analysis else ()
    return [*SECTIONS, *run[:position], *analysis, *run[position:]]


def _champion_counts(champions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The settings that are best for some concept, with the concepts, the most frequent first."""
    concepts: dict[str, list[str]] = {}
    for champion in champions:
        concepts.setdefault(adapter_label(champion, with_seed=False), []).append(champion["concept"])
    ordered = sorted(concepts.items(), key=lambda pair: -len(pair[1]))
    return [{"name": name, "concepts": own} for name, own in ordered]
