"""Captions as a step of the pipeline: an edit changes the keys of what depends on it, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from lycoris import pocket
from lycoris.captions import captioner_digest, tagger_digest
from lycoris.data.concepts import load_concepts
from tasks.artifacts import CaptionedConcept, ImageSet, ModelRef, RunContext, RunSpec, TaggerRef
from tasks.caption import CaptionRequest, caption_concepts, load_templates, write_captions
from tasks.models import resolve_captioner
from tasks.train import train_adapter
from tasks.trainings import AdapterSettings, TrainingRequest

TRAINING = {"steps": 1, "batch_size": 1, "learning_rate": 1e-3}
SETTINGS = AdapterSettings("lora", "attn-only", rank=1, alpha=1.0, training=TRAINING)
TAGS = ["bear, purple, hat, beach", "bear, purple, snow", "bear, purple, hat, city"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two shipped concepts of three images each, with tags beside them."""
    entries = yaml.safe_load((pocket.IMAGES / "concepts.yaml").read_text())["concepts"]
    concepts = {}
    for name in ("grumble", "biscuit"):
        category = entries[name]["category"]
        target = tmp_path / "data" / category / name
        target.mkdir(parents=True)
        for number in range(3):
            shutil.copy(pocket.IMAGES / category / name / f"{number:02d}.png", target)
            (target / f"{number:02d}.txt").write_text(TAGS[number])
        concepts[name] = {key: value for key, value in entries[name].items() if key not in ("inherent", "keep")}
    (tmp_path / "data" / "concepts.yaml").write_text(yaml.safe_dump({"concepts": concepts}))
    return tmp_path / "data"


def request(data: Path, strategies: tuple[str, ...], tagger: str = "sidecar", **options: Any) -> CaptionRequest:
    concepts = tuple(load_concepts(data))
    return CaptionRequest(concepts, "pocket", TaggerRef(tagger, tagger_digest(tagger)), strategies, **options)


def captioned(data: Path, strategies: tuple[str, ...], **options: Any) -> list[CaptionedConcept]:
    context = RunContext(data.parent / "store")
    return caption_concepts.fn(context, request(data, strategies, counts={"train": 2}, **options))


def trained(data: Path, strategies: tuple[str, ...] = ("none", "all", "adjusted")) -> dict[tuple[str, str], str]:
    """Train adapters for a step; (concept, strategy) -> content key."""
    return {
        (concept.name, strategy): train_adapter.fn(
            RunContext(data.parent / "store"),
            TrainingRequest(
                spec=RunSpec(concept.name, "lora", strategy, 0),
                base=ModelRef("pocket", "x"),
                images=ImageSet(concept.images, concept.images_digest),
                captions=concept.captions[strategy],
                settings=SETTINGS,
            ),
        ).final.key
        for concept in captioned(data, strategies)
        for strategy in strategies
    }


def changed(before: dict[Any, str], after: dict[Any, str]) -> set[Any]:
    return {run for run in before if before[run] != after[run]}


def edit(data: Path, name: str, **fields: Any) -> None:
    file = data / "concepts.yaml"
    entries = yaml.safe_load(file.read_text())["concepts"]
    entries[name].update(fields)
    file.write_text(yaml.safe_dump({"concepts": entries}))


def test_an_edited_sidecar_or_concept_file_retrains_what_depends_on_it_and_nothing_else(data: Path) -> None:
    first = trained(data)
    assert trained(data) == first
    (data / "movie_characters" / "grumble" / "01.txt").write_text("bear, purple, snow, umbrella")
    second = trained(data)
    assert changed(first, second) == {("grumble", "all"), ("grumble", "adjusted")}
    edit(data, "grumble", keep=["bear"])
    third = trained(data)
    assert changed(second, third) == {("grumble", "adjusted")}
    edit(data, "biscuit", inherent=["hat"])
    fourth = trained(data)
    assert changed(third, fourth) == {("biscuit", "adjusted")}
    edit(data, "grumble", description="a bear of a kind")
    assert trained(data) == fourth
    (data / "movie_characters" / "grumble" / "01.txt").write_text(TAGS[1])
    edit(data, "grumble", keep=[])
    assert {run: key for run, key in trained(data).items() if run[0] == "grumble"} == {
        run: key for run, key in first.items() if run[0] == "grumble"
    }
    keys = {*first.values(), *second.values(), *third.values(), *fourth.values()}
    assert len(list((data.parent / "store" / "adapter").iterdir())) == len(keys)


