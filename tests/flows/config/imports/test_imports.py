"""Configurations of other trainers become experiments that run, and every key is carried over or named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from flows.cli.main import main
from flows.config.concepts import select_concepts
from flows.config.experiment import Experiment
from flows.config.imports.experiment_files import ImportResult, import_config
from flows.config.imports.keys import Keys
from flows.config.imports.left_over import sort_left_over
from flows.config.loading import load_experiment
from flows.config.preflight import validate_experiment
from flows.steps.grid import expand_grid, training_requests
from flows.steps.requests import caption_request, image_sets, prior_sets
from lycoris import read_metadata
from lycoris.data.concepts import load_concepts
from lycoris.errors import InputError
from tasks.artifacts import RunContext
from tasks.caption import caption_concepts
from tasks.models import resolve_models
from tasks.train import train_adapter
from tasks.trainings import TrainingSummary

KOHYA_TRAINING = """
[model_arguments]
pretrained_model_name_or_path = "pocket"
v2 = false
[additional_network_arguments]
network_module = "networks.lora"
network_dim = 4
network_alpha = 2
[training]
output_name = "dog"
train_data_dir = "img"
reg_data_dir = "reg"
max_train_steps = 2
train_batch_size = 2
unet_lr = 1e-3
learning_rate = 1e-4
lr_scheduler = "cosine_with_restarts"
lr_scheduler_num_cycles = 1
optimizer_type = "AdamW"
shuffle_caption = true
keep_tokens = 2
prior_loss_weight = 0.5
seed = 7
mixed_precision = "fp16"
"""
KOHYA_DATASET = """
[general]
shuffle_caption = true
caption_extension = ".txt"
keep_tokens = 1
[[datasets]]
resolution = 512
batch_size = 2
  [[datasets.subsets]]
  image_dir = "img/10_sks dog"
  class_tokens = "sks dog"
  num_repeats = 3
  [[datasets.subsets]]
  is_reg = true
  image_dir = "reg/1_dog"
  class_tokens = "dog"
"""
ONETRAINER = {
    "training_method": "LORA",
    "model_type": "STABLE_DIFFUSION_15",
    "base_model_name": "pocket",
    "concept_file_name": "training_concepts/concepts.json",
    "epochs": 1,
    "batch_size": 2,
    "learning_rate": 0.001,
    "learning_rate_scheduler": "CONSTANT",
    "learning_rate_warmup_steps": 0,
    "peft_type": "LOHA",
    "lora_rank": 3,
    "lora_alpha": 1.0,
    "ema": "OFF",
    "masked_training": False,
    "text_encoder": {"train": False, "learning_rate": 1e-5},
    "optimizer": {"optimizer": "ADAMW", "weight_decay": 0.01, "beta1": 0.9, "beta2": 0.999, "fused": True},
    "resolution": "512",
}
ONETRAINER_CONCEPTS = [
    {
        "name": "sks dog", "path": "img/10_sks dog", "enabled": True, "balancing": 1.0, "balancing_strategy": "REPEATS",
        "image": {"enable_random_flip": True, "enable_random_hue": False, "random_hue_max_strength": 0.0},
        "text": {"prompt_source": "sample", "enable_tag_shuffling": True, "keep_tags_count": 1, "tag_delimiter": ","},
    },
    {"name": "off", "path": "nowhere", "enabled": False},
]  # fmt: skip
AI_TOOLKIT = {
    "job": "extension",
    "config": {
        "name": "dog_v1",
        "process": [
            {
                "type": "sd_trainer",
                "training_folder": "output",
                "trigger_word": "sks",
                "network": {"type": "lora", "linear": 4, "linear_alpha": 4},
                "datasets": [
                    {"folder_path": "img/10_sks dog", "caption_ext": "txt", "caption_dropout_rate": 0.1,
                     "shuffle_tokens": False, "cache_latents_to_disk": True, "resolution": [512, 768]}
                ],
                "train": {"batch_size": 1, "steps": 2, "train_unet": True, "train_text_encoder": True, "lr": "1e-3",
                          "optimizer": "adamw", "noise_scheduler": "ddpm",
                          "ema_config": {"use_ema": True, "ema_decay": 0.99}},
                "model": {"name_or_path": "pocket", "quantize": True},
            }
        ],
    },
    "meta": {"name": "[name]", "version": "1.0"},
}  # fmt: skip
SIMPLETUNER = {
    "--model_type": "lora", "--lora_type": "standard", "--lora_rank": 4, "--max_train_steps": 2,
    "--train_batch_size": 2, "--learning_rate": "1e-3", "--optimizer": "adamw_bf16", "--lr_scheduler": "constant",
    "--pretrained_model_name_or_path": "pocket", "--data_backend_config": "config/multidatabackend.json",
    "--train_text_encoder": True, "--seed": 3, "--report_to": "none",
}  # fmt: skip
SIMPLETUNER_BACKENDS = [
    {"id": "dog", "type": "local", "dataset_type": "image", "instance_data_dir": "img/10_sks dog", "repeats": 4,
     "caption_strategy": "instanceprompt", "instance_prompt": "a photo of a sks dog", "resolution": 512},
    {"id": "reg", "type": "local", "instance_data_dir": "reg/1_dog", "is_regularisation_data": True,
     "caption_strategy": "instanceprompt", "instance_prompt": "dog"},
    {"id": "text", "dataset_type": "text_embeds", "default": True, "type": "local", "cache_dir": "cache"},
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three captioned images of a dog and one prior image, named as for kohya's trainers."""
    root = tmp_path / "dogs"
    for place, count in (("img/10_sks dog", 3), ("reg/1_dog", 1)):
        (root / place).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (64, 64), (90 * number, 80, 20)).save(root / place / f"{number}.png")
    for number in range(3):
        (root / "img/10_sks dog" / f"{number}.txt").write_text(f"a sks dog, place {number}")
    monkeypatch.chdir(root)
    return root


