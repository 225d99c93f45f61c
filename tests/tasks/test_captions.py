"""Captions as a step of the pipeline: an edit changes the keys of what depends on it, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lycoris import pocket
from lycoris.captions import tagger_digest
from tasks.artifacts import CaptionedConcept, RunContext, RunSpec, TaggerRef
from tasks.caption import caption_concepts
from tasks.train import train_adapter

SETTINGS = {
    "algorithm": "lora", "preset": "attn-only", "rank": 1, "alpha": 1.0,
    "training": {"steps": 1, "batch_size": 1, "learning_rate": 1e-3},
}  # fmt: skip
TAGS = ["bear, purple, hat, beach", "bear, purple, snow", "bear, purple, hat, city"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two shipped concepts of three pictures each, with tags beside them."""
    entries = yaml.safe_load((pocket.IMAGES / "concepts.yaml").read_text())["concepts"]
    kept = {}
    for name in ("grumble", "biscuit"):
        category = entries[name]["category"]
        target = tmp_path / "data" / category / name
        target.mkdir(parents=True)
        for number in range(3):
            shutil.copy(pocket.IMAGES / category / name / f"{number:02d}.png", target)
            (target / f"{number:02d}.txt").write_text(TAGS[number])
        kept[name] = {key: value for key, value in entries[name].items() if key not in ("inherent", "keep")}
    (tmp_path / "data" / "concepts.yaml").write_text(yaml.safe_dump({"concepts": kept}))
    return tmp_path / "data"


def captioned(data: Path, strategies: tuple[str, ...], **options: Any) -> list[CaptionedConcept]:
    source = options.pop("tagger", "sidecar")
    return caption_concepts.fn(
        RunContext(data.parent / "store"), data=data, concepts_file=None, names=None,
        tagger=TaggerRef(source, tagger_digest(source)), base="pocket", strategies=strategies, counts={"train": 2}, seed=0,  # noqa: E501
        **options,
    )  # fmt: skip


def trained(data: Path, strategies: tuple[str, ...] = ("none", "all", "adjusted")) -> dict[tuple[str, str], str]:
    """Adapters are trained for a step; (concept, strategy) -> the content key."""
    return {
        (concept.name, strategy): train_adapter.fn(
            RunContext(data.parent / "store"), RunSpec(concept.name, "lora", strategy, 0), base="pocket", base_digest="x",  # noqa: E501
            pictures=concept.images, picture_digest=concept.images_digest, captions=concept.captions[strategy],
            settings=SETTINGS,
        ).final.key
        for concept in captioned(data, strategies)
        for strategy in strategies
    }  # fmt: skip


def changed(before: dict[Any, str], after: dict[Any, str]) -> set[Any]:
    return {cell for cell in before if before[cell] != after[cell]}


def edit(data: Path, name: str, **fields: Any) -> None:
    file = data / "concepts.yaml"
    entries = yaml.safe_load(file.read_text())["concepts"]
    entries[name].update(fields)
    file.write_text(yaml.safe_dump({"concepts": entries}))


def test_an_edited_sidecar_or_concept_file_trains_anew_what_depends_on_it_and_nothing_else(data: Path) -> None:
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
    assert {cell: key for cell, key in trained(data).items() if cell[0] == "grumble"} == {
        cell: key for cell, key in first.items() if cell[0] == "grumble"
    }
    keys = {*first.values(), *second.values(), *third.values(), *fourth.values()}
    assert len(list((data.parent / "store" / "adapter").iterdir())) == len(keys)


def test_the_next_run_uses_exactly_what_the_sidecars_and_the_concept_file_say(data: Path) -> None:
    (data / "movie_characters" / "grumble" / "00.txt").write_text("猫 🐈, red\\, white, (o)_(o)\nsaber \\(fate\\)")
    edit(data, "grumble", keep=["bear"], inherent=["snow"])
    by_name = {one.name: one for one in captioned(data, ("all", "adjusted"))}
    grumble = by_name["grumble"]
    assert grumble.captions["all"][0] == "a ohw bear, 猫 🐈, red, white, (o)_(o), saber (fate)"
    assert grumble.captions["adjusted"][1:] == ("a ohw bear, bear, purple", "a ohw bear, bear, purple, hat, city")
    assert {entry["tag"]: entry["why"] for entry in grumble.concept_tags if entry["tag"] in ("bear", "snow")} == {
        "bear": "under `keep` in the concept file", "snow": "under `inherent` in the concept file",
    }  # fmt: skip


def test_no_picture_is_tagged_again_when_words_change(data: Path) -> None:
    assert not any(one.cached for one in captioned(data, ("none",), tagger="pocket"))
    edit(data, "grumble", keep=["bear"], trigger="gqp")
    assert all(one.cached for one in captioned(data, ("none", "all"), tagger="pocket"))


def test_sentences_are_captions_of_their_own(data: Path) -> None:
    from lycoris.captions import captioner_digest

    found = captioned(data, ("sentence",), tagger="pocket", captioner=("pocket", captioner_digest("pocket")))
    for concept in found:
        assert all(
            text.startswith(f"a {concept.trigger} {concept.class_noun}, a") for text in concept.captions["sentence"]
        )
    again = captioned(data, ("sentence",), tagger="pocket", captioner=("pocket", captioner_digest("pocket")))
    assert [one.captions for one in again] == [one.captions for one in found]
    assert all(one.cached for one in again)


def test_texts_beside_pictures_go_before_the_tagger_and_two_classes_may_share_a_file_name(data: Path) -> None:
    (data / "movie_characters" / "grumble" / "01.txt").write_text("")
    (data / "stuffed_toys" / "biscuit" / "01.txt").write_text("猫 🐈")
    found = {one.name: one.captions["all"] for one in captioned(data, ("all",), tagger="pocket")}
    assert found["grumble"][0] == "a ohw bear, bear, purple, hat, beach"
    assert found["grumble"][1] == "a ohw bear"
    assert found["biscuit"][1].endswith(", 猫 🐈")
    assert found["biscuit"][0] != found["grumble"][0]


def test_a_thousand_words_are_told_to_be_too_long(data: Path) -> None:
    from tasks.caption import load_templates, write_captions

    (data / "movie_characters" / "grumble" / "01.txt").write_text(", ".join(f"word{n}" for n in range(1000)))
    grumble = next(
        one
        for one in write_captions(
            RunContext(data.parent / "store"), data=data, concepts_file=None, names=["grumble"],
            tagger=TaggerRef("sidecar", tagger_digest("sidecar")), captioner=None, base="pocket",
            strategies=("none", "all"), templates=load_templates("pocket", None), stop=False,
        )
    )  # fmt: skip
    assert grumble.captions["all"][1].count("word") == 1000
    assert any("1 of 3 captions of `grumble` under `all` are longer" in note for note in grumble.messages)
