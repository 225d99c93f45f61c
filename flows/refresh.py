"""Scheduled: when the data changed, customize again; the challenger meets the champion, and the better one stays.

A refresh is told by its settings and the data version. One that was finished is not done again, so a schedule may
ask as often as it likes; one that died is taken up where it was.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from flows.config.experiment import EXECUTION_FIELDS, Experiment
from flows.customize import PROJECT_ROOT, customize_flow, log_line
from flows.runtime.task_runner import process_runner
from lycoris.analysis import PROMOTION_RULE, decide_promotion
from lycoris.cache.store import Store, stage_key
from lycoris.data.splits import split_held_out
from tasks.artifacts import CaptionedConcept, RunContext, TrainedAdapter
from tasks.caption import caption_concepts
from tasks.compare import compare_with_champion, images_digest, registered_adapter
from tasks.data_versions.dvc import DataVersion
from tasks.data_versions.revisions import data_version
from tasks.generate import generate_images
from tasks.runtime import progress
from tasks.runtime.model_refs import ModelRefs, resolve_models
from tasks.score import extract_features
from tasks.tracking import registry, runs
from tasks.tracking.registry import ModelVersion
from tasks.tracking.runs import TrackingServer

DEFAULT_HOLD_OUT = 0.2
"""Of each concept's pictures, kept from training where the experiment does not say how many."""


class PromotionConfig(BaseModel):
    """When a challenger takes the champion's place; `lycoris.analysis.PROMOTION_RULE` is the rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target_dimension: str = Field("fidelity", description="the dimension that must be better")
    tolerances: dict[str, float] = Field({}, description="dimension -> how much worse it may be; others not at all")


@flow(name="refresh", task_runner=process_runner(2))
def refresh(
    experiment: Experiment = Experiment(),  # noqa: B008 - frozen
    promotion: PromotionConfig = PromotionConfig(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Customize again if the data changed, and promote what is better than the champion.

    Args:
        experiment: as for `customize`; a fifth of the pictures is held out if it does not say how many.
        promotion: when the challenger takes the champion's place.

    Returns:
        ``{"state", "data_version", "seconds", "concepts": [...]}``: ``"unchanged"``, or ``"refreshed"`` with what
        became of each concept.

    Raises:
        InputError: something in the experiment or in the data is wrong.
    """
    started = time.monotonic()
    if not experiment.hold_out:
        experiment = experiment.model_copy(update={"hold_out": DEFAULT_HOLD_OUT})
    decide_promotion(
        [], promotion.target_dimension, promotion.tolerances
    )  # says what is wrong with the rule, before anything is trained
    version = data_version(experiment.data, PROJECT_ROOT, experiment.data_rev, experiment.output / "data")
    server = runs.tracking_server(experiment.output)
    settings = experiment.model_dump(mode="json", exclude=set(EXECUTION_FIELDS))
    asked = {"experiment": settings, "promotion": promotion.model_dump()}
    mark = stage_key("refresh", {**asked, "data": version.hash})
    if runs.find_finished_run(server, experiment.name, mark):
        log_line(f"refresh   data is version {version.hash}, as it was: nothing to do")
        return _refresh_summary("unchanged", version, started, [])
    run = runs.open_study(server, experiment.name, mark, asked, version, kind="refresh")
    status, concepts = "FAILED", []
    try:
        trained = customize_flow(experiment)(experiment, promote=False)
        concepts = _evaluate_challengers(experiment, promotion, server, version, trained["adapters"])
        status = "FAILED" if any(one["state"] == "failed" for one in concepts) else "FINISHED"
    finally:
        outcome = _refresh_summary("refreshed", version, started, concepts)
        runs.close_refresh(server, run, outcome, status)
    for one in concepts:
        log_line(f"refresh   {one['concept']}: {one['state']}, {one['reason']}")
    return outcome


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
    """Let each concept's challenger meet its champion, and act on what came of it."""
    root, shown = Store(experiment.output / "store").root.resolve(), progress.progress_dir(experiment.output)
    place = RunContext(root, shown, gpu_limit=experiment.gpu_limit)
    models = resolve_models(**experiment.model_sources())
    found = []
    with progress.display(shown):
        for concept in _caption_concepts(place, experiment, version, models):
            if all("error" in one for one in adapters if one["concept"] == concept.name):
                found.append({"concept": concept.name, "state": "failed", "reason": "no adapter could be made"})
                continue
            challenger = registry.get_version(server, f"{concept.name}@challenger")
            champion = registry.get_champion(server, concept.name)
            found.append(_decide_promotion(place, experiment, promotion, server, models, concept, challenger, champion))
    return found


