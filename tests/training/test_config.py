"""Settings are checked when they are created."""

import pytest

from lycoris.errors import InputError
from lycoris.training import TrainingSettings


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


def test_the_defaults_are_those_of_the_paper():
    """arXiv 2309.14859, table of hyperparameters: a changed default changes every adapter that does not set it."""
    settings = TrainingSettings(epochs=50)
    assert (settings.optimizer, settings.betas, settings.weight_decay) == ("adamw", (0.9, 0.99), 0.1)
    assert (settings.learning_rate, settings.schedule, settings.warmup_steps) == (5e-4, "constant", 0)
    assert (settings.batch_size, settings.caption_dropout, settings.clip_norm) == (8, 0.05, 1.0)
    assert (settings.loss, settings.min_snr, settings.noise_offset, settings.ema_decay) == ("mse", None, 0.0, None)
