"""A run stops when its loss stays far above its earlier level, and not for fluctuations."""

import random

import pytest
from safetensors.torch import load_file

import lycoris
from lycoris.training import TrainingDivergedError, TrainingJob, TrainingSettings, train
from lycoris.training.divergence import DIVERGENCE_STEPS, has_diverged, is_spike


def ever(losses):
    return any(has_diverged(losses[:step]) for step in range(len(losses) + 1))


def test_a_loss_that_stays_ten_times_too_high_has_left():
    calm = [0.1 + 0.05 * (step % 3) for step in range(50)]
    assert not ever(calm)
    assert ever([*calm, *[3.0] * 2 * DIVERGENCE_STEPS])
    assert not ever([*calm, *[3.0] * (DIVERGENCE_STEPS - 1), 0.1, *calm])


def test_the_usual_level_is_that_of_the_losses_before_the_last():
    """A median over all losses would be 1.55 here, and ten times that is far above the last ones."""
    calm = [0.1] * DIVERGENCE_STEPS
    assert has_diverged([*calm, *[3.0] * DIVERGENCE_STEPS])
    assert not has_diverged([*calm[1:], *[3.0] * DIVERGENCE_STEPS])
    assert not has_diverged([*calm, *[0.9] * DIVERGENCE_STEPS])


@pytest.mark.parametrize("seed", range(5))
def test_the_swings_of_single_images_are_no_divergence(seed):
    """Losses over three orders of magnitude, as one image a step with random times has them."""
    draws = random.Random(seed)
    assert not ever([10 ** draws.uniform(-3, 0) for _ in range(2000)])


def test_a_rising_or_falling_level_is_no_divergence():
    assert not ever([1.01**-step for step in range(800)])
    assert not ever([1.01**step for step in range(400)])


def test_a_high_step_is_known_from_its_level():
    calm = [0.1] * 50
    assert is_spike([*calm, 1.1])
    assert not is_spike([*calm, 0.9])
    assert is_spike([*calm[: 2 * DIVERGENCE_STEPS - 1], 1.1])
    assert not is_spike([*calm[: 2 * DIVERGENCE_STEPS - 2], 1.1])


def test_a_run_that_leaves_its_level_is_stopped_and_leaves_a_good_state(base, squares, tmp_path, monkeypatch):
    """After some calm steps the rate of the last layer is far too large: the loss stays a number, and is large."""
    monkeypatch.setattr("lycoris.training.divergence.DIVERGENCE_STEPS", 4)
    monkeypatch.setattr("lycoris.training.training_run.lr_scale", lambda _, step, *others: 1e-6 if step < 8 else 1.0)
    config = TrainingSettings(steps=40, batch_size=2, learning_rate=10.0, clip_norm=None)
    state, network = tmp_path / "state.safetensors", lycoris.attach(base.parts, "full", layers=["conv_out"], seed=1)
    with pytest.raises(
        TrainingDivergedError, match=r"times its usual level for 4 steps\. Lower `learning_rate`"
    ) as error:
        train(base, TrainingJob(network, squares, config, seed=7, checkpoint=state), checkpoint_seconds=0)
    losses = error.value.losses
    assert len(losses) < 40
    remaining = load_file(state)["losses"].tolist()
    assert 8 <= len(remaining) < len(losses)
    assert max(remaining) < 10 * min(remaining)
    assert min(losses[-4:]) > 10 * max(remaining)
