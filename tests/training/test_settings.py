"""Settings are checked where they are made; schedules are functions of the step."""

from itertools import pairwise

import pytest

from lycoris.errors import InputError
from lycoris.training import TrainingSettings
from lycoris.training.schedules import SCHEDULES, rate_fraction


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("learning_rate", -1.0),
        ("learning_rate", float("nan")),
        ("text_encoder_learning_rate", float("inf")),
        ("weight_decay", -0.1),
        ("betas", (0.9, 1.0)),
        ("clip_norm", 0.0),
        ("warmup_steps", -1),
        ("caption_dropout", 1.5),
        ("min_snr", 0.0),
        ("tag_dropout", -0.1),
        ("tag_dropout", 1.1),
        ("keep_tokens", -1),
        ("prior_weight", float("inf")),
        ("prior_weight", -1.0),
        ("mask", "files"),
        ("on_bad_picture", "skip"),
    ],
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(InputError, match=f"`{name}` must be"):
        TrainingSettings(**{"steps": 10, name: value})


def test_an_unknown_schedule_offers_the_nearest():
    with pytest.raises(InputError, match="Did you mean `cosine`"):
        TrainingSettings(steps=1, schedule="cosin")


@pytest.mark.parametrize("given", [{}, {"steps": 10, "epochs": 2}])
def test_exactly_one_length_is_given(given):
    with pytest.raises(InputError, match="Exactly one of `steps` and `epochs`"):
        TrainingSettings(**given)


def test_epochs_are_rounded_up_to_whole_steps():
    assert TrainingSettings(epochs=50, batch_size=8).steps_for(12) == 75
    assert TrainingSettings(epochs=1, batch_size=8).steps_for(9) == 2


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(InputError, match="at most the run's 5 steps, but got 6"):
        TrainingSettings(steps=5, warmup_steps=6).steps_for(3)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_rises_linearly_to_the_top(schedule):
    fractions = [rate_fraction(schedule, step, 100, 10) for step in range(100)]
    assert fractions[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert fractions[10] == 1
    assert all(0 <= after <= before for before, after in pairwise(fractions[10:]))


def test_cosine_and_linear_pass_the_middle_at_half_the_rate():
    assert rate_fraction("cosine", 60, 110, 10) == pytest.approx(0.5)
    assert rate_fraction("linear", 60, 110, 10) == pytest.approx(0.5)
    assert rate_fraction("constant", 109, 110, 10) == 1
