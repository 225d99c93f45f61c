"""The scheduled flow: customize again if the data has changed, and promote a challenger that beats the champion.

A refresh is identified by its settings and the data version. A finished one is not repeated, so a schedule may start it
as often as it likes; an interrupted one is resumed.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from prefect import flow

from flows.config.concepts import select_concepts
from flows.config.defaults import EXECUTION_FIELDS
from flows.config.experiment import Experiment
from flows.config.preflight import validate_experiment
from flows.config.project import project_root
from flows.config.promotion import PromotionConfig
from flows.customize import run_customize
from flows.runtime.run_names import flow_run_name
from flows.runtime.states import final_state
from flows.runtime.task_runner import process_runner
from flows.steps.evaluate import Candidate, EvaluationSetup, evaluate
from flows.steps.futures import submit
from flows.steps.requests import begin_run, caption_request, evaluation_setup
from flows.steps.strength import other_strengths, record_strength, sweep_adapter
from lycoris.analysis import PROMOTION_RULE, decide_promotion
from lycoris.cache.integrity import file_digest
from lycoris.cache.keys import stage_key
from lycoris.data.splits import split_held_out
from lycoris.safety.redaction import redacting_errors
from tasks.artifacts import CaptionedConcept, ImageSet
from tasks.caption import caption_concepts
from tasks.compare import compare_with_champion
from tasks.data import data_version
from tasks.data_versions.manifest import DataVersion
from tasks.ingest import import_registered
from tasks.models import resolve_models
from tasks.promote import promote
from tasks.runtime import log_forwarding, progress
from tasks.tracking import registry
from tasks.tracking.client import TrackingServer, tracking_server
from tasks.tracking.registry import ModelVersion
from tasks.tracking.runs import close_refresh, end_status, find_finished_run, open_study
from tasks.trainings import TrainedAdapter

DEFAULT_HOLD_OUT = 0.2
"""Part of each concept's images that is not trained on, if the experiment does not set it."""

logger = logging.getLogger("lycoris.flows.refresh")


