"""The evaluation graph: which steps are submitted, what they share, and what they wait for."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from flows.steps import evaluate as module
from flows.steps.evaluate import BasePart, Candidate, EvaluationSetup, count_steps, evaluate
from flows.steps.futures import TrainingFutures
from lycoris.data.prompt_spec import PromptSpec
from tasks.artifacts import (
    CaptionedConcept,
    EvaluationModels,
    ImageSet,
    ModelRef,
    RunContext,
    SamplingSettings,
    TaggerRef,
)

CONCEPT = CaptionedConcept("grumble", "toys", "ohw", "bear", "", ("ohw bear",), "d", (), {}, {}, (), True, {})
MODELS = EvaluationModels({"clip": "c"}, ModelRef("vgg", "v"), TaggerRef("pocket", "t"), ("clip_iqa",))
SAMPLING = SamplingSettings("ddim", 2, 7.0, 1000, 4)
SETUP = EvaluationSetup(RunContext(Path("store")), ModelRef("pocket", "p"), SAMPLING, MODELS)


def prompts(text):
    return {"trigger": [PromptSpec(text, text, 1, 0)]}


def candidate(label, text="a bear", **options):
    shared, own = BasePart("base", prompts("shared")), BasePart(f"base {label}", prompts(text))
    values = {"adapter": TrainingFutures(f"training {label}"), **options}
    return Candidate(
        label, CONCEPT, ("references", ImageSet((), "images")), prompts(text), f"base {label}", (shared, own), **values
    )


@pytest.fixture
def submitted(monkeypatch):
    """The submitted steps as (task, label, arguments); a step's future is its number."""
    steps = []

    def submit(task, context, label, *arguments, **options):
        steps.append((task.name, label, (*arguments, *options.values())))
        return len(steps) - 1

    monkeypatch.setattr(module, "submit", submit)
    return steps


def count(steps):
    return Counter(name for name, _, _ in steps)


def test_candidates_share_references_and_parts_of_the_base(submitted):
    candidates = [candidate("one"), candidate("two"), replace(candidate("one"), label="one again", checkpoint=3)]
    first, second, third = evaluate(SETUP, candidates)
    assert len(submitted) == count_steps(SETUP, candidates)
    assert count(submitted) == {"images": 3 + 3, "features": 1 + 2 + 3, "scores": 3}
    assert first.references == second.references == third.references
    assert first.base == third.base != second.base
    assert first.base.images[0] == second.base.images[0]


def test_equal_labels_with_other_prompts_share_nothing_of_the_base(submitted):
    candidates = [candidate("same"), candidate("same", "another bear")]
    first, second = evaluate(SETUP, candidates)
    assert len(submitted) == count_steps(SETUP, candidates)
    assert first.base.images[1] != second.base.images[1]
    assert first.base.features != second.base.features


def test_references_of_other_images_are_not_shared(submitted):
    other = replace(candidate("two"), references=("references", ImageSet((), "other images")))
    candidates = [candidate("one"), other]
    first, second = evaluate(SETUP, candidates)
    assert len(submitted) == count_steps(SETUP, candidates)
    for futures, digest in ((first, "images"), (second, "other images")):
        assert submitted[futures.references["resize"]][2][0].digest == digest


def test_scores_are_computed_in_each_resize_mode_from_references_of_that_mode(submitted):
    setup, candidates = replace(SETUP, resize_modes=("resize", "crop")), [candidate("one")]
    (futures,) = evaluate(setup, candidates)
    assert len(submitted) == count_steps(setup, candidates)
    for mode in ("resize", "crop"):
        references, scores = submitted[futures.references[mode]], submitted[futures.scores[mode]]
        models, look_alikes = references[2][-2:]
        assert look_alikes is None
        assert (models.resize_mode, models.quality_predictors) == (mode, ())
        assert futures.references[mode] in scores[2]
        assert references[1] == f"references · {mode}"


def test_images_from_elsewhere_are_not_generated_and_scores_can_be_left_out(submitted):
    candidates = [candidate("folder", adapter=None, images="imported", is_scored=False)]
    (futures,) = evaluate(SETUP, candidates)
    assert len(submitted) == count_steps(SETUP, candidates)
    assert count(submitted) == {"images": 2, "features": 3}
    assert futures.images == "imported"
    assert not futures.scores


def test_a_step_waits_for_what_it_needs_and_upstream_names_it_in_order(submitted):
    (futures,) = evaluate(SETUP, [candidate("one", adapter=TrainingFutures("training", ("group",)))])
    assert "training" in submitted[futures.images][2]
    assert [futures.images] in submitted[futures.features][2]
    (scores,) = futures.scores.values()
    assert {futures.features, futures.base.features, *futures.references.values()} <= set(submitted[scores][2])
    references, *base_images, base_features = range(4)
    upstream = [references, *base_images, base_features, "group", "training", futures.images, futures.features]
    assert futures.upstream == upstream
