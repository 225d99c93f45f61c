"""Training settings of an experiment: for all adapters, or for one of them."""

import pytest

from flows.config.loading import load_experiment, parse_experiment
from lycoris.errors import InputError
from lycoris.training import TrainingSettings


def training_of(**values):
    experiment = parse_experiment(values)
    return [experiment.adapter_settings(adapter).training for adapter in experiment.algorithms]


def test_a_setting_applies_to_every_adapter_and_that_of_an_adapter_wins():
    settings = {"horizontal_flip": True, "clip_norm": None, "min_snr": 2}
    one, other = training_of(
        algorithms=["lora", {"algorithm": "lokr", "training": {"min_snr": None, "tag_dropout": 0.1}}], training=settings
    )
    assert (one["horizontal_flip"], one["clip_norm"], one["min_snr"]) == (True, None, 2)
    assert (other["horizontal_flip"], other["min_snr"], other["tag_dropout"]) == (True, None, 0.1)
    for settings in (one, other):
        TrainingSettings(**settings)


def test_a_length_replaces_the_default_and_the_more_specific_wins():
    assert training_of(algorithms=["lora"], training={"epochs": 3})[0].keys() & {"steps", "epochs"} == {"epochs"}
    (settings,) = training_of(base="some/folder", algorithms=["lora"], training={"steps": 50})
    assert settings["steps"] == 50
    assert settings["warmup_steps"] == 5
    assert "epochs" not in settings
    (own,) = training_of(algorithms=[{"algorithm": "lora", "training": {"epochs": 2}}], steps=50)
    assert (own.get("steps"), own["epochs"]) == (None, 2)
    (short,) = training_of(algorithms=[{"algorithm": "lora", "steps": 100}], steps=7)
    assert (short["steps"], short["warmup_steps"]) == (100, 10)


def test_an_explicit_warm_up_is_unchanged():
    assert training_of(algorithms=["lora"], steps=20, training={"warmup_steps": 20})[0]["warmup_steps"] == 20


def test_settings_from_the_command_line_are_numbers_even_if_yaml_reads_text():
    experiment = load_experiment(None, ("training.learning_rate=1e-3", "training.betas=[0.9, 0.95]", "algorithms=lora"))
    settings = experiment.adapter_settings(experiment.algorithms[0]).training
    assert settings["learning_rate"] == 1e-3
    assert settings["betas"] == (0.9, 0.95)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("training.tag_dropot=0.1",), "Did you mean `tag_dropout`"),
        (("algorithms=[{algorithm: lora, training: {horizontal_flop: true}}]",), "Did you mean `horizontal_flip`"),
        (("training.tag_dropout=1.5",), r"`tag_dropout` must be in \[0, 1\], but got 1.5"),
        (("training.batch_size=many",), "training.batch_size"),
        (("training.mask=files",), "training.mask"),
        (("captions=[sentense]",), "Option `captions` must be one of .* but got `sentense`. Did you mean `sentence`"),
        (("training.schedule=cosin",), "Did you mean `cosine`"),
        (("training={steps: 5, epochs: 5}",), "Exactly one of `steps` and `epochs`"),
        (("training.steps=5", "steps=6"), "`steps` is set twice"),
        (("training=many",), "training"),
    ],
)
def test_an_invalid_setting_is_an_error(changes, words):
    with pytest.raises(InputError, match=words):
        load_experiment(None, changes)


def test_a_setting_is_part_of_the_label():
    (adapter,) = parse_experiment(
        {"algorithms": [{"algorithm": "lora", "rank": 4, "training": {"horizontal_flip": True}}]}
    ).algorithms
    assert adapter.label == "lora rank=4 horizontal_flip=True"
    parse_experiment({"algorithms": ["lora", {"algorithm": "lora", "training": {"horizontal_flip": True}}]})


def test_one_adapter_can_make_invalid_images_an_error():
    assert parse_experiment({}).on_invalid_image == "skip"
    assert parse_experiment({"training": {"on_invalid_image": "stop"}}).on_invalid_image == "stop"
    one = {"algorithm": "lora", "training": {"on_invalid_image": "stop"}}
    assert parse_experiment({"algorithms": ["full", one]}).on_invalid_image == "stop"