def test_the_next_run_uses_exactly_the_sidecars_and_the_concept_file(data: Path) -> None:
    (data / "movie_characters" / "grumble" / "00.txt").write_text("猫 🐈, red\\, white, (o)_(o)\nsaber \\(fate\\)")
    edit(data, "grumble", keep=["bear"], inherent=["snow"])
    by_name = {one.name: one for one in captioned(data, ("all", "adjusted"))}
    grumble = by_name["grumble"]
    assert grumble.captions["all"][0] == "a ohw bear, 猫 🐈, red, white, (o)_(o), saber (fate)"
    assert grumble.captions["adjusted"][1:] == ("a ohw bear, bear, purple", "a ohw bear, bear, purple, hat, city")
    assert {entry["tag"]: entry["why"] for entry in grumble.concept_tags if entry["tag"] in ("bear", "snow")} == {
        "bear": "under `keep` in the concept file", "snow": "under `inherent` in the concept file",
    }  # fmt: skip


def test_no_image_is_tagged_again_when_words_change(data: Path) -> None:
    assert not any(one.cached for one in captioned(data, ("none",), tagger="pocket"))
    edit(data, "grumble", keep=["bear"], trigger="gqp")
    assert all(one.cached for one in captioned(data, ("none", "all"), tagger="pocket"))


def test_sentences_are_captions_of_their_own(data: Path) -> None:
    found = captioned(data, ("sentence",), tagger="pocket", captioner=resolve_captioner("pocket"))
    for concept in found:
        assert all(
            text.startswith(f"a {concept.trigger} {concept.class_noun}, a") for text in concept.captions["sentence"]
        )
        assert concept.captioned_by == {
            "sentence": {"captioner": "pocket", "captioner.digest": captioner_digest("pocket")}
        }
    again = captioned(data, ("sentence",), tagger="pocket", captioner=resolve_captioner("pocket"))
    assert [one.captions for one in again] == [one.captions for one in found]
    assert all(one.cached for one in again)


def test_sidecars_override_the_tagger_and_two_classes_may_share_a_file_name(data: Path) -> None:
    (data / "movie_characters" / "grumble" / "01.txt").write_text("")
    (data / "stuffed_toys" / "biscuit" / "01.txt").write_text("猫 🐈")
    found = {one.name: one.captions["all"] for one in captioned(data, ("all",), tagger="pocket")}
    assert found["grumble"][0] == "a ohw bear, bear, purple, hat, beach"
    assert found["grumble"][1] == "a ohw bear"
    assert found["biscuit"][1].endswith(", 猫 🐈")
    assert found["biscuit"][0] != found["grumble"][0]


def test_captions_of_a_thousand_words_are_reported_as_too_long(data: Path) -> None:
    (data / "movie_characters" / "grumble" / "01.txt").write_text(", ".join(f"word{n}" for n in range(1000)))
    context, templates = RunContext(data.parent / "store"), load_templates("pocket", None)
    (grumble,) = write_captions(context, request(data, ("none", "all"), names=("grumble",)), templates)
    assert grumble.captions["all"][1].count("word") == 1000
    assert any("1 of 3 captions of `grumble` under `all` are longer" in message for message in grumble.messages)


def test_duplicates_are_noted_by_content_and_by_look(data: Path) -> None:
    folder = next(path.parent for path in data.rglob("00.png") if path.parent.name == "grumble")
    shutil.copy(folder / "00.png", folder / "03.png")
    Image.open(folder / "01.png").resize((96, 96), Image.Resampling.BICUBIC).save(folder / "04.jpg", quality=90)
    for name in ("03.txt", "04.txt"):
        (folder / name).write_text(TAGS[0])
    context, templates = RunContext(data.parent / "store"), load_templates("pocket", None)
    for _ in range(2):  # the second time from the cache
        results = {r.concept.name: r for r in write_captions(context, request(data, ("all",)), templates)}
        text = "\n".join(results["grumble"].messages)
        assert "`grumble` has files with the same bytes" in text
        assert "`00.png` = `03.png`" in text
        assert "`grumble` has images that look the same: `01.png` = `04.jpg`." in text
        assert "the same" not in "\n".join(results["biscuit"].messages)
