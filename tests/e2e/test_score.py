"""Scoring what others made, seen from outside: adapter files in several formats, and a folder of pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import lycoris as library
from lycoris.bases import open_base
from lycoris.bases.sampling import GenerationSettings, generate
from lycoris.metrics import METRICS
from tests.e2e.tiny import copy_concept, json_result, run_lycoris

SMALL = (
    "--set", "sampling.steps=2", "--set", "images={train: 3, trigger: 3, alter: 4, style: 2, plain: 2}",
    "--set", "encoders=clip",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Data of two concepts, and files of three kinds that know nothing of this project's runs."""
    folder = tmp_path_factory.mktemp("score")
    for name in ("grumble", "inky"):
        copy_concept(folder / "data", name)
    base = open_base("pocket", device="cpu")
    for name, format, amount in (("lora", "peft", 0.05), ("loha", "lycoris", 0.3)):
        network = library.attach(base.parts, name, preset="attn-only", rank=2, seed=0)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(amount)
        network.save(folder / f"{name}.safetensors", format=format)
        network.detach()
    drawn = folder / "drawn"
    drawn.mkdir()
    prompts = ["a ohw bear in the snow", "a ohw bear in a city", "a ohw bear in the snow"]
    for number, picture in enumerate(
        generate(base, prompts, [1000, 1001, 1002], GenerationSettings(steps=2, guidance=7.0, scheduler="dpm++-2m"))
    ):
        picture.save(drawn / f"{number}.png")
        (drawn / f"{number}.txt").write_text(prompts[number])
    return folder


def score(place: Path, *arguments: str):
    return run_lycoris("score", *arguments, "--data", str(place / "data"), "--out", str(place / "runs"), *SMALL)


@pytest.fixture(scope="module")
def found(place) -> dict:
    files = [str(place / name) for name in ("lora.safetensors", "loha.safetensors", "drawn")]
    return json_result(score(place, *files, "--concept", "grumble", "--raters", "clip_iqa", "--json"))


def test_every_file_is_scored_beside_the_base_in_five_dimensions(found) -> None:
    names = [Path(entry["file"]).name for entry in found["adapters"]]
    assert names == ["lora.safetensors", "loha.safetensors", "drawn"]
    for entry in found["adapters"][:2]:
        dimensions = {METRICS[name.split("/")[0]].dimension for name in entry["scores"]}
        assert dimensions == {"fidelity", "controllability", "diversity", "preservation", "quality"}
        each = entry["scores"]["image_similarity/trigger/clip"]
        assert each["difference"] == pytest.approx(each["value"] - each["base"])
        assert "clip_iqa/alter/clip" in entry["scores"]
        assert "text_preservation/plain/clip" in entry["scores"]
    assert Path(found["report"]).read_text().count("loha") > 0


def test_a_larger_change_drifts_further(found) -> None:
    small, large = (entry["scores"]["style_loss/style/vgg"]["value"] for entry in found["adapters"][:2])
    assert small > 0
    assert small != large


def test_pictures_of_the_base_differ_from_it_in_nothing(found) -> None:
    scores = found["adapters"][2]["scores"]
    assert scores
    for each in scores.values():
        assert each["verdict"] in ("no difference shown", None)
    for name in ("image_similarity/train/clip", "text_similarity/train/clip"):
        assert scores[name]["difference"] == pytest.approx(0, abs=2e-3)


def test_every_two_of_one_concept_stand_beside_each_other(found) -> None:
    pairs = [(Path(pair["first"]).name, Path(pair["second"]).name) for pair in found["differences"]]
    assert pairs[0] == ("lora.safetensors", "loha.safetensors")
    assert len(pairs) == 3
    each = found["differences"][0]["scores"]["image_similarity/alter/clip"]
    assert each["value"] == found["adapters"][0]["scores"]["image_similarity/alter/clip"]["value"]
    assert each["base"] == found["adapters"][1]["scores"]["image_similarity/alter/clip"]["value"]


def test_a_file_of_prompts_takes_the_place_of_the_usual_ones(place) -> None:
    prompts = place / "prompts.json"
    prompts.write_text(json.dumps({"alter": ["{concept} on a beach", "a cat and a ohw bear"]}))
    file = str(place / "lora.safetensors")
    found = json_result(score(place, file, "--concept", "grumble", "--prompts", str(prompts), "--each", "2", "--json"))
    (entry,) = found["adapters"]
    assert {name.split("/")[1] for name in entry["scores"]} == {"alter"}
    assert entry["scores"]["text_similarity/alter/clip"]["count"] == 4


def test_what_is_wrong_is_said_in_the_users_words(place) -> None:
    done = score(place, str(place / "lora.safetensors"))
    assert done.returncode == 2
    assert "add `--concept`, one of grumble, inky" in done.stderr
    done = score(place, str(place / "nothing.safetensors"), "--concept", "grumble")
    assert done.returncode == 2
    assert "There is no adapter file or folder of pictures" in done.stderr
    done = score(place, str(place / "lora.safetensors"), "--concept", "grumbel")
    assert done.returncode == 2
    assert "Did you mean `grumble`" in done.stderr
