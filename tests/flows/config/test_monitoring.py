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
    requested = ValidationConfig(hold_out=1), SampleConfig(count=2)
    validation, samples = resolve_monitoring(*requested, {"epochs": 50}, PROMPTS, SAMPLING)
    assert samples is not None
    assert validation is not None
    assert samples.prompts == ("a ohw bear", "a ohw bear, hat")
    assert (samples.every, validation.every) == (5, 5)


def test_samples_use_the_prompts_of_the_experiment_with_consecutive_seeds() -> None:
    validation, samples = resolve_monitoring(None, SampleConfig(prompts=("x", "y")), {"steps": 3}, PROMPTS, SAMPLING)
    assert validation is None
    assert samples is not None
    assert (samples.every, samples.prompts, samples.seeds) == (1, ("x", "y"), (1, 2))
    assert samples.sampling == SAMPLING