def write(root: Path, files: dict[str, Any]) -> list[Path]:
    for name, content in files.items():
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        suffix = Path(name).suffix
        dump = {".json": json.dumps, ".yaml": yaml.safe_dump}.get(suffix, str)
        (root / name).write_text(dump(content))
    return [root / name for name in files]


CASES: dict[str, tuple[dict[str, Any], int]] = {
    "kohya training": ({"train.toml": KOHYA_TRAINING}, 1),
    "kohya dataset": ({"dataset.toml": KOHYA_DATASET, "train.toml": KOHYA_TRAINING}, 2),
    "OneTrainer": ({"config.json": ONETRAINER, "training_concepts/concepts.json": ONETRAINER_CONCEPTS}, 1),
    "ai-toolkit": ({"job.yaml": AI_TOOLKIT}, 1),
    "SimpleTuner": ({"config/config.json": SIMPLETUNER, "config/multidatabackend.json": SIMPLETUNER_BACKENDS}, 1),
}
"""Trainer -> its files, and how many of them are given to the command."""


@pytest.fixture
def imported(folder: Path) -> Callable[..., tuple[ImportResult, Experiment]]:
    def run(case: str, **options: Any) -> tuple[ImportResult, Experiment]:
        files, given = CASES[case]
        result = import_config(write(folder, files)[:given], folder.parent / "imported", **options)
        return result, load_experiment(result.experiment, (f"output={folder.parent / 'runs'}",))

    return run


@pytest.mark.parametrize(
    "case",
    [
        "kohya training", "OneTrainer", "ai-toolkit",
        *(pytest.param(case, marks=pytest.mark.slow) for case in ("kohya dataset", "SimpleTuner")),
    ],
)  # fmt: skip
def test_an_imported_experiment_trains_two_steps_on_the_pocket(
    imported: Callable[..., tuple[ImportResult, Experiment]], case: str
) -> None:
    _, experiment = imported(case)
    validate_experiment(experiment)
    context = RunContext(experiment.output / "store")
    models = resolve_models.fn(**experiment.model_sources())
    known = select_concepts(experiment, experiment.data)
    concepts = caption_concepts.fn(context, caption_request(experiment, known, models.tagger, models.captioner))
    runs = expand_grid(experiment, concepts)
    requests = training_requests(
        experiment, models.base, runs, image_sets(context, concepts), prior_sets(context, concepts)
    )
    (request,) = requests.values()
    adapter = train_adapter.fn(context, request).final
    summary = TrainingSummary.read(adapter.folder)
    assert summary.step == 2
    assert summary.image_count == 3 + len(request.prior.images.files if request.prior else ())
    header = read_metadata(adapter.folder / "adapter.safetensors")
    assert (header["concept"], header["captions"]) == (concepts[0].name, experiment.captions[0])


