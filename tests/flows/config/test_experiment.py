"""Experiments: which values are accepted, what they mean, and how errors read."""

from pathlib import Path

import pytest

from flows.config.concepts import select_names
from flows.config.experiment import Experiment
from flows.config.fitting import training_count
from flows.config.loading import load_experiment, parse_experiment
from lycoris.errors import InputError
from tasks.trainings import AdapterSettings


def test_the_default_experiment_crosses_algorithms_and_strategies():
    experiment = parse_experiment({})
    assert [adapter.algorithm for adapter in experiment.algorithms] == ["lora", "loha", "lokr", "full"]
    assert experiment.captions == ("none", "all", "adjusted")


@pytest.mark.parametrize(
    "change",
    [
        "base=https://ann:hunter22@host/x", "base=https://hf_0123456789@host/x", "artifact_store=sftp://ann:hun/ter@22@host",
        "encoders=[clip, 'https://host/?token=hunter22']", "data=https://ann:hunter22@host/x",
        "tagger=https://host/?sig=hunter22",
    ],
)  # fmt: skip
def test_an_experiment_holds_no_secrets_because_it_is_stored_and_shown(change):
    with pytest.raises(InputError, match="must not contain a user name, password or token"):
        load_experiment(None, (change,))


def test_addresses_without_secrets_are_options():
    experiment = parse_experiment({"artifact_store": "s3://bucket/a@b", "runner": "tcp://10.0.0.1:8786"})
    assert experiment.artifact_store == "s3://bucket/a@b"


def test_the_shipped_file_spells_out_the_default():
    assert load_experiment(Path(__file__).parents[3] / "experiment.yaml") == parse_experiment({})


def test_by_default_two_shipped_concepts_run_and_all_of_the_user():
    shipped = ["biscuit", "castle", "grumble", "neon"]
    assert select_names(parse_experiment({}), [*shipped, "mine"]) == ("biscuit", "grumble", "mine")
    assert select_names(parse_experiment({"concepts": "all"}), shipped) == tuple(shipped)
    with pytest.raises(InputError, match="Did you mean `castle`"):
        select_names(parse_experiment({"concepts": "castel"}), shipped)


def test_overrides_take_precedence_over_the_file(tmp_path):
    file = tmp_path / "e.yaml"
    file.write_text("seeds: [0]\nimages: {trigger: 4}\n")
    experiment = load_experiment(file, ("seeds=1,2", "images.alter=6", "algorithms=lora,native"))
    assert experiment.seeds == (1, 2)
    assert (experiment.images.trigger, experiment.images.alter) == (4, 6)
    assert [adapter.algorithm for adapter in experiment.algorithms] == ["lora", "full"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("algorithm=lora",), "Did you mean `algorithms`"),
        (("algorithms=lorra",), "Did you mean `lora`"),
        (("captions=adjust",), "Did you mean `adjusted`"),
        (("images.triger=4",), "Did you mean `trigger`"),
        (("algorithms=[{algorithm: lora, rnak: 4}]",), "Did you mean `rank`"),
        (("algorithms=[{algorithm: lora, rank: 0}]",), "rank"),
        (("seeds=-1",), "seeds"),
        (("steps=many",), "steps"),
        (("captions=[]",), "empty"),
        (("captions=all,all",), "twice"),
        (("validation.hold=2",), "Did you mean `hold_out`"),
        (("samples.evry=2",), "Did you mean `every`"),
        (("validation=0",), "validation.hold_out"),
        (("checkpoints=[0]",), "checkpoints"),
        (("steps",), "key=value"),
    ],
)
def test_an_error_names_the_option_and_suggests_the_nearest_name(changes, words):
    with pytest.raises(InputError, match=words):
        load_experiment(None, changes)


def test_a_folder_in_place_of_an_experiment_is_answered_with_the_command_to_type(tmp_path):
    folder = tmp_path / "my photos"
    folder.mkdir()
    with pytest.raises(
        InputError, match=r"is a folder\. To run on the images in it: `lycoris run --set 'data=.*my photos'`"
    ):
        load_experiment(folder)
    (folder / "experiment.yaml").write_text("name: mine")
    with pytest.raises(InputError, match=r"holds a project: `cd '.*my photos' && lycoris run experiment.yaml`"):
        load_experiment(folder)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.yaml"):
        load_experiment(tmp_path / "nothing.yaml")


