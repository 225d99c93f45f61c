"""Validation and samples during training, as an experiment requests them."""

from __future__ import annotations

from flows.config.monitoring import SampleConfig, ValidationConfig, resolve_monitoring
from lycoris.captions import PromptSpec
from tasks.artifacts import SamplingSettings

SAMPLING = SamplingSettings(scheduler="ddim", steps=2, guidance=7.0, seed=1, batch_size=4)
PROMPTS = {
    "train": [PromptSpec("a ohw bear", "", 1, 0), PromptSpec("a ohw bear, hat", "", 2, 0)],
    "trigger": [PromptSpec("a ohw bear", "", 1, 0)],
}


def test_samples_take_each_prompt_type_in_turn_and_no_prompt_twice() -> None:
    options = resolve_monitoring(ValidationConfig(hold_out=1), SampleConfig(count=2), {"epochs": 50}, PROMPTS, SAMPLING)
    assert options.samples is not None
    assert options.validation is not None
    assert options.samples.prompts == ("a ohw bear", "a ohw bear, hat")
    assert (options.samples.every, options.validation.every) == (5, 5)


def test_samples_use_the_prompts_of_the_experiment_with_consecutive_seeds() -> None:
    options = resolve_monitoring(None, SampleConfig(prompts=("x", "y")), {"steps": 3}, PROMPTS, SAMPLING)
    assert options.validation is None
    assert options.samples is not None
    assert (options.samples.every, options.samples.prompts, options.samples.seeds) == (1, ("x", "y"), (1, 2))
    assert options.samples.sampling == SAMPLING