def test_kohya_keys_become_settings(imported: Callable[..., tuple[ImportResult, Experiment]]) -> None:
    result, experiment = imported("kohya training")
    (adapter,) = experiment.algorithms
    assert (adapter.algorithm, adapter.rank, adapter.alpha, experiment.seeds, experiment.name) == (
        "lora", 4, 2.0, (7,), "dog",
    )  # fmt: skip
    assert experiment.training == {
        "batch_size": 2, "caption_dropout": 0.0, "warmup_steps": 0, "steps": 2, "learning_rate": 1e-3, "clip_norm": 1.0,
        "cycles": 1, "prior_weight": 0.5, "schedule": "cosine", "optimizer": "adamw", "shuffle_tags": True,
        "keep_tokens": 2,
    }  # fmt: skip
    assert experiment.captions == ("sentence",)
    assert result.left_over.keys() == {"v2 = False", "learning_rate = 0.0001", "mixed_precision = fp16"}
    (dog,) = load_concepts(experiment.data, experiment.concepts_file)
    assert (dog.trigger, dog.class_noun, len(dog.prior_images)) == ("sks", "dog", 1)
    assert {image.repeats for image in dog.images} == {10}


def test_a_kohya_dataset_says_repeats_and_words_and_scopes_override_each_other(
    imported: Callable[..., tuple[ImportResult, Experiment]],
) -> None:
    result, experiment = imported("kohya dataset")
    (dog,) = load_concepts(experiment.data, experiment.concepts_file)
    assert {image.repeats for image in dog.images} == {3}
    assert [image.words for image in dog.prior_images] == ["dog"]
    assert experiment.training["keep_tokens"] == 1
    assert {"general.caption_extension = .txt", "datasets[0].resolution = 512"} <= result.left_over.keys()
    assert any("`train_data_dir` and `reg_data_dir` are not used" in note for note in result.notes)


def test_onetrainer_keys_become_settings(imported: Callable[..., tuple[ImportResult, Experiment]]) -> None:
    result, experiment = imported("OneTrainer", trigger="sks", class_noun="dog")
    (adapter,) = experiment.algorithms
    assert (adapter.algorithm, adapter.rank, adapter.alpha, adapter.preset) == ("loha", 3, 1.0, "unet-attn-mlp")
    assert experiment.training["horizontal_flip"] is True
    assert experiment.training["shuffle_tags"] is True
    assert experiment.training["betas"] == (0.9, 0.999)
    assert experiment.training["epochs"] == 1
    assert result.left.decide == {"text_encoder.learning_rate = 1e-05": ""}
    assert result.left.instead == {
        "model_type = STABLE_DIFFUSION_15": "read from the base's files",
        "resolution = 512": "images are trained at the base's own resolution",
        "optimizer.fused = True": "PyTorch's choice",
        "concepts[1].enabled = False": "concept `off` is switched off and left out",
    }
    assert not result.left.no_effect
    (dog,) = load_concepts(experiment.data, experiment.concepts_file)
    assert (dog.trigger, dog.class_noun) == ("sks", "dog")


def test_a_warm_up_that_is_longer_than_the_training_is_shortened(folder: Path) -> None:
    bare = {name: ONETRAINER[name] for name in ("training_method", "base_model_name", "concept_file_name", "epochs")}
    files = write(folder, {"config.json": bare, "training_concepts/concepts.json": ONETRAINER_CONCEPTS})
    result = import_config(files[:1], folder / "out")
    assert yaml.safe_load(result.experiment.read_text())["training"]["warmup_steps"] == 3
    assert any("warm-up of 200 steps is longer than the training of 3" in note for note in result.notes)