def test_yaml_never_makes_objects(tmp_path):
    file = tmp_path / "evil.yaml"
    file.write_text("name: !!python/object/apply:os.system ['true']\n")
    with pytest.raises(InputError, match="YAML"):
        load_experiment(file)


def test_a_label_lists_the_settings_that_are_set():
    (adapter,) = parse_experiment({"algorithms": [{"algorithm": "lora", "rank": 16}]}).algorithms
    assert adapter.label == "lora rank=16"


def test_settings_are_completed_by_the_defaults_of_the_base():
    experiment = parse_experiment({"algorithms": ["lora"], "steps": 7})
    settings = experiment.adapter_settings(experiment.algorithms[0])
    assert settings.training["steps"] == 7
    assert settings.rank == 8
    paper = parse_experiment({"algorithms": ["full"], "base": "some/folder"})
    assert paper.adapter_settings(paper.algorithms[0]).training["learning_rate"] == 1e-6


def test_sampling_defaults_depend_on_the_base():
    pocket, other = (
        parse_experiment({}).sampling_settings(),
        parse_experiment({"base": "elsewhere"}).sampling_settings(),
    )
    assert (pocket.scheduler, pocket.steps) == ("dpm++-2m", 14)
    assert (other.scheduler, other.steps) == (None, 25)  # the default of the family
    chosen = parse_experiment({"sampling": {"scheduler": "euler", "steps": 3}}).sampling_settings()
    assert (chosen.scheduler, chosen.steps, chosen.guidance) == ("euler", 3, 7.0)


def test_a_rank_alone_keeps_the_default_scale():
    experiment = parse_experiment({"base": "some/folder", "algorithms": [{"algorithm": "lora", "rank": 32}]})
    settings = experiment.adapter_settings(experiment.algorithms[0])
    assert settings.alpha / settings.rank == pytest.approx(0.5)


def test_validation_and_samples_have_a_short_form():
    experiment = parse_experiment({"validation": 2, "samples": 5, "checkpoints": 30})
    assert (experiment.validation.hold_out, experiment.samples.every, experiment.checkpoints) == (2, 5, (30,))
    assert parse_experiment({"validation": {"hold_out": 0.1, "noise_levels": 8}}).validation.noise_levels == 8


def test_checkpoints_use_the_unit_of_the_training_and_lie_within_it():
    assert parse_experiment({"checkpoints": [60, 120]}).checkpoints == (60, 120)
    with pytest.raises(InputError, match="trained for 120 steps"):
        parse_experiment({"checkpoints": [121]})
    with pytest.raises(InputError, match="trained for 50 epochs"):
        parse_experiment({"base": "some/folder", "checkpoints": [10, 60]})


def test_each_value_of_an_option_is_one_adapter():
    experiment = Experiment.model_validate(
        {"algorithms": ["full", {"algorithm": "lora", "rank": [4, 8], "alpha": [1, 2], "captions": ["none", "all"]}]}
    )
    labels = [adapter.label for adapter in experiment.algorithms]
    assert labels == ["full", *(f"lora rank={rank} alpha={alpha}.0" for rank in (4, 8) for alpha in (1, 2))]
    with pytest.raises(InputError, match="twice"):
        parse_experiment({"algorithms": [{"algorithm": "lora", "rank": [4, 4]}]})


def test_a_multiplier_scales_the_default_learning_rate_and_excludes_a_learning_rate():
    experiment = parse_experiment(
        {"base": "owner/model", "algorithms": [{"algorithm": "full", "learning_rate_multiplier": [0.5, 5]}]}
    )
    rates = [experiment.adapter_settings(adapter).training["learning_rate"] for adapter in experiment.algorithms]
    assert rates == [5e-7, 5e-6]
    with pytest.raises(InputError, match="exclude each other"):
        parse_experiment({"algorithms": [{"algorithm": "full", "learning_rate_multiplier": 2, "learning_rate": 1e-3}]})


