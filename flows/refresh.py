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

from flows.config.experiment import WHERE, Experiment
from flows.customize import PROJECT, customize_with, said
from flows.runtime.task_runner import processes
from lycoris.analysis import PROMOTION_RULE, judge
from lycoris.cache.store import Store, key
from lycoris.data.splits import held_out
from tasks.artifacts import Captioned, Place, Trained
from tasks.caption import captions
from tasks.compare import contest, contestant, pictures_digest
from tasks.data_versions.dvc import DataVersion
from tasks.data_versions.revisions import data_version
from tasks.generate import images
from tasks.runtime import progress
from tasks.runtime.model_refs import Sources, sources
from tasks.score import features
from tasks.tracking import registry, runs
from tasks.tracking.registry import Version
from tasks.tracking.runs import Server

SHARE = 0.2
"""Of each concept's pictures, kept from training where the experiment does not say how many."""


class Promotion(BaseModel):
    """When a challenger takes the champion's place; `lycoris.analysis.PROMOTION_RULE` is the rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    goal: str = Field("fidelity", description="the dimension that must be better")
    allowed: dict[str, float] = Field({}, description="dimension -> how much worse it may be; others not at all")


@flow(name="refresh", task_runner=processes(2))
def refresh(
    experiment: Experiment = Experiment(),  # noqa: B008 - frozen
    promotion: Promotion = Promotion(),  # noqa: B008 - frozen
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
        experiment = experiment.model_copy(update={"hold_out": SHARE})
    judge([], promotion.goal, promotion.allowed)  # says what is wrong with the rule, before anything is trained
    version = data_version(experiment.data, PROJECT, experiment.data_rev, experiment.output / "data")
    server = runs.server(experiment.output)
    settings = experiment.model_dump(mode="json", exclude=set(WHERE))
    asked = {"experiment": settings, "promotion": promotion.model_dump()}
    mark = key("refresh", {**asked, "data": version.hash})
    if runs.is_finished(server, experiment.name, mark):
        said(f"refresh   data is version {version.hash}, as it was: nothing to do")
        return _outcome("unchanged", version, started, [])
    run = runs.open_study(server, experiment.name, mark, asked, version, kind="refresh")
    status, concepts = "FAILED", []
    try:
        trained = customize_with(experiment)(experiment, crowned=False)
        concepts = _meet(experiment, promotion, server, version, trained["adapters"])
        status = "FAILED" if any(one["state"] == "failed" for one in concepts) else "FINISHED"
    finally:
        outcome = _outcome("refreshed", version, started, concepts)
        runs.close_refresh(server, run, outcome, status)
    for one in concepts:
        said(f"refresh   {one['concept']}: {one['state']}, {one['reason']}")
    return outcome


def _outcome(state: str, version: DataVersion, started: float, concepts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "state": state,
        "data_version": version.hash,
        "rule": PROMOTION_RULE,
        "seconds": round(time.monotonic() - started, 1),
        "concepts": concepts,
    }


def _meet(
    experiment: Experiment, promotion: Promotion, server: Server, version: DataVersion, adapters: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Let each concept's challenger meet its champion, and act on what came of it."""
    root, shown = Store(experiment.output / "store").root.resolve(), progress.folder(experiment.output)
    place = Place(root, shown, slot=experiment.gpu_limit)
    models = sources(**experiment.sources())
    found = []
    with progress.shown(shown):
        for concept in _captioned(place, experiment, version, models):
            if all("error" in one for one in adapters if one["concept"] == concept.name):
                found.append({"concept": concept.name, "state": "failed", "reason": "no adapter could be made"})
                continue
            challenger = registry.read(server, f"{concept.name}@challenger")
            champion = registry.champion(server, concept.name)
            found.append(_decide(place, experiment, promotion, server, models, concept, challenger, champion))
    return found


def _captioned(place: Place, experiment: Experiment, version: DataVersion, models: Sources) -> list[Captioned]:
    """The concepts as the customization saw them."""
    from lycoris.data.concepts import read_concepts

    known = read_concepts(version.path, experiment.concepts_file)
    return captions(
        place,
        data=version.path,
        concepts_file=experiment.concepts_file,
        names=experiment.chosen([concept.name for concept in known]),
        tagger=models.tagger,
        captioner=models.captioner,
        **experiment.captioning(),
    )


def _decide(
    place: Place,
    experiment: Experiment,
    promotion: Promotion,
    server: Server,
    models: Sources,
    concept: Captioned,
    challenger: Version,
    champion: Version | None,
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
        found["scores"] = _compete(place, experiment, server, models, concept, challenger, champion)
        judged = judge(found["scores"], promotion.goal, promotion.allowed)
        promoted, reason, found["dimensions"] = judged.promoted, judged.reason, judged.dimensions
    if promoted and not runs.crown(server, concept.name, challenger.version, reason):
        promoted, reason = False, f"{reason}; but a person took this version back before"
    found |= {"state": "promoted" if promoted else "left", "reason": reason}
    told = {name: found[name] for name in ("state", "reason", "champion", "dimensions")}
    registry.note(server, challenger, "contest", json.dumps(told))
    return found


def _compete(
    place: Place,
    experiment: Experiment,
    server: Server,
    models: Sources,
    concept: Captioned,
    challenger: Version,
    champion: Version,
) -> list[dict[str, Any]]:
    """Draw with both on the prompts and seeds of now, and hold them against pictures that were not trained on."""
    draw: dict[str, Any] = {"base": models.base[0], "base_digest": models.base[1], "sampling": experiment.drawing()}
    look: dict[str, Any] = {
        "encoders": models.encoders,
        "style_encoder": models.style_encoder,
        "tagger": models.tagger,
        "category": concept.category,
    }
    strategy = challenger.captions or experiment.captions[0]
    prompts = concept.prompts[strategy]
    _, kept = held_out(concept.pictures, experiment.hold_out, concept.name)
    unseen: list[Path] = [concept.pictures[row] for row in kept]
    parts = [{kind: some for kind, some in prompts.items() if (kind == "train") == own} for own in (False, True)]
    base = [
        images.submit(place, f"{concept.name} · base · {strategy}", adapter=None, prompts=part, **draw)
        for part in parts
        if part
    ]
    seen = {
        "base": features.submit(place, f"{concept.name} · base · {strategy}", made=base, names=concept.names, **look)
    }
    for name, version in (("challenger", challenger), ("champion", champion)):
        label = f"{concept.name} · {name} {version.version}"
        adapter = Trained(contestant(place, server, version))
        drawn = images.submit(place, label, adapter=adapter, prompts=prompts, **draw)
        seen[name] = features.submit(place, label, made=[drawn], names=concept.names, **look)
    references = features.submit(
        place, f"{concept.name} · held out", pictures=unseen, digest=pictures_digest(unseen), **look
    )
    return contest.submit(
        place,
        f"{concept.name} · {challenger.version} against {champion.version}",
        references=references,
        challenger=seen["challenger"],
        champion=seen["champion"],
        base=seen["base"],
        category=concept.category,
    ).result()
