"""Publish the outcome of a study: end its run in MLflow, and attach artifacts to its run in Prefect."""

from __future__ import annotations

import base64
import io
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.context import FlowRunContext

from flows.runtime.states import failure_message
from flows.steps.outcomes import StudyOutcome
from lycoris.analysis.text.formatting import counted
from lycoris.safety.redaction import redact
from lycoris.terms import HEADLINE_SCORES
from tasks.artifacts import RunSpec
from tasks.tracking.adapter_record import headline_metrics
from tasks.tracking.runs import close_study, tracking_links

SHEET_WIDTH = 800
"""Pixels of the contact sheet in Prefect, which stores artifacts in its database."""

logger = logging.getLogger("lycoris.flows.publish")


def publish_study(outcome: StudyOutcome, page: Path, table: Path) -> None:
    """End the study's run in MLflow, and attach links, a summary, scores and a contact sheet to the run in Prefect.

    Args:
        page: the report.
        table: the scores as a CSV file.
    """
    best = {
        concept: next(run.scores.records for spec, run in outcome.runs.items() if spec.name == choice.adapter)
        for concept, choice in outcome.choices.items()
    }
    metrics = {"adapters": len(outcome.runs), "failed": len(outcome.failures), **headline_metrics(best)}
    summary = study_summary(outcome)
    failed = bool(outcome.failures) and not outcome.runs
    close_study(outcome.study, [page, table], summary, metrics, failed=failed)
    if FlowRunContext.get() is not None:
        _create_prefect_artifacts(outcome, summary, page)


def study_summary(outcome: StudyOutcome) -> str:
    """What came of a study, as Markdown: the best adapter of each concept, and what failed."""
    adapters, version = counted(len(outcome.runs), "adapter"), outcome.study.data_version
    lines = [f"**{outcome.study.name}**: {adapters} on data version {version.hash}"]
    lines += [f"- {concept}: {choice.adapter}: {choice.reason}" for concept, choice in outcome.choices.items()]
    failures = [
        {"label": spec.label, "error": outcome.failures.get(spec)} for spec in [*outcome.runs, *outcome.failures]
    ]
    message = failure_message(failures, "adapters")
    return "\n".join([*lines, *(["", f"**{message}**"] if message else [])])


def labelled_adapters(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The adapters of a study's result, each with the label that people know it by."""
    return [
        {
            "label": " · ".join(
                filter(
                    None, [one["concept"], one["algorithm"], one["captions"], f"seed {one['seed']}", one["checkpoint"]]
                )
            ),
            "error": one.get("error"),
        }
        for one in result["adapters"]
    ]


def _create_prefect_artifacts(outcome: StudyOutcome, summary: str, page: Path) -> None:
    prefix = re.sub(r"[^a-z0-9]+", "-", outcome.study.name.lower()).strip("-") or "study"
    links = tracking_links(outcome.study)
    run = f"{links['address']}/#/experiments/{links['experiment']}/runs/{links['run']}"
    is_served = links["address"].startswith("http")
    where = f"[run in MLflow]({run})" if is_served else f"run {links['run']} in MLflow, `{links['address']}`"
    text = redact(f"{summary}\n\n[report]({page.resolve().as_uri()}), {where}")
    creators: list[Callable[[], Any]] = [
        lambda: create_link_artifact(page.resolve().as_uri(), "report", key=f"{prefix}-report"),
        lambda: create_markdown_artifact(text, key=f"{prefix}-summary", description="What came of the study"),
    ]
    if is_served:
        creators.append(lambda: create_link_artifact(run, "run in MLflow", key=f"{prefix}-mlflow"))
    if outcome.runs:
        creators.append(lambda: create_table_artifact(score_table(outcome), key=f"{prefix}-scores"))
    sheets = {spec: page.parent / "sheets" / f"{spec.name}.png" for spec in _best(outcome)}
    for spec, sheet in sheets.items():
        concept = re.sub(r"[^a-z0-9]+", "-", spec.concept.lower()).strip("-") or "concept"
        creators.append(
            lambda spec=spec, sheet=sheet, concept=concept: create_image_artifact(  # type: ignore[misc]
                _data_url(sheet), key=f"{prefix}-images-{concept}", description=spec.label
            )
        )
    for create in creators:
        try:
            create()
        except Exception as error:  # the study is finished: what Prefect shows of it does not matter to its results
            logger.warning("Prefect does not accept an artifact of the run: %s", redact(str(error)))


def _best(outcome: StudyOutcome) -> list[RunSpec]:
    """The best adapter of each concept."""
    names = {(concept, choice.adapter) for concept, choice in outcome.choices.items()}
    return [spec for spec in outcome.runs if (spec.concept, spec.name) in names]


def score_table(outcome: StudyOutcome) -> list[dict[str, Any]]:
    """One row for each adapter: its label, and a column with its score in each dimension and encoder."""
    rows = []
    for spec, run in outcome.runs.items():
        row: dict[str, Any] = {"adapter": spec.label}
        for score in run.scores.records:
            if (
                score.name.startswith(tuple(f"{name}/" for name in HEADLINE_SCORES.values()))
                and score.value is not None
            ):
                row[score.name] = round(score.value, 4)
        rows.append(row)
    return rows


def _data_url(file: Path) -> str:
    """A PNG file as a small JPEG image within a URL."""
    from lycoris.data.image_opening import open_image

    stream = io.BytesIO()
    with open_image(file) as image:
        image.thumbnail((SHEET_WIDTH, SHEET_WIDTH * 2))
        image.convert("RGB").save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