def _caption_concepts(
    place: RunContext, experiment: Experiment, version: DataVersion, models: ModelRefs
) -> list[CaptionedConcept]:
    """The concepts as the customization saw them."""
    from lycoris.data.concepts import load_concepts

    known = load_concepts(version.path, experiment.concepts_file)
    return caption_concepts(
        place,
        data=version.path,
        concepts_file=experiment.concepts_file,
        names=experiment.select_concepts([concept.name for concept in known]),
        tagger=models.tagger,
        captioner=models.captioner,
        **experiment.caption_options(),
    )


def _decide_promotion(
    place: RunContext,
    experiment: Experiment,
    promotion: PromotionConfig,
    server: TrackingServer,
    models: ModelRefs,
    concept: CaptionedConcept,
    challenger: ModelVersion,
    champion: ModelVersion | None,
) -> dict[str, Any]:
    """Promote a challenger, or record why not and leave everything as it is."""
    found: dict[str, Any] = {
        "concept": concept.name,
        "challenger": challenger.version,
        "champion": champion.version if champion else None,
        "scores": [],
        "dimensions": {},
    }
    if champion is None:
        promoted, reason = True, "the first of its concept"
    elif champion.version == challenger.version:
        return {**found, "state": "left", "reason": "the challenger is the champion"}
    elif champion.base_digest != challenger.base_digest:
        promoted, reason = False, f"the champion belongs to another base, {champion.base}"
    else:
        found["scores"] = _head_to_head(place, experiment, server, models, concept, challenger, champion)
        judged = decide_promotion(found["scores"], promotion.target_dimension, promotion.tolerances)
        promoted, reason, found["dimensions"] = judged.promoted, judged.reason, judged.dimensions
    if promoted and not runs.promote_to_champion(server, concept.name, challenger.version, reason):
        promoted, reason = False, f"{reason}; but a person took this version back before"
    found |= {"state": "promoted" if promoted else "left", "reason": reason}
    told = {name: found[name] for name in ("state", "reason", "champion", "dimensions")}
    registry.set_version_tag(server, challenger, "contest", json.dumps(told))
    return found


def _head_to_head(
    place: RunContext,
    experiment: Experiment,
    server: TrackingServer,
    models: ModelRefs,
    concept: CaptionedConcept,
    challenger: ModelVersion,
    champion: ModelVersion,
) -> list[dict[str, Any]]:
    """Draw with both on the prompts and seeds of now, and hold them against pictures that were not trained on."""
    draw: dict[str, Any] = {
        "base": models.base[0],
        "base_digest": models.base[1],
        "sampling": experiment.sampling_settings(),
    }
    look: dict[str, Any] = {
        "encoders": models.encoders,
        "style_encoder": models.style_encoder,
        "tagger": models.tagger,
        "category": concept.category,
    }
    strategy = challenger.strategy or experiment.captions[0]
    prompts = concept.prompts[strategy]
    _, kept = split_held_out(concept.images, experiment.hold_out, concept.name)
    unseen: list[Path] = [concept.images[row] for row in kept]
    parts = [{kind: some for kind, some in prompts.items() if (kind == "train") == own} for own in (False, True)]
    base = [
        generate_images.submit(place, f"{concept.name} · base · {strategy}", adapter=None, prompts=part, **draw)
        for part in parts
        if part
    ]
    seen = {
        "base": extract_features.submit(
            place, f"{concept.name} · base · {strategy}", made=base, names=concept.names, **look
        )
    }
    for name, version in (("challenger", challenger), ("champion", champion)):
        label = f"{concept.name} · {name} {version.version}"
        adapter = TrainedAdapter(registered_adapter(place, server, version))
        drawn = generate_images.submit(place, label, adapter=adapter, prompts=prompts, **draw)
        seen[name] = extract_features.submit(place, label, made=[drawn], names=concept.names, **look)
    references = extract_features.submit(
        place, f"{concept.name} · held out", pictures=unseen, digest=images_digest(unseen), **look
    )
    return compare_with_champion.submit(
        place,
        f"{concept.name} · {challenger.version} against {champion.version}",
        references=references,
        challenger=seen["challenger"],
        champion=seen["champion"],
        base=seen["base"],
        category=concept.category,
    ).result()
