"""Claims about what a user hears who gave something wrong: which thing, which rule, and at once."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from flows.cli.main import main
from lycoris import pocket

ROOT = Path(__file__).parents[3]


@pytest.fixture
def data(tmp_path):
    """A data folder of one concept with three pictures."""
    folder = tmp_path / "data"
    (folder / "toys" / "bear").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (64, 64), (80 * number, 90, 120)).save(folder / "toys" / "bear" / f"{number}.png")
    entry = {"category": "toys", "trigger": "gqp", "class_noun": "toy"}
    (folder / "concepts.yaml").write_text(yaml.safe_dump({"concepts": {"bear": entry}}))
    return folder


def told(capsys, *arguments):
    code = main(["run", *arguments])
    said = capsys.readouterr().err
    assert code == 2, said
    assert "Traceback" not in said
    return said


def settings(data, tmp_path, **more):
    values = {"data": data, "output": tmp_path / "runs", **more}
    return [part for name, value in values.items() for part in ("--set", f"{name}={value}")]


def test_an_empty_class_folder_is_named(capsys, data, tmp_path):
    shutil.rmtree(data / "toys" / "bear")
    (data / "toys" / "bear").mkdir()
    assert str(data / "toys" / "bear") in told(capsys, *settings(data, tmp_path))


def test_a_concept_without_a_trigger_is_named(capsys, data, tmp_path):
    (data / "concepts.yaml").write_text("concepts: {bear: {category: toys, class_noun: toy}}")
    said = told(capsys, *settings(data, tmp_path))
    assert "bear" in said
    assert "trigger" in said


def test_a_missing_data_folder_is_named(capsys, tmp_path):
    assert "nowhere" in told(capsys, *settings(tmp_path / "nowhere", tmp_path))


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
def test_a_misspelt_name_gets_the_nearest_known_one(capsys, data, tmp_path, option, hint):
    said = told(capsys, *settings(data, tmp_path), "--set", option)
    assert f"Did you mean {hint}" in said


def test_a_base_without_a_unet_is_told_what_it_lacks(capsys, data, tmp_path):
    shutil.copytree(pocket.BASE, tmp_path / "base")
    shutil.rmtree(tmp_path / "base" / "unet")
    said = told(capsys, *settings(data, tmp_path, base=tmp_path / "base"))
    assert "unet" in said


def test_an_output_folder_that_cannot_be_written_is_named(capsys, data, tmp_path):
    (tmp_path / "file").write_text("")
    said = told(capsys, *settings(data, tmp_path, output=tmp_path / "file" / "runs"))
    assert str(tmp_path / "file") in said


def spoil(folder, fault):
    victim = folder / ("7.jpg" if fault == "truncated" else "7.png")
    if fault == "truncated":
        Image.effect_noise((300, 200), 80).convert("RGB").save(victim)
        victim.write_bytes(victim.read_bytes()[:2000])
    elif fault == "text":
        victim.write_text("not a picture")
    else:
        Image.new("RGB", (1, 1)).save(victim)
    return victim


SMALL = {
    "algorithms": "lora", "captions": "all", "steps": 2, "encoders": "clip", "sampling.steps": 2,
    "images": "{train: 0, trigger: 3, alter: 0, style: 0}",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["truncated", "text", "tiny"])
def test_a_bad_picture_is_named_and_set_aside_by_every_step(data, tmp_path, fault):
    victim = spoil(data / "toys" / "bear", fault)
    command = [sys.executable, "-m", "flows.cli", "run", "--json", *map(str, settings(data, tmp_path, **SMALL))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert str(victim) in done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found["adapters"][0]["set_aside"]) == [str(victim)]
    page = json.loads(re.search(r'id="data">(.*?)</script>', Path(found["report"]).read_text(), re.S)[1])
    assert [page["adapters"][0]["pictures"], list(page["adapters"][0]["set_aside"])] == [3, [str(victim)]]
    assert len(page["concepts"][0]["references"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"training.on_invalid_image": "stop"}, {}])
def test_a_bad_picture_stops_the_run_when_told_to_or_when_nothing_is_left(data, tmp_path, change):
    victim = spoil(data / "toys" / "bear", "text")
    if not change:
        for number in range(3):
            spoil(data / "toys" / "bear", "text").rename(data / "toys" / "bear" / f"{number}.png")
        spoil(data / "toys" / "bear", "text")
    command = [sys.executable, "-m", "flows.cli", "run", *map(str, settings(data, tmp_path, **SMALL, **change))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    assert str(victim.parent) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("training.horizontal_flop=true", "`horizontal_flip`"),
        ("training.tag_dropout=2", "[0, 1]"),
        ("training.steps=0", "at least 1"),
    ],
)
def test_a_wrong_training_setting_is_told_before_anything_is_started(capsys, data, tmp_path, option, hint):
    assert hint in told(capsys, *settings(data, tmp_path), "--set", option)