def test_an_adapter_may_have_its_own_captions():
    experiment = parse_experiment(
        {"captions": ["adjusted"], "algorithms": ["full", {"algorithm": "lora", "captions": "none,all"}]}
    )
    assert experiment.strategies == ("adjusted", "none", "all")
    assert [experiment.captions_of(adapter) for adapter in experiment.algorithms] == [("adjusted",), ("none", "all")]
    assert training_count(experiment, 2) == 6
    unused = parse_experiment(
        {"captions": ["all", "adjusted"], "algorithms": [{"algorithm": "lora", "captions": ["none"]}]}
    )
    assert unused.strategies == ("none",)
    with pytest.raises(InputError, match="each once"):
        parse_experiment({"algorithms": [{"algorithm": "lora", "captions": ["none", "none"]}]})


def test_the_preset_of_an_adapter_overrides_that_of_the_experiment():
    experiment = parse_experiment(
        {"preset": "attn-mlp", "algorithms": ["lora", {"algorithm": "lokr", "preset": "full"}]}
    )
    assert [experiment.adapter_settings(adapter).preset for adapter in experiment.algorithms] == ["attn-mlp", "full"]
    with pytest.raises(InputError, match="Did you mean `attn-mlp`"):
        parse_experiment({"preset": "attn-mpl"})


def test_settings_contain_a_number_of_images_only_if_it_is_set():
    experiment = parse_experiment({"algorithms": ["lora", {"algorithm": "lora", "images": 4}]})
    assert [experiment.adapter_settings(adapter).images for adapter in experiment.algorithms] == [None, 4]
    assert "pictures" not in experiment.adapter_settings(experiment.algorithms[0]).as_dict()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("photos", "photos"),
        ("my/robot photos/", "robot photos"),
        ("my/data", "my"),
        ("my/a:b", "my"),
        ("data", "pocket"),
    ],
)
def test_the_name_is_that_of_the_data_folder(
    data: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Experiment(data=data).name == name
    assert Experiment(data=data, name="own").name == "own"


def test_a_name_of_a_folder_with_another_purpose_is_rejected():
    with pytest.raises(ValueError, match="must not be store, mlflow, prefect, data"):
        Experiment(name="store")


def test_options_of_a_method_of_peft_stand_beside_the_others_and_are_swept():
    methods = [{"algorithm": "peft:hra", "r": [2, 4], "learning_rate": 1e-3}, {"algorithm": "peft:road"}]
    experiment = parse_experiment({"algorithms": methods})
    assert [each.label for each in experiment.algorithms] == [
        "peft:hra learning_rate=0.001 r=2", "peft:hra learning_rate=0.001 r=4", "peft:road",
    ]  # fmt: skip
    settings = experiment.adapter_settings(experiment.algorithms[1])
    assert settings.network_options == {"algorithm": "peft:hra", "preset": "full", "r": 4}
    assert AdapterSettings.from_dict(settings.as_dict()) == settings
    assert experiment.adapter_settings(experiment.algorithms[2]).options == {"group_size": 8}
    assert "options" not in parse_experiment({}).adapter_settings(parse_experiment({}).algorithms[0]).as_dict()
    assert parse_experiment(experiment.model_dump()) == experiment


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        ({"algorithm": "peft:hra", "rr": 4}, "Unknown option of `peft:hra` `rr`"),
        ({"algorithm": "peft:hra", "rank": 4}, "Unknown option of `peft:hra` `rank`"),
        ({"algorithm": "peft:hrra"}, "Did you mean `hra`"),
        ({"algorithm": "peft:xlora"}, "mixes LoRAs"),
        ({"algorithm": "lora", "options": {"r": 4}}, "methods of PEFT"),
        ({"algorithm": "lora", "r": 4}, "r"),
    ],
)
def test_options_that_a_method_of_peft_lacks_are_errors(adapter, words):
    with pytest.raises(InputError, match=words):
        parse_experiment({"algorithms": [adapter]})
