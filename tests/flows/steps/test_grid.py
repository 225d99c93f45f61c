"""The adapters of an experiment, and the images that each is trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config.loading import parse_experiment
from flows.steps.grid import expand_grid, training_requests, training_rows
from lycoris.captions import PromptSpec
from lycoris.errors import InputError
from tasks.artifacts import CaptionedConcept, ImageSet, ModelRef


@pytest.fixture
def concept(tmp_path: Path) -> CaptionedConcept:
    paths = []
    for number in range(10):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(bytes([number]))
    captions = {name: tuple(f"{name} {number}" for number in range(10)) for name in ("none", "all")}
    prompts = {name: {"trigger": (PromptSpec("a", "a", 0, 0),)} for name in captions}
    return CaptionedConcept(
        "ren", "toys", "ohw", "bear", "", ("ohw bear", "ohw"), "d", tuple(paths), captions, prompts, (), True, {}
    )


def test_a_small_subset_is_part_of_a_larger_one_and_never_held_out(concept: CaptionedConcept) -> None:
    experiment = parse_experiment({"hold_out": 3})
    chosen = [set(training_rows(experiment, concept, count)) for count in (2, 4, 7, None)]
    assert [len(rows) for rows in chosen] == [2, 4, 7, 7]
    assert chosen[0] < chosen[1] < chosen[2] == chosen[3]
    with pytest.raises(InputError, match="7 images that `ren`"):
        training_rows(experiment, concept, 8)


def test_trainings_have_their_checkpoints_and_captions(concept: CaptionedConcept) -> None:
    experiment = parse_experiment(
        {"captions": ["all"], "steps": 20, "checkpoints": [5, 20],
         "algorithms": ["lora", {"algorithm": "full", "captions": ["none", "all"], "images": 3}]}
    )  # fmt: skip
    planned = expand_grid(experiment, [concept])
    assert [one.spec.label for one in planned] == [
        f"ren · {algorithm} · {captions} · seed 0{after}"
        for algorithm, captions in (("lora", "all"), ("full images=3", "none"), ("full images=3", "all"))
        for after in (" · step 5", "")
    ]
    requests = training_requests(
        experiment, ModelRef("pocket", "digest"), planned, {"ren": ImageSet(concept.images, concept.images_digest)}
    )
    assert [request.checkpoints for request in requests.values()] == [(5,)] * 3
    assert [len(request.captions) for request in requests.values()] == [10, 3, 3]
    for spec, request in requests.items():
        rows = [int(path.stem) for path in request.images.files]
        assert request.captions == tuple(f"{spec.strategy} {row}" for row in rows)


def test_a_default_warmup_is_a_tenth_of_a_training_on_few_images_and_a_chosen_one_stays(
    concept: CaptionedConcept,
) -> None:
    images = len(concept.images)
    options = {"base": "some/folder", "algorithms": ["lora"], "captions": ["none"], "training": {"batch_size": 1}}
    (run,) = expand_grid(parse_experiment(options), [concept])
    assert run.settings.training["warmup_steps"] == 50 * images // 10
    chosen = parse_experiment({**options, "training": {"batch_size": 1, "warmup_steps": 100}})
    assert expand_grid(chosen, [concept])[0].settings.training["warmup_steps"] == 100
