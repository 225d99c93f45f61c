"""More steps than a finished training has continue it, where its steps are the first ones; the result is the same."""

import logging

import pytest
import torch
from safetensors.torch import load_file

import lycoris
from tasks.runtime.adapter_training import ADAPTER_FILE
from tasks.trainings import TrainingSummary
from tests.tasks.test_train import trained


@pytest.fixture(autouse=True)
def messages(caplog):
    caplog.set_level(logging.INFO, logger="lycoris.tasks.train")
    return caplog


def weights(made):
    return load_file(made.final.folder / ADAPTER_FILE)


def assert_same_weights(one, other):
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_more_steps_continue_a_finished_training_to_the_same_weights(tmp_path, messages):
    trained(tmp_path / "store", steps=2)
    longer = trained(tmp_path / "store", steps=4)
    assert "continues from step 2 of a finished training" in messages.text
    summary = TrainingSummary.read(longer.final.folder)
    assert (summary.step, summary.continued_from, len(summary.losses)) == (4, 2, 4)
    assert lycoris.read_metadata(longer.final.folder / ADAPTER_FILE)["continued_from"] == "2"
    afresh = trained(tmp_path / "other", steps=4)
    assert TrainingSummary.read(afresh.final.folder).continued_from is None
    assert summary.losses == TrainingSummary.read(afresh.final.folder).losses
    assert_same_weights(longer, afresh)


def test_a_schedule_that_is_restarted_on_purpose_continues(tmp_path):
    trained(tmp_path / "store", steps=2, schedule="cosine")
    longer = trained(tmp_path / "store", steps=4, schedule="cosine", cycles=2)
    assert TrainingSummary.read(longer.final.folder).continued_from == 2
    assert_same_weights(longer, trained(tmp_path / "other", steps=4, schedule="cosine", cycles=2))


def test_a_schedule_that_depends_on_the_length_is_trained_anew_and_says_why(tmp_path, messages):
    trained(tmp_path / "store", steps=2, schedule="cosine")
    longer = trained(tmp_path / "store", steps=4, schedule="cosine")
    assert TrainingSummary.read(longer.final.folder).continued_from is None
    assert "a finished training of 2 steps is not continued: its schedule `cosine`" in messages.text


@pytest.mark.parametrize(
    ("first", "second", "advice", "changes"),
    [
        ({"warmup_steps": 1}, {"warmup_steps": 2}, "with `training.warmup_steps=1`.", {"warmup_steps": 1}),
        (
            {"schedule": "cosine", "warmup_steps": 1, "steps": 3},
            {"schedule": "cosine", "warmup_steps": 1},
            "for 5 steps with its schedule restarted: `training.schedule=cosine`, `training.cycles=2`, "
            "`training.warmup_steps=1`.",
            {"cycles": 2, "steps": 5},
        ),
    ],
)
def test_the_reason_says_what_would_continue_and_that_does(tmp_path, messages, first, second, advice, changes):
    first, second = {"steps": 2, **first}, {"steps": 4, **second}
    trained(tmp_path / "store", **first)
    assert TrainingSummary.read(trained(tmp_path / "store", **second).final.folder).continued_from is None
    assert f"It continues {advice}" in messages.text
    longer = trained(tmp_path / "store", **{**second, **changes})
    assert TrainingSummary.read(longer.final.folder).continued_from == first["steps"]


def test_another_seed_or_setting_continues_nothing(tmp_path, messages):
    trained(tmp_path / "store", steps=2)
    trained(tmp_path / "store", steps=4, learning_rate=2e-3)
    assert "continue" not in messages.text
