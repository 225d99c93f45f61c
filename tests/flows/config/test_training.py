"""Claims about the training settings of an experiment: any can be given, for all adapters or for one."""

import pytest

from flows.config.loading import load_experiment, parse_experiment
from lycoris.errors import InputError
from lycoris.training import TrainingSettings


def dials(**values):
    experiment = parse_experiment(values)
    return [experiment.adapter_settings(adapter)["training"] for adapter in experiment.algorithms]


def test_any_setting_reaches_every_adapter_and_an_adapters_own_wins():
    given = {"horizontal_flip": True, "clip_norm": None, "min_snr": 2}
    one, other = dials(
        algorithms=["lora", {"algorithm": "lokr", "training": {"min_snr": None, "tag_dropout": 0.1}}], training=given
    )
    assert (one["horizontal_flip"], one["clip_norm"], one["min_snr"]) == (True, None, 2)
    assert (other["horizontal_flip"], other["min_snr"], other["tag_dropout"]) == (True, None, 0.1)
    for settings in (one, other):
        TrainingSettings(**settings)


def test_a_length_replaces_the_recipes_and_the_later_wins():
    assert dials(algorithms=["lora"], training={"epochs": 3})[0].keys() & {"steps", "epochs"} == {"epochs"}
    (settings,) = dials(base="some/folder", algorithms=["lora"], training={"steps": 50})
    assert settings["steps"] == 50
    assert settings["warmup_steps"] == 5
    assert "epochs" not in settings
    (own,) = dials(algorithms=[{"algorithm": "lora", "training": {"epochs": 2}}], steps=50)
    assert (own.get("steps"), own["epochs"]) == (None, 2)
    (short,) = dials(algorithms=[{"algorithm": "lora", "steps": 100}], steps=7)
    assert (short["steps"], short["warmup_steps"]) == (100, 10)


def test_a_warm_up_that_was_asked_for_is_kept():
    assert dials(algorithms=["lora"], steps=20, training={"warmup_steps": 20})[0]["warmup_steps"] == 20


def test_settings_from_the_command_line_are_numbers_whatever_yaml_takes_them_for():
    experiment = load_experiment(None, ("training.learning_rate=1e-3", "training.betas=[0.9, 0.95]", "algorithms=lora"))
    settings = experiment.adapter_settings(experiment.algorithms[0])["training"]
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
        (("training.schedule=cosin",), "Did you mean `cosine`"),
        (("training={steps: 5, epochs: 5}",), "Exactly one of `steps` and `epochs`"),
        (("training.steps=5", "steps=6"), "`steps` is given twice"),
        (("training=many",), "training"),
    ],
)
def test_a_fault_in_a_training_setting_is_told_at_once(changes, words):
    with pytest.raises(InputError, match=words):
        load_experiment(None, changes)


def test_a_setting_is_part_of_the_adapters_name():
    (adapter,) = parse_experiment(
        {"algorithms": [{"algorithm": "lora", "rank": 4, "training": {"horizontal_flip": True}}]}
    ).algorithms
    assert adapter.label == "lora rank=4 horizontal_flip=True"
    parse_experiment({"algorithms": ["lora", {"algorithm": "lora", "training": {"horizontal_flip": True}}]})


def test_any_adapter_may_ask_to_stop_at_a_bad_picture():
    assert parse_experiment({}).on_invalid_image == "skip"
    assert parse_experiment({"training": {"on_invalid_image": "stop"}}).on_invalid_image == "stop"
    one = {"algorithm": "lora", "training": {"on_invalid_image": "stop"}}
    assert parse_experiment({"algorithms": ["full", one]}).on_invalid_image == "stop"