def test_ai_toolkit_keys_become_settings(imported: Callable[..., tuple[ImportResult, Experiment]]) -> None:
    result, experiment = imported("ai-toolkit")
    assert experiment.name == "dog_v1"
    assert experiment.training["learning_rate"] == 1e-3
    assert experiment.training["caption_dropout"] == 0.1
    assert experiment.training["ema_decay"] == 0.99
    left = {text.rpartition(" = ")[0].rpartition(".")[2] for text in result.left_over}
    assert left == {
        "meta", "training_folder", "cache_latents_to_disk", "resolution", "quantize", "noise_scheduler",
    }  # fmt: skip
    (dog,) = load_concepts(experiment.data, experiment.concepts_file)
    assert (dog.trigger, dog.class_noun) == ("sks", "subject")


def test_a_placeholder_in_captions_of_ai_toolkit_is_the_trigger(
    folder: Path, imported: Callable[..., tuple[ImportResult, Experiment]]
) -> None:
    for file in (folder / "img/10_sks dog").glob("*.txt"):
        file.write_text("[trigger] on the grass")
    _, experiment = imported("ai-toolkit")
    request = caption_request(experiment, select_concepts(experiment, experiment.data), None, None)
    (dog,) = caption_concepts.fn(RunContext(experiment.output / "store"), request)
    assert dog.captions == {"sentence": ("sks on the grass",) * 3}


def test_masks_in_a_folder_of_their_own_are_named_with_what_to_do(folder: Path) -> None:
    job = json.loads(json.dumps(AI_TOOLKIT))
    job["config"]["process"][0]["datasets"][0]["mask_path"] = "masks"
    dataset = changed(KOHYA_DATASET, "  num_repeats = 3", '  num_repeats = 3\n  conditioning_data_dir = "masks"')
    training = KOHYA_TRAINING + "masked_loss = true\nmax_token_length = 225\n"
    write(folder, {"job.yaml": job, "dataset.toml": dataset, "train.toml": training})
    of_job = import_config([folder / "job.yaml"], folder / "a").left_over
    of_kohya = import_config([folder / "dataset.toml", folder / "train.toml"], folder / "b")
    for name, left in (("mask_path", of_job), ("conditioning_data_dir", of_kohya.left_over)):
        (reason,) = (reason for text, reason in left.items() if f"{name} = masks" in text)
        assert "`name.mask.png`" in reason
    assert "mask" in of_kohya.left_over["masked_loss = True"]
    written = yaml.safe_load(of_kohya.experiment.read_text())
    assert written["max_token_length"] == 225
    assert "mask" not in written["training"]


def test_simpletuner_keys_become_settings(imported: Callable[..., tuple[ImportResult, Experiment]]) -> None:
    result, experiment = imported("SimpleTuner")
    assert (experiment.seeds, experiment.training["learning_rate"], experiment.training["batch_size"]) == (
        (3,),
        1e-3,
        2,
    )
    (dog,) = load_concepts(experiment.data, experiment.concepts_file)
    assert ({image.repeats for image in dog.images}, [image.words for image in dog.prior_images]) == ({5}, ["dog"])
    assert (dog.trigger, dog.class_noun) == ("sks", "dog")
    assert result.left.decide.keys() == {"optimizer = adamw_bf16"}
    assert "backends[2].dataset_type = text_embeds" in result.left.instead
    assert "report_to = none" in result.left.no_effect


