"""`lycoris score` on adapter files in several formats and on a folder of images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import lycoris as library
from lycoris.bases import open_base
from lycoris.bases.sampling import GenerationSettings, generate
from lycoris.metrics import METRICS
from lycoris.pocket.world.look_alikes import draw_look_alikes
from tests.e2e.tiny import copy_concept, json_result, run_lycoris

SMALL = (
    "--set", "sampling.steps=2", "--set", "images={train: 3, trigger: 3, alter: 4, style: 2, plain: 2}",
    "--set", "encoders=clip",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Data of two concepts, and files of three kinds that were not made by a run of this project."""
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
    generated = folder / "generated"
    generated.mkdir()
    prompts = ["a ohw bear in the snow", "a ohw bear in a city", "a ohw bear in the snow"]
    for number, image in enumerate(
        generate(base, prompts, [1000, 1001, 1002], GenerationSettings(steps=2, guidance=7.0, scheduler="dpm++-2m"))
    ):
        image.save(generated / f"{number}.png")
        (generated / f"{number}.txt").write_text(prompts[number])
    shutil.copytree(generated, folder / "uncaptioned", ignore=shutil.ignore_patterns("*.txt"))
    return folder


def score(folder: Path, *arguments: str):
    return run_lycoris("score", *arguments, "--data", str(folder / "data"), "--out", str(folder / "runs"), *SMALL)


@pytest.fixture(scope="module")
def result(folder) -> dict:
    files = [str(folder / name) for name in ("lora.safetensors", "loha.safetensors", "generated", "uncaptioned")]
    gallery = folder / "look-alikes"
    gallery.mkdir()
    for number, (_, image) in enumerate(draw_look_alikes("grumble", 8)):
        image.save(gallery / f"{number}.png")
    measures = ("--quality-predictors", "clip_iqa,vqa_score=pocket,colour_drift", "--look-alikes", str(gallery))
    options = ("--concept", "grumble", "--captions", "sentence", *measures, "--json")
    return json_result(score(folder, *files, *options))


def test_measures_with_a_network_of_their_own_and_look_alikes_are_scored_where_they_are_named(result) -> None:
    for entry in result["adapters"][:2]:
        assert {"retrieval_precision/trigger/clip", "vqa_score/alter/pocket", "colour_drift/style/cielab"} <= set(
            entry["scores"]
        )
        assert 0 < entry["scores"]["vqa_score/alter/pocket"]["value"] < 1
        assert entry["scores"]["colour_drift/style/cielab"]["base"] == 0
        assert not any(name.startswith(("pick_score", "copy_rate", "density")) for name in entry["scores"])


def test_every_file_is_scored_against_the_base_in_five_dimensions(result) -> None:
    names = [Path(entry["file"]).name for entry in result["adapters"]]
    assert names == ["lora.safetensors", "loha.safetensors", "generated", "uncaptioned"]
    for entry in result["adapters"][:2]:
        dimensions = {METRICS[name.split("/")[0]].dimension for name in entry["scores"]}
        assert dimensions == {"fidelity", "controllability", "diversity", "preservation", "quality"}
        each = entry["scores"]["image_similarity/trigger/clip"]
        assert each["difference"] == pytest.approx(each["value"] - each["base"])
        assert "clip_iqa/alter/clip" in entry["scores"]
        assert "text_preservation/plain/clip" in entry["scores"]
    assert Path(result["report"]).read_text().count("loha") > 0


def test_the_base_generates_once_for_all_files_of_a_concept(result) -> None:
    store = Path(result["report"]).parents[1] / "store" / "images"
    own = [file for file in store.rglob("*.png")]
    counts = {"train": 3, "trigger": 3, "alter": 4, "style": 2, "plain": 2}
    of_folder = 3  # the base's for the prompts of the folder of images
    assert len(own) == 3 * sum(counts.values()) + of_folder  # two adapters, and the base once


def test_a_larger_change_drifts_further(result) -> None:
    small, large = (entry["scores"]["style_loss/style/vgg"]["value"] for entry in result["adapters"][:2])
    assert 0 < small < large


def test_images_of_the_base_do_not_differ_from_it(result) -> None:
    scores = result["adapters"][2]["scores"]
    assert scores
    for each in scores.values():
        assert each["verdict"] == (None if each["difference_low"] is None else "no difference shown")
    for name in ("image_similarity/train/clip", "text_similarity/train/clip"):
        assert scores[name]["difference"] == pytest.approx(0, abs=2e-3)


def test_images_without_captions_have_the_scores_of_images_alone(result) -> None:
    captioned, uncaptioned = result["adapters"][2:]
    without = {name for name in captioned["scores"] if METRICS[name.split("/")[0]].needs_prompts("train")}
    assert {"text_similarity/train/clip"} <= without
    assert uncaptioned["scores"].keys() == captioned["scores"].keys() - without
    assert set(uncaptioned["not_computed"]) >= {name.rpartition("/")[0] for name in without}
    for name, each in uncaptioned["scores"].items():
        assert each["value"] == captioned["scores"][name]["value"]
        assert (each["base"], each["difference"], each["verdict"]) == (None, None, None)
    page = Path(result["report"]).read_text()
    assert "images of train count as unknown" in page
    assert "text_similarity/train" in page


def test_any_two_files_of_one_concept_are_compared(result) -> None:
    pairs = [(Path(pair["first"]).name, Path(pair["second"]).name) for pair in result["differences"]]
    assert pairs[0] == ("lora.safetensors", "loha.safetensors")
    assert len(pairs) == 6
    each = result["differences"][0]["scores"]["image_similarity/alter/clip"]
    assert each["value"] == result["adapters"][0]["scores"]["image_similarity/alter/clip"]["value"]
    assert each["base"] == result["adapters"][1]["scores"]["image_similarity/alter/clip"]["value"]


def test_a_prompt_file_replaces_the_default_prompts(folder) -> None:
    prompts = folder / "prompts.json"
    prompts.write_text(json.dumps({"alter": ["{concept} on a beach", "a cat and a ohw bear"]}))
    file = str(folder / "lora.safetensors")
    result = json_result(
        score(folder, file, "--concept", "grumble", "--prompts", str(prompts), "--images-per-prompt", "2", "--json")
    )
    (entry,) = result["adapters"]
    assert {name.split("/")[1] for name in entry["scores"]} == {"alter"}
    assert entry["scores"]["text_similarity/alter/clip"]["count"] == 4


def test_prompts_of_training_captions_may_be_sentences(folder, result) -> None:
    assert "text_similarity/train/clip" in result["adapters"][0]["scores"]
    files = (folder / "runs" / "store" / "images").glob("*/prompts.json")
    texts = {prompt["text"] for file in files for prompt in json.loads(file.read_text()).get("train", [])}
    assert any(" wearing " in text for text in texts), texts  # which no tag of the pocket's tagger says


def test_invalid_requests_are_errors_that_name_the_option(folder) -> None:
    done = score(folder, str(folder / "lora.safetensors"))
    assert done.returncode == 2
    assert "add `--concept`, one of grumble, inky" in done.stderr
    done = score(folder, str(folder / "nothing.safetensors"), "--concept", "grumble")
    assert done.returncode == 2
    assert "There is no adapter file or folder of images" in done.stderr
    done = score(folder, str(folder / "lora.safetensors"), "--concept", "grumbel")
    assert done.returncode == 2
    assert "Did you mean `grumble`" in done.stderr
