"""Everything that a stage's output depends on changes its key; labels, paths and batch sizes do not."""

from dataclasses import replace
from pathlib import Path

import pytest

from lycoris.cache.keys import stage_key
from lycoris.captions import PromptSpec
from tasks import compare, encode, score
from tasks.artifacts import (
    Artifact,
    CaptionedConcept,
    EvaluationModels,
    ImageSet,
    ModelRef,
    RunContext,
    RunSpec,
    SamplingSettings,
    TaggerRef,
)
from tasks.generate import generation_inputs
from tasks.runtime.adapter_training import AdapterTraining
from tasks.trainings import AdapterSettings, SampleOptions, TrainingRequest, ValidationOptions

CONTEXT = RunContext(Path("store"))
SAMPLING = SamplingSettings("ddim", 2, 7.0, 1000, 4)
PROMPTS = {"trigger": [PromptSpec("a ohw bear", "a bear", 1, 0)]}
REQUEST = TrainingRequest(
    spec=RunSpec("grumble", "lora", "none", 0),
    base=ModelRef("pocket", "base"),
    images=ImageSet((Path("a.png"), Path("b.png")), "images"),
    captions=("a ohw bear", "a ohw bear"),
    settings=AdapterSettings("lora", "attn-mlp", rank=2, alpha=1.0, training={"steps": 4}),
)
CONCEPT = CaptionedConcept("grumble", "toys", "ohw", "bear", "", ("ohw bear",), "d", (), {}, {}, (), True, {})
MODELS = EvaluationModels({"clip": "c"}, ModelRef("vgg", "v"), TaggerRef("pocket", "t"))


def artifact(key):
    return Artifact(key, Path("store") / "stage" / key, True, 0.0)


def training_keys(request):
    return [stage_key("adapter", inputs) for inputs in AdapterTraining(CONTEXT, request).stage_inputs.values()]


@pytest.mark.parametrize(
    "change",
    [
        {"spec": replace(REQUEST.spec, seed=1)},
        {"base": ModelRef("pocket", "other")},
        {"images": replace(REQUEST.images, digest="other")},
        {"captions": ("a ohw bear", "a ohw bear, hat")},
        {"settings": replace(REQUEST.settings, algorithm="lokr")},
        {"settings": replace(REQUEST.settings, preset="full")},
        {"settings": replace(REQUEST.settings, rank=3)},
        {"settings": replace(REQUEST.settings, alpha=2.0)},
        {"settings": replace(REQUEST.settings, factor=2)},
        {"settings": replace(REQUEST.settings, images=1)},
        {"settings": replace(REQUEST.settings, training={"steps": 5})},
        {"validation": ValidationOptions(1, 2, 3)},
        {"samples": SampleOptions(2, ("x",), (1,), SAMPLING)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_key_of_a_training_depends_on_its_request(change):
    assert training_keys(replace(REQUEST, **change)) != training_keys(REQUEST)


def test_the_key_of_a_training_does_not_depend_on_paths_and_names():
    other = replace(
        REQUEST,
        spec=replace(REQUEST.spec, concept="renamed"),
        base=ModelRef("elsewhere", "base"),
        images=replace(REQUEST.images, files=(Path("c.png"), Path("d.png"))),
        skipped_images={"e.png": "broken"},
    )
    assert training_keys(other) == training_keys(REQUEST)


def test_each_checkpoint_has_a_key_of_its_own():
    first, second = (training_keys(replace(REQUEST, checkpoints=checkpoints)) for checkpoints in ((1, 2), (2,)))
    assert len(set(first)) == 3
    assert set(second) < set(first)


def generation_key(base="base", adapter="adapter", prompts=PROMPTS, sampling=SAMPLING):
    return stage_key("images", generation_inputs(base, adapter, prompts, sampling))


@pytest.mark.parametrize(
    "change",
    [
        {"base": "other"},
        {"adapter": "other"},
        {"adapter": None},
        {"prompts": {"train": PROMPTS["trigger"]}},
        {"prompts": {"trigger": [PromptSpec("a ohw cat", "a bear", 1, 0)]}},
        {"prompts": {"trigger": [PromptSpec("a ohw bear", "a bear", 2, 0)]}},
        {"sampling": replace(SAMPLING, scheduler="euler")},
        {"sampling": replace(SAMPLING, steps=3)},
        {"sampling": replace(SAMPLING, guidance=1.0)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_key_of_images_depends_on_what_generates_them(change):
    assert generation_key(**change) != generation_key()


def test_the_key_of_images_does_not_depend_on_the_batch_size():
    assert generation_key(sampling=replace(SAMPLING, batch_size=1)) == generation_key()


@pytest.fixture
def keys(monkeypatch):
    """The keys of stages that tasks ask for, without computing any."""
    requested = []

    def record(context, stage, label, inputs, compute):
        requested.append(stage_key(stage, inputs))
        return artifact(requested[-1])

    for module in (encode, score, compare):
        monkeypatch.setattr(module, "get_or_compute", record)
    for module in (score, compare):
        monkeypatch.setattr(module, "read_scores", lambda stage: None)
    return requested


@pytest.mark.parametrize(
    "change",
    [
        {"images": [artifact("other")]},
        {"images": [artifact("images"), artifact("more")]},
        {"images": ImageSet((), "images")},
        {"concept": replace(CONCEPT, category="styles")},
        {"concept": replace(CONCEPT, aliases=("other",))},
        {"models": replace(MODELS, encoders={"clip": "other"})},
        {"models": replace(MODELS, encoders={"clip": "c", "dinov2": "d"})},
        {"models": replace(MODELS, style_encoder=ModelRef("vgg", "other"))},
        {"models": replace(MODELS, tagger=TaggerRef("pocket", "other"))},
        {"models": replace(MODELS, quality_predictors=("clip_iqa",))},
        {"models": replace(MODELS, resize_mode="crop")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_key_of_features_depends_on_images_concept_and_models(keys, change):
    arguments = {"images": [artifact("images")], "concept": CONCEPT, "models": MODELS}
    encode.extract_features.fn(CONTEXT, "label", **arguments)
    encode.extract_features.fn(CONTEXT, "another label", **arguments)
    encode.extract_features.fn(CONTEXT, "label", **{**arguments, **change})
    assert keys[0] == keys[1] != keys[2]


SCORING = {name: artifact(name) for name in ("references", "generated", "base")}
COMPARISON = {name: artifact(name) for name in ("references", "first", "second", "base")}
CONTEST = {name: artifact(name) for name in ("references", "challenger", "champion", "base")}


@pytest.mark.parametrize(
    ("task", "artifacts", "options"),
    [
        (score.compute_scores, SCORING, {"category": "styles", "metrics": ["vendi"]}),
        (compare.compare_adapters, COMPARISON, {"category": "styles"}),
        (compare.compare_with_champion, CONTEST, {"category": "styles"}),
    ],
    ids=["scores", "differences", "contest"],
)
def test_the_key_of_scores_depends_on_features_category_and_metrics(keys, task, artifacts, options):
    changes = [{name: artifact("other")} for name in artifacts] + [{name: value} for name, value in options.items()]
    for change in ({}, *changes):
        task.fn(CONTEXT, "label", **{"category": "toys", **artifacts, **change})
    assert len(set(keys)) == 1 + len(changes)