def test_the_command_writes_files_and_names_what_it_could_not_carry_over(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = write(folder, {"train.toml": KOHYA_TRAINING})
    assert main(["import", str(file), "--out", "my-dog", "--json"]) == 0
    printed = capsys.readouterr()
    assert "set otherwise   mixed_precision = fp16  (bf16 where" in printed.err
    assert printed.err.endswith("next            lycoris run my-dog/experiment.yaml\n")
    assert json.loads(printed.out.splitlines()[-1])["left_over"]["v2 = False"] == "read from the base's files"
    assert (folder / "my-dog" / "experiment.yaml").is_file()
    assert main(["import", str(file), "--out", "my-dog"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_folder_captioned_in_part_is_named_as_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "img/10_sks dog/1.txt").unlink()
    (file,) = write(folder, {"train.toml": KOHYA_TRAINING})
    assert main(["import", str(file), "--out", "my-dog"]) == 0
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith("not yet ready   1 of 3 images have no caption")
    assert last.endswith("lycoris run my-dog/experiment.yaml   (it refuses until that is done)")
    experiment = load_experiment(folder / "my-dog/experiment.yaml", (f"output={folder / 'runs'}",))
    with pytest.raises(InputError, match="caption"):
        validate_experiment(experiment)


def test_keys_are_listed_by_what_they_ask_of_the_user() -> None:
    keys = {"xformers = True": "", "config.process[0].save.dtype = fp16": "", "cache_latents = True": "",
            "sample_prompts = a.txt": "", "clip_skip = 2": "", "debiased_estimation_loss = False": "",
            "lr_scheduler = odd": "`constant` is used", "masked_loss = True": "copy them"}  # fmt: skip
    left = sort_left_over(keys, {"masked_loss = True"})
    assert left.decide == {"clip_skip = 2": "", "masked_loss = True": "copy them"}
    assert left.instead == {"lr_scheduler = odd": "`constant` is used"}
    assert left.all.keys() == keys.keys()
    labels = [label for label, _ in left.lines()]
    assert labels == ["to decide", "to decide", "set otherwise", "no effect here"]


def test_a_key_that_another_one_replaces_has_that_as_its_reason() -> None:
    keys = Keys({"unet_lr": 1e-4, "learning_rate": 2e-4, "xformers": True})
    assert keys.number("unet_lr", "learning_rate") == 1e-4
    assert keys.left_over() == {"learning_rate = 0.0002": "`unet_lr` takes precedence", "xformers = True": ""}


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.toml", "x = ", r"a\.toml.*not TOML"),
        ("a.json", "[", r"a\.json.*not JSON"),
        ("a.ini", "x", "must be TOML, JSON or YAML"),
        ("a.yaml", "x: 1", "not of kohya's sd-scripts, OneTrainer, ai-toolkit or SimpleTuner"),
        ("a.toml", changed(KOHYA_TRAINING, '"img"', '"image"'), "`train_data_dir` names the folder `image`"),
        ("a.toml", changed(KOHYA_TRAINING, "network_dim = 4", 'network_dim = "x"'), "`network_dim` must be a number"),
        ("a.toml", changed(KOHYA_TRAINING, "seed = 7", "seed = -1"), "seeds"),
        ("a.toml", changed(KOHYA_TRAINING, '"pocket"', '""'), "name no base model"),
        ("a.toml", 'pretrained_model_name_or_path = "pocket"', "no folder of images"),
    ],
)
def test_what_cannot_be_imported_is_an_error_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, message: str
) -> None:
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=message):
        import_config([folder / name], folder / "out")
    assert not (folder / "out").exists() or not list((folder / "out").iterdir())


def test_other_folders_beside_the_images_are_named(folder: Path) -> None:
    (file,) = write(folder, {"train.toml": KOHYA_TRAINING})
    assert not any("data folder" in note for note in import_config([file], folder / "a").notes)
    (folder / "log").mkdir()
    (note,) = (note for note in import_config([file], folder / "b").notes if "data folder" in note)
    assert "also holds `a`, `log`:" in note


def test_folders_far_apart_are_an_error(folder: Path, tmp_path: Path) -> None:
    far = tmp_path / "a" / "b" / "c" / "d" / "e"
    far.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(far / "0.png")
    (file,) = write(folder, {"dataset.toml": changed(KOHYA_DATASET, '"reg/1_dog"', f'"{far}"')})
    with pytest.raises(InputError, match="must lie in one data folder"):
        import_config([file], folder / "out", base="pocket")
