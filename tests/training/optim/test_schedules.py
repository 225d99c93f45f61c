"""Learning-rate schedules are functions of the step."""

import math
from itertools import pairwise

import pytest
import torch

from lycoris.errors import InputError
from lycoris.training import TrainingSettings
from lycoris.training.optim.schedules import ONE_CYCLE, SCHEDULES, lr_scale


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


@pytest.mark.parametrize(
    ("schedule", "quarter", "end"),
    [
        ("constant", 1.0, 1.0),
        ("linear", 0.75, 0.01),
        ("cosine", (1 + math.sqrt(0.5)) / 2, (1 + math.cos(0.99 * math.pi)) / 2),
    ],
)
def test_each_schedule_has_its_own_shape(schedule, quarter, end):
    assert lr_scale(schedule, 35, 110, 10) == pytest.approx(quarter)
    assert lr_scale(schedule, 109, 110, 10) == pytest.approx(end)
