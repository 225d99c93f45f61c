"""Invalid input: the message names the thing and the rule, before anything is started."""

import shutil

import pytest
import yaml
from PIL import Image

from flows.cli.main import main
from lycoris import pocket


@pytest.fixture
def data(tmp_path):
    """A data folder with one concept of three images."""
    folder = tmp_path / "data"
    (folder / "toys" / "bear").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (64, 64), (80 * number, 90, 120)).save(folder / "toys" / "bear" / f"{number}.png")
    entry = {"category": "toys", "trigger": "gqp", "class_noun": "toy"}
    (folder / "concepts.yaml").write_text(yaml.safe_dump({"concepts": {"bear": entry}}))
    return folder


def error_message(capsys, *arguments):
    """Run the command, which must fail, and return what it printed on standard error."""
    code = main(["run", *arguments])
    message = capsys.readouterr().err
    assert code == 2, message
    assert "Traceback" not in message
    return message


def options(data, tmp_path, **more):
    values = {"data": data, "output": tmp_path / "runs", **more}
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def test_an_empty_class_folder_is_named(capsys, data, tmp_path):
    shutil.rmtree(data / "toys" / "bear")
    (data / "toys" / "bear").mkdir()
    assert str(data / "toys" / "bear") in error_message(capsys, *options(data, tmp_path))


def test_a_concept_without_a_trigger_is_named(capsys, data, tmp_path):
    (data / "concepts.yaml").write_text("concepts: {bear: {category: toys, class_noun: toy}}")
    message = error_message(capsys, *options(data, tmp_path))
    assert "bear" in message
    assert "trigger" in message


def test_a_missing_data_folder_is_named(capsys, tmp_path):
    assert "nowhere" in error_message(capsys, *options(tmp_path / "nowhere", tmp_path))


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("algorithms=lokrr", "`lokr`"),
        ("algoritms=lora", "`algorithms`"),
        ("captions=nome", "`none`"),
        ("concepts=baer", "`bear`"),
        ("sampling.scheduler=dddim", "`ddim`"),
        ("encoders=clap", "`clip`"),
        ("algorithms=[{algorithm: lora, preset: atn-only}]", "`attn-only`"),
    ],
)
def test_an_unknown_name_suggests_the_nearest_known_one(capsys, data, tmp_path, option, hint):
    message = error_message(capsys, *options(data, tmp_path), "--set", option)
    assert f"Did you mean {hint}" in message


def test_a_base_without_a_unet_is_an_error_that_names_it(capsys, data, tmp_path):
    shutil.copytree(pocket.BASE, tmp_path / "base")
    shutil.rmtree(tmp_path / "base" / "unet")
    message = error_message(capsys, *options(data, tmp_path, base=tmp_path / "base"))
    assert "unet" in message


def test_an_output_folder_that_cannot_be_written_is_named(capsys, data, tmp_path):
    (tmp_path / "file").write_text("")
    message = error_message(capsys, *options(data, tmp_path, output=tmp_path / "file" / "runs"))
    assert str(tmp_path / "file") in message


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("training.horizontal_flop=true", "`horizontal_flip`"),
        ("training.tag_dropout=2", "[0, 1]"),
        ("training.steps=0", "at least 1"),
    ],
)
def test_an_invalid_training_setting_is_an_error_before_anything_starts(capsys, data, tmp_path, option, hint):
    assert hint in error_message(capsys, *options(data, tmp_path), "--set", option)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("rank=32", "--set 'algorithms=[{algorithm: lora, rank: ...}]'"),
        ("algorithms=lora,rank=32", "--set 'algorithms=[{algorithm: lora, rank: ...}]'"),
        ("optimizer=adamw", "`--set training.optimizer=...`"),
        ("steps=", "the value is empty"),
        ("steps=ten", "Option `steps`: must be a whole number, but got `ten`."),
        ("training.learning_rate=fast", "Option `training.learning_rate`: must be a number, but got `fast`."),
    ],
)
def test_a_wrong_option_is_answered_with_where_it_belongs(capsys, data, tmp_path, option, words):
    assert words in error_message(capsys, *options(data, tmp_path), "--set", option)


def test_an_error_of_an_experiment_file_names_the_file(capsys, data, tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("seed: 3")
    assert f"In `{file}`: Unknown option `seed`" in error_message(capsys, str(file), *options(data, tmp_path))
    file.write_text("seeds: 3")
    assert "In `" not in error_message(capsys, str(file), *options(data, tmp_path), "--set", "seed=3")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runn"], "Did you mean `run`?"),
        (["run", "--steps=20"], "is set with `--set steps=20`"),
        (["run", "--rank=32"], "algorithm: lora, rank: ..."),
        (["run", "--nothing"], "Unknown option `--nothing`."),
        (["score", "x", "--concep", "y"], "Did you mean `--concept`?"),
        (["data", "dif"], "Did you mean `diff`?"),
        (["run", "--set", "--json"], "Option `--set` needs a value"),
        (["server", "--gpus", "two"], "'two' is not a valid integer"),
        (["score", "x", "--data", "y", "--resize-mode", "z"], "'resize', 'crop', 'padding'"),
        (["analyze", "scores.csv"], "Missing option '--out'"),
        (["analyze"], "Missing argument 'METRICS'"),
        (["-v", "--quiet", "run"], "exclude each other"),
        ([], "Missing command"),
    ],
)
def test_a_wrong_command_line_is_one_line_with_a_hint(capsys, arguments, words):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert len(shown.err.splitlines()) == 1
    assert not shown.out
