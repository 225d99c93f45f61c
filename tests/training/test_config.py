"""Settings are checked where they are made; schedules are functions of the step."""

from itertools import pairwise

import pytest
import torch

from lycoris.errors import InputError
from lycoris.training import TrainingSettings
from lycoris.training.optim.schedules import ONE_CYCLE, SCHEDULES, lr_scale


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
        ("gradient_accumulation_steps", 0),
        ("loraplus_ratio", 0.0),
        ("cycles", 0),
        ("ema_decay", 1.0),
        ("huber_delta", 0.0),
        ("noise_offset", -0.1),
        ("tag_dropout", -0.1),
        ("tag_dropout", 1.1),
        ("keep_tokens", -1),
        ("prior_weight", float("inf")),
        ("prior_weight", -1.0),
        ("mask", "files"),
        ("on_invalid_image", "set_aside"),
    ],
)
def test_a_value_out_of_range_is_named(name, value):
    with pytest.raises(InputError, match=f"`{name}` must be"):
        TrainingSettings(**{"steps": 10, name: value})


def test_an_unknown_schedule_offers_the_nearest():
    with pytest.raises(InputError, match="Did you mean `cosine`"):
        TrainingSettings(steps=1, schedule="cosin")


def test_an_unknown_loss_offers_the_nearest():
    with pytest.raises(InputError, match="Did you mean `huber`"):
        TrainingSettings(steps=1, loss="hubert")


def test_an_optimiser_that_averages_keeps_no_other_average():
    with pytest.raises(InputError, match="`ema_decay` must be None with `schedule-free-adamw`"):
        TrainingSettings(steps=1, optimizer="schedule-free-adamw", ema_decay=0.9)


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
    fractions = [lr_scale(schedule, step, 100, 10) for step in range(100)]
    assert fractions[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert fractions[10] == 1
    assert all(0 <= after <= before for before, after in pairwise(fractions[10:]))


def test_cosine_and_linear_pass_the_middle_at_half_the_rate():
    assert lr_scale("cosine", 60, 110, 10) == pytest.approx(0.5)
    assert lr_scale("linear", 60, 110, 10) == pytest.approx(0.5)
    assert lr_scale("constant", 109, 110, 10) == 1


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (3, 0), (40, 0), (100, 0), (100, 10), (50, 50)])
def test_one_cycle_is_that_of_torch(steps, warmup):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rise = {"pct_start": warmup / steps} if warmup else {}
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=steps, cycle_momentum=False, **rise)
    expected = []
    for _ in range(steps):
        expected.append(cycle.get_last_lr()[0])
        optimizer.step()
        if len(expected) < steps:
            cycle.step()
    assert [lr_scale(ONE_CYCLE, step, steps, warmup) for step in range(steps)] == pytest.approx(expected)


def test_cycles_begin_at_the_top_and_are_alike():
    fractions = [lr_scale("cosine", step, 110, 10, 4) for step in range(10, 110)]
    assert fractions[0] == 1
    assert fractions[:25] == fractions[25:50] == fractions[75:]
    assert fractions[24] < 0.01


def test_one_cycle_is_one():
    with pytest.raises(InputError, match="`cycles` must be 1 with `one-cycle`"):
        TrainingSettings(steps=1, schedule=ONE_CYCLE, cycles=2)
