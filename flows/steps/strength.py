"""The strength sweep of a champion: a few images at each strength, and which strength to recommend."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from flows.config.experiment import Experiment
from flows.steps.evaluate import Candidate, EvaluationSetup
from flows.steps.futures import EvaluationFutures, TrainingFutures, root_cause, submit
from flows.steps.outcomes import StrengthSweep, StudyOutcome
from lycoris.analysis.decisions.strength import DECIDING_DIMENSIONS, STRENGTH_RULE, StrengthChoice
from lycoris.terms import HEADLINE_SCORES
from tasks.artifacts import Artifact, Prompts, RunSpec
from tasks.encode import extract_features
from tasks.generate import generate_images, image_files, read_prompts
from tasks.runtime.transfer import ensure_local
from tasks.strength import choose_adapter_strength
from tasks.tracking.client import TrackingServer
from tasks.tracking.registry import set_strength

MAX_IMAGES = 8
"""Images of each deciding prompt type at each strength: fewer than this have no bootstrap interval."""
SWEEP_PROMPT_TYPES = tuple(HEADLINE_SCORES[name].partition("/")[2] for name in DECIDING_DIMENSIONS)

logger = logging.getLogger("lycoris.flows.strength")


def other_strengths(experiment: Experiment) -> tuple[float, ...]:
    """The strengths that a champion is tried at, beside 1."""
    return tuple(strength for strength in experiment.strengths if strength != 1)


def sweep_prompts(prompts: Prompts) -> Prompts:
    """The prompts of a sweep: at most `MAX_IMAGES` of each deciding prompt type, evenly chosen."""
    chosen = {}
    for kind in SWEEP_PROMPT_TYPES:
        some = prompts.get(kind, ())
        count = min(MAX_IMAGES, len(some))
        if count:
            chosen[kind] = tuple(some[index * len(some) // count] for index in range(count))
    return chosen


def count_sweep_steps(strengths: Sequence[float]) -> int:
    """How many steps the sweep of one adapter submits."""
    return 2 * len(strengths) + 1 if strengths else 0


def sweep_champions(
    setup: EvaluationSetup,
    strengths: Sequence[float],
    evaluations: Mapping[RunSpec, tuple[Candidate, EvaluationFutures]],
    outcome: StudyOutcome,
) -> dict[RunSpec, StrengthSweep]:
    """Sweep the best adapter of each concept that has learned it, and record the strength with its version.

    A sweep that fails leaves its adapter without a recommendation, with a warning.
    """
    sweeps = {}
    for spec, run in outcome.learned.items():
        sweep = sweep_adapter(setup, strengths, *evaluations[spec])
        if sweep is not None:
            sweeps[spec] = sweep
            record_strength(outcome.study.server, spec.concept, run.logged_run.version, sweep.choice)
    return sweeps


def sweep_adapter(
    setup: EvaluationSetup, strengths: Sequence[float], candidate: Candidate, futures: EvaluationFutures
) -> StrengthSweep | None:
    """Generate and score images of an evaluated adapter at each strength.

    Args:
        setup: as the adapter was evaluated.
        strengths: without 1, at which it was evaluated; empty for no sweep.
        candidate: the adapter.
        futures: its evaluation.

    Returns:
        The sweep; None without one, or if it fails.
    """
    prompts = sweep_prompts(candidate.prompts)
    if not strengths:
        return None
    if not prompts:
        text = "%s: no strength is recommended: there are no images of the prompt types %s"
        logger.warning(text, candidate.label, " and ".join(SWEEP_PROMPT_TYPES), extra={"topic": "scores"})
        return None
    adapter = candidate.adapter.adapter if isinstance(candidate.adapter, TrainingFutures) else candidate.adapter
    models = replace(setup.models, tagger=None, quality_predictors=())
    images, features = [], []
    for strength in strengths:
        label = f"{candidate.label} · strength {strength:g}"
        generated = submit(
            generate_images, setup.context, label,
            base=setup.base, adapter=adapter, checkpoint=candidate.checkpoint, prompts=prompts, sampling=setup.sampling,
            strength=strength,
        )  # fmt: skip
        images.append(generated)
        features.append(submit(extract_features, setup.context, label, [generated], candidate.concept, models))
    chosen = submit(
        choose_adapter_strength, setup.context, candidate.label,
        references=next(iter(futures.references.values())), base=futures.base.features, adapter=futures.features,
        strengths=strengths, features=features,
    )  # fmt: skip
    try:
        choice = chosen.result()
        stages = {
            strength: ensure_local(setup.context, stage.result())
            for strength, stage in zip([*strengths, 1.0], [*images, futures.images], strict=True)
        }
        stages[0.0] = ensure_local(setup.context, futures.base.images[0].result())
    except Exception as error:  # the adapter is trained, scored and registered: its strength stays at 1, not measured
        text = "%s: no strength is recommended: %s"
        logger.warning(text, candidate.label, root_cause(error, [*images, *features]), extra={"topic": "scores"})
        return None
    return StrengthSweep(choice, stages)


def record_strength(server: TrackingServer, concept: str, version: str, choice: StrengthChoice) -> None:
    """Record the recommended strength with the registered version, and log it."""
    set_strength(server, concept, version, choice)
    text = "%s: load version %s with strength %g; the 95 %% interval of the best is %g to %g"
    logger.info(text, concept, version, choice.value, choice.low, choice.high, extra={"topic": "strength"})


def strength_record(sweep: StrengthSweep) -> dict[str, Any]:
    """A sweep as the report takes it: one image of each strength, of the same prompt and seed."""
    images = {strength: _example_image(stage, sweep) for strength, stage in sweep.images.items()}
    return {
        **{name: getattr(sweep.choice, name) for name in ("value", "low", "high", "origin")},
        "rule": STRENGTH_RULE,
        "points": [{**asdict(point), "image": images.get(point.strength)} for point in sweep.choice.points],
    }


def _example_image(stage: Artifact, sweep: StrengthSweep) -> str | None:
    """The image of a stage of one prompt and seed of the sweep: in a new situation where there are any."""
    shown = read_prompts(next(stage for strength, stage in sweep.images.items() if strength not in (0, 1)))
    kind = next(kind for kind in reversed(SWEEP_PROMPT_TYPES) if kind in shown)
    prompt = shown[kind][0]
    for file, own in zip(image_files(stage)[kind], read_prompts(stage)[kind], strict=True):
        if (own.text, own.seed) == (prompt.text, prompt.seed):
            return str(file)
    return None