@flow(name="refresh", flow_run_name=flow_run_name, task_runner=process_runner(2))
@redacting_errors
def refresh(
    experiment: Experiment = Experiment(),  # noqa: B008 - frozen
    promotion: PromotionConfig = PromotionConfig(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Customize again if the data has changed, and promote each challenger that beats its champion.

    Args:
        experiment: as for `customize`; by default a fifth of the images is held out.
        promotion: when a challenger becomes champion.

    Returns:
        ``{"state", "data_version", "seconds", "concepts": [...]}``: ``"unchanged"``, or ``"refreshed"`` with the
        result of each concept.

    Raises:
        InputError: the experiment or the data is invalid.
    """
    started = time.monotonic()
    if not experiment.hold_out:
        experiment = experiment.model_copy(update={"hold_out": DEFAULT_HOLD_OUT})
    validate_experiment(experiment)
    decide_promotion([], promotion.target_dimension, promotion.tolerances)  # raises if the rule is invalid
    version = data_version(experiment.data, project_root(), experiment.data_rev, experiment.output / "data")
    server = tracking_server(experiment.output)
    settings = {
        "experiment": experiment.model_dump(mode="json", exclude=set(EXECUTION_FIELDS)),
        "promotion": promotion.model_dump(),
    }
    key = stage_key("refresh", {**settings, "data": version.hash})
    if find_finished_run(server, experiment.name, key):
        logger.info("data is version %s, as before: nothing to do", version.hash, extra={"topic": "refresh"})
        return _refresh_summary("unchanged", version, started, [])
    run = open_study(server, experiment.name, key, settings, version, kind="refresh")
    status, concepts = "FAILED", []
    try:
        adapters = run_customize(experiment, promote=False)["adapters"]
        concepts = _evaluate_challengers(experiment, promotion, server, version, adapters)
        status = "FAILED" if any(concept["state"] == "failed" for concept in concepts) else "FINISHED"
    except BaseException as error:
        status = end_status(error)
        raise
    finally:
        summary = _refresh_summary("refreshed", version, started, concepts)
        close_refresh(run, summary, status)
    for concept in concepts:
        text = "%s: %s, %s"
        logger.info(text, concept["concept"], concept["state"], concept["reason"], extra={"topic": "refresh"})
    parts = [
        {"label": concept["concept"], "error": concept["reason"] if concept["state"] == "failed" else None}
        for concept in concepts
    ]
    return final_state(summary, parts, "concepts")


def _refresh_summary(
    state: str, version: DataVersion, started: float, concepts: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "state": state,
        "data_version": version.hash,
        "rule": PROMOTION_RULE,
        "seconds": round(time.monotonic() - started, 1),
        "concepts": concepts,
    }


def _evaluate_challengers(
    experiment: Experiment,
    promotion: PromotionConfig,
    server: TrackingServer,
    version: DataVersion,
    adapters: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Compare each concept's challenger with its champion, and promote it if it is better."""
    context = begin_run(experiment)
    models = resolve_models(**experiment.model_sources())
    contests = _Contests(evaluation_setup(context, experiment, models), experiment, promotion, server)
    request = caption_request(experiment, select_concepts(experiment, version.path), models.tagger, models.captioner)
    records = []
    with progress.display(progress.progress_dir(experiment.output)), log_forwarding.connected(context.progress):
        for concept in caption_concepts(context, request):
            if all("error" in adapter for adapter in adapters if adapter["concept"] == concept.name):
                records.append({"concept": concept.name, "state": "failed", "reason": "no adapter could be made"})
                continue
            records.append(contests.decide(concept))
    return records


@dataclass(frozen=True)
class _Contests:
    """What challengers and champions are compared with."""

    setup: EvaluationSetup
    experiment: Experiment
    promotion: PromotionConfig
    server: TrackingServer

    def decide(self, concept: CaptionedConcept) -> dict[str, Any]:
        """Promote the challenger of a concept, or record why it is not promoted and change nothing."""
        challenger = registry.get_version(self.server, f"{concept.name}@challenger")
        champion = registry.get_champion(self.server, concept.name)
        record: dict[str, Any] = {
            "concept": concept.name,
            "challenger": challenger.version,
            "champion": champion.version if champion else None,
            "scores": [],
            "dimensions": {},
        }
        if champion is None and challenger.not_promoted is not None:
            promoted, reason = False, challenger.not_promoted
        elif champion is None:
            promoted, reason = True, "the first of its concept"
        elif champion.version == challenger.version:
            return {**record, "state": "left", "reason": "the challenger is the champion"}
        elif champion.base_digest != challenger.base_digest:
            promoted, reason = False, f"the champion belongs to another base, {champion.base}"
        else:
            record["scores"] = self._scores(concept, challenger, champion)
            rule = self.promotion
            decision = decide_promotion(record["scores"], rule.target_dimension, rule.tolerances)
            promoted, reason, record["dimensions"] = decision.promoted, decision.reason, decision.dimensions
        if promoted and not promote(self.server, concept.name, challenger.version, reason):
            promoted, reason = False, f"{reason}; but a person rejected this version before"
        if promoted:
            self._recommend_strength(concept, challenger)
        record |= {"state": "promoted" if promoted else "left", "reason": reason}
        tag = {name: record[name] for name in ("state", "reason", "champion", "dimensions")}
        registry.set_version_tag(self.server, challenger, "contest", json.dumps(tag))
        return record

    def _scores(
        self, concept: CaptionedConcept, challenger: ModelVersion, champion: ModelVersion
    ) -> list[dict[str, Any]]:
        """Generate images with both on the same prompts and seeds, and score them against images not trained on."""
        strategy = self._strategy(challenger)
        candidates = [
            self._candidate(concept, strategy, role, version)
            for role, version in (("challenger", challenger), ("champion", champion))
        ]
        first, second = evaluate(replace(self.setup, resize_modes=("resize",)), candidates)
        scores = submit(
            compare_with_champion,
            self.setup.context,
            f"{concept.name} · {challenger.version} against {champion.version}",
            references=first.references["resize"],
            challenger=first.features,
            champion=second.features,
            base=first.base.features,
            category=concept.category,
        )
        return [asdict(score) for score in scores.result().records]

    def _recommend_strength(self, concept: CaptionedConcept, champion: ModelVersion) -> None:
        """Try a new champion at other strengths, and record the best."""
        strengths = other_strengths(self.experiment)
        if not strengths:
            return
        candidate = self._candidate(concept, self._strategy(champion), "champion", champion)
        (futures,) = evaluate(replace(self.setup, resize_modes=("resize",)), [candidate])
        sweep = sweep_adapter(self.setup, strengths, candidate, futures)
        if sweep is not None:
            record_strength(self.server, concept.name, champion.version, sweep.choice)

    def _strategy(self, version: ModelVersion) -> str:
        return version.strategy or self.experiment.captions[0]

    def _candidate(self, concept: CaptionedConcept, strategy: str, role: str, version: ModelVersion) -> Candidate:
        """A registered adapter, whose images are encoded like those that were not trained on."""
        _, rows = split_held_out(concept.images, self.experiment.hold_out, concept.name)
        held_out = tuple(concept.images[row] for row in rows)
        digest = stage_key("images", {"files": [file_digest(image) for image in held_out]})
        candidate = Candidate.of_concept(
            f"{concept.name} · {role} {version.version}",
            concept,
            strategy,
            (f"{concept.name} · held out", ImageSet(held_out, digest)),
            TrainedAdapter(import_registered(self.setup.context, self.server, version)),
        )
        return replace(candidate, is_scored=False)
