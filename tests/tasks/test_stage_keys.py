"""Every input of a stage changes its key; drop one from the key and its case fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from lycoris import pocket
from lycoris.cache.keys import stage_key
from lycoris.data.prompt_spec import PromptSpec
from tasks import compare, encode, generate, score
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
from tasks.runtime import adapter_training
from tasks.runtime.adapter_training import AdapterTraining
from tasks.trainings import AdapterSettings, PriorSet, SampleOptions, TrainedAdapter, TrainingRequest, ValidationOptions

CONTEXT = RunContext(Path("store"))
SAMPLING = SamplingSettings(scheduler="ddim", steps=4, guidance=7.0, seed=1000, batch_size=2)
SETTINGS = AdapterSettings("lora", preset="full", rank=2, alpha=1.0, factor=None, training={"steps": 3})
REQUEST = TrainingRequest(
    RunSpec("grumble", "lora", "none", 0),
    ModelRef("pocket", "base"),
    ImageSet((Path("a.png"), Path("b.png")), "data"),
    ("a cat", "a dog"),
    SETTINGS,
)
PRIOR = PriorSet(ImageSet((Path("p.png"),), "prior"), ("an animal",))
TRAINING_CHANGES = {
    "seed": replace(REQUEST, spec=replace(REQUEST.spec, seed=1)),
    "captions": replace(REQUEST, captions=("a cat, hat", "a dog")),
    "order of captions": replace(REQUEST, captions=("a dog", "a cat")),
    "base": replace(REQUEST, base=ModelRef("pocket", "another base")),
    "data": replace(REQUEST, images=ImageSet(REQUEST.images.files, "other data")),
    "algorithm": replace(REQUEST, settings=replace(SETTINGS, algorithm="loha")),
    "preset": replace(REQUEST, settings=replace(SETTINGS, preset="attn-only")),
    "rank": replace(REQUEST, settings=replace(SETTINGS, rank=4)),
    "alpha": replace(REQUEST, settings=replace(SETTINGS, alpha=2.0)),
    "factor": replace(REQUEST, settings=replace(SETTINGS, factor=2)),
    "options": replace(REQUEST, settings=replace(SETTINGS, options={"r": 4})),
    "number of images": replace(REQUEST, settings=replace(SETTINGS, images=1)),
    "training options": replace(REQUEST, settings=replace(SETTINGS, training={"steps": 4})),
    "validation": replace(REQUEST, validation=ValidationOptions(1, 2, 3)),
    "samples": replace(REQUEST, samples=SampleOptions(1, ("a cat",), (7,), SAMPLING)),
    "alternatives": replace(REQUEST, alternatives=(("a cat", "one cat"), ("a dog",))),
    "repeats": replace(REQUEST, repeats=(1, 2)),
    "trigger": replace(REQUEST, trigger="ohw bear"),
    "prior images": replace(REQUEST, prior=PRIOR),
    "captions of prior images": replace(REQUEST, prior=replace(PRIOR, captions=("a bird",))),
    "bytes of prior images": replace(REQUEST, prior=replace(PRIOR, images=ImageSet((Path("p.png"),), "another"))),
}
OTHER_LABELS = {
    "concept": replace(REQUEST, spec=replace(REQUEST.spec, concept="biscuit")),
    "strategy": replace(REQUEST, spec=replace(REQUEST.spec, strategy="all")),
    "paths": replace(REQUEST, images=ImageSet((Path("c.png"), Path("d.png")), "data")),
    "source of the base": replace(REQUEST, base=ModelRef("elsewhere", "base")),
}


def training_key(request: TrainingRequest) -> str:
    return stage_key("adapter", AdapterTraining(CONTEXT, request).stage_inputs[None])


@pytest.mark.parametrize("name", TRAINING_CHANGES)
def test_an_adapter_depends_on_each_input(name: str) -> None:
    assert training_key(TRAINING_CHANGES[name]) != training_key(REQUEST)


@pytest.mark.parametrize("name", OTHER_LABELS)
def test_an_adapter_does_not_depend_on_names_and_paths(name: str) -> None:
    assert training_key(OTHER_LABELS[name]) == training_key(REQUEST)


def test_every_setting_of_an_adapter_has_its_case() -> None:
    names = {field.name for field in fields(AdapterSettings)} - {"images", "training"}
    assert names <= TRAINING_CHANGES.keys()
    assert {field.name for field in fields(TrainingRequest)} == {
        "spec", "base", "images", "captions", "settings", "skipped_images", "checkpoints", "validation", "samples",
        "alternatives", "repeats", "prior", "trigger",
    }  # fmt: skip


def test_a_checkpoint_depends_on_its_training_and_on_when_it_is_taken() -> None:
    request = replace(REQUEST, checkpoints=(1, 2))
    stages = AdapterTraining(CONTEXT, request).stage_inputs
    keys = {checkpoint: stage_key("adapter", inputs) for checkpoint, inputs in stages.items()}
    assert len(set(keys.values())) == 3
    assert keys[None] == training_key(REQUEST)  # a list of checkpoints trains nothing anew
    changed = AdapterTraining(CONTEXT, replace(request, captions=("a dog", "a cat"))).stage_inputs
    assert stage_key("adapter", changed[1]) != keys[1]


@pytest.fixture
def inputs_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Mapping[str, Any]]:
    """Call a task, and return the inputs of the stage it asks for."""
    requested: list[Mapping[str, Any]] = []

    def get_or_compute(
        context: RunContext, stage: str, label: str, inputs: Mapping[str, Any], compute: Any
    ) -> Artifact:
        requested.append({"stage": stage, **inputs})
        return Artifact("key", Path("folder"), True, 0.0)

    for module in (encode, generate, score):
        monkeypatch.setattr(module, "get_or_compute", get_or_compute)
        monkeypatch.setattr(module, "local_context", lambda context: context)
    monkeypatch.setattr(score, "read_scores", lambda artifact: artifact)

    def call(task: Any, *args: Any, **options: Any) -> Mapping[str, Any]:
        task.fn(CONTEXT, "label", *args, **options)
        return requested[-1]

    return call


def artifact(key: str) -> Artifact:
    return Artifact(key, Path(key), False, 0.0)


PROMPTS = {"trigger": (PromptSpec("a sks cat", "a cat", 1000, 0),)}
GENERATION = {
    "base": ModelRef("pocket", "base"),
    "adapter": TrainedAdapter(artifact("adapter"), {1: artifact("first")}),
    "prompts": PROMPTS,
    "sampling": SAMPLING,
}
GENERATION_CHANGES = {
    "base": {"base": ModelRef("pocket", "another base")},
    "adapter": {"adapter": TrainedAdapter(artifact("another"))},
    "no adapter": {"adapter": None},
    "checkpoint": {"checkpoint": 1},
    "text": {"prompts": {"trigger": (PromptSpec("a sks dog", "a cat", 1000, 0),)}},
    "seed": {"prompts": {"trigger": (PromptSpec("a sks cat", "a cat", 1001, 0),)}},
    "prompt type": {"prompts": {"train": PROMPTS["trigger"]}},
    "scheduler": {"sampling": replace(SAMPLING, scheduler="euler")},
    "steps": {"sampling": replace(SAMPLING, steps=5)},
    "guidance": {"sampling": replace(SAMPLING, guidance=1.0)},
}


@pytest.mark.parametrize("name", GENERATION_CHANGES)
def test_generated_images_depend_on_each_input(name: str, inputs_of: Callable[..., Mapping[str, Any]]) -> None:
    before = inputs_of(generate.generate_images, **GENERATION)
    assert inputs_of(generate.generate_images, **{**GENERATION, **GENERATION_CHANGES[name]}) != before


def test_generated_images_do_not_depend_on_the_batch_size(inputs_of: Callable[..., Mapping[str, Any]]) -> None:
    other = {**GENERATION, "sampling": replace(SAMPLING, batch_size=9)}
    assert inputs_of(generate.generate_images, **other) == inputs_of(generate.generate_images, **GENERATION)


CONCEPT = CaptionedConcept(
    name="grumble", category="toys", trigger="sks", class_noun="cat", description="red cat", aliases=("sks cat",),
    images_digest="data", images=(), captions={}, prompts={}, concept_tags=(), cached=True, skipped_images={},
)  # fmt: skip
MODELS = EvaluationModels({"clip": "clip"}, ModelRef("vgg", "vgg"), TaggerRef("pocket", "tagger"))
IMAGES = (artifact("one"), artifact("two"))
FEATURE_CHANGES = {
    "images": ((artifact("one"), artifact("three")), CONCEPT, MODELS),
    "dataset": (ImageSet((), "data"), CONCEPT, MODELS),
    "category": (IMAGES, replace(CONCEPT, category="styles"), MODELS),
    "names": (IMAGES, replace(CONCEPT, aliases=("qtv cat",)), MODELS),
    "encoders": (IMAGES, CONCEPT, replace(MODELS, encoders={"clip": "another"})),
    "style encoder": (IMAGES, CONCEPT, replace(MODELS, style_encoder=ModelRef("vgg", "another"))),
    "tagger": (IMAGES, CONCEPT, replace(MODELS, tagger=TaggerRef("pocket", "another"))),
    "quality predictors": (IMAGES, CONCEPT, replace(MODELS, quality_predictors=("clip_iqa",))),
    "resize mode": (IMAGES, CONCEPT, replace(MODELS, resize_mode="crop")),
}


@pytest.mark.parametrize("name", FEATURE_CHANGES)
def test_features_depend_on_each_input(name: str, inputs_of: Callable[..., Mapping[str, Any]]) -> None:
    before = inputs_of(encode.extract_features, IMAGES, CONCEPT, MODELS)
    assert inputs_of(encode.extract_features, *FEATURE_CHANGES[name]) != before


def test_features_of_a_dataset_depend_on_its_images(inputs_of: Callable[..., Mapping[str, Any]]) -> None:
    before = inputs_of(encode.extract_features, ImageSet((), "data"), CONCEPT, MODELS)
    assert inputs_of(encode.extract_features, ImageSet((), "other data"), CONCEPT, MODELS) != before


def test_features_of_a_dataset_depend_on_its_look_alikes(inputs_of: Callable[..., Mapping[str, Any]]) -> None:
    dataset = (ImageSet((), "data"), CONCEPT, MODELS)
    keys = [
        inputs_of(encode.extract_features, *dataset, look_alikes)
        for look_alikes in (None, ImageSet((), "gallery"), ImageSet((), "other"))
    ]
    assert keys[0] != keys[1] != keys[2] != keys[0]


def test_features_depend_on_the_references_that_a_network_sees(inputs_of: Callable[..., Mapping[str, Any]]) -> None:
    models = replace(MODELS, quality_predictors=(f"rubric_concept={pocket.CLIP}",))
    before, after = (
        inputs_of(encode.extract_features, IMAGES, replace(CONCEPT, images_digest=digest), models)
        for digest in ("data", "other data")
    )
    assert before != after


SCORING = {
    "scores": (score.compute_scores, ("references", "generated", "base")),
    "differences": (compare.compare_adapters, ("references", "first", "second", "base")),
    "contest": (compare.compare_with_champion, ("references", "challenger", "champion", "base")),
}


@pytest.mark.parametrize(("stage", "name"), [(stage, name) for stage, (_, names) in SCORING.items() for name in names])
def test_scores_depend_on_each_set_of_features(
    stage: str, name: str, inputs_of: Callable[..., Mapping[str, Any]]
) -> None:
    task, names = SCORING[stage]
    options = {each: artifact(each) for each in names}
    before = inputs_of(task, **options, category="toys")
    assert before["stage"] == stage
    assert inputs_of(task, **{**options, name: artifact("changed")}, category="toys") != before
    assert inputs_of(task, **options, category="styles") != before


def test_scores_depend_on_the_chosen_metrics(inputs_of: Callable[..., Mapping[str, Any]]) -> None:
    task, names = SCORING["scores"]
    options = {each: artifact(each) for each in names}
    before = inputs_of(task, **options, category="toys")
    assert inputs_of(task, **options, category="toys", metrics=["vendi"]) != before


def test_every_stage_depends_on_the_library_s_code(
    inputs_of: Callable[..., Mapping[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys() -> list[str]:
        return [
            training_key(REQUEST),
            stage_key("", inputs_of(generate.generate_images, **GENERATION)),
            stage_key("", inputs_of(encode.extract_features, IMAGES, CONCEPT, MODELS)),
            *(
                stage_key("", inputs_of(task, **{name: artifact(name) for name in names}, category="toys"))
                for task, names in SCORING.values()
            ),
        ]

    before = keys()
    for module in (adapter_training, encode, generate, score):
        monkeypatch.setattr(module, "source_hash", lambda *paths: "changed")
    assert not set(before) & set(keys())
