"""Taggers: a classifier folder gives tags by confidence, and one tag at most in exclusive categories."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from lycoris import pocket
from lycoris.captions import open_tagger, read_sidecar_tags, tagger_digest
from lycoris.captions.sidecar import format_tags, parse_tags, write_sidecar_tags
from lycoris.captions.taggers.labels import Label, humanize_tag
from lycoris.captions.taggers.thresholding import resolve_thresholds, select_tags
from lycoris.data.images import read_image
from lycoris.errors import InputError
from lycoris.pocket.world.generator import draw_image, sample_split_tags


def noise(seed: int, size: tuple[int, int] = (40, 24)) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_a_folder_opens_as_a_tagger_with_its_tags(tagger_folder: Path) -> None:
    tagger = open_tagger(tagger_folder)
    assert tagger.name == "tagger"
    assert tagger.categories == {
        "cat": "species", "bear": "species", "long hair": "general", "^_^": "general", "some one": "character",
    }  # fmt: skip


def test_tags_are_those_of_the_bare_network_above_the_thresholds(tagger_folder: Path) -> None:
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    images = [noise(seed) for seed in range(3)]
    model = AutoModelForImageClassification.from_pretrained(tagger_folder).eval()
    processor = AutoImageProcessor.from_pretrained(tagger_folder)
    with torch.no_grad():
        expected = model(**processor(images, return_tensors="pt", resample=3)).logits.sigmoid()
    thresholds = {"species": 0.001, "general": 0.001, "character": 0.999}
    tags_of_images = open_tagger(tagger_folder, thresholds=thresholds).tags(images)
    for tags, row in zip(tags_of_images, expected.tolist(), strict=True):
        assert set(tags) == {"cat" if row[0] > row[1] else "bear", "long hair", "^_^"}
        assert tags["long hair"] == pytest.approx(row[2], abs=0.02)
        assert list(tags.values()) == sorted(tags.values(), reverse=True)


def test_batches_change_no_tag(tagger_folder: Path) -> None:
    tagger = open_tagger(tagger_folder, thresholds={"general": 0.01, "species": 0.01})
    images = [noise(seed) for seed in range(5)]
    together = tagger.tags(images)
    for image, tags in zip(images, together, strict=True):
        alone = tagger.tags([image])[0]
        assert alone.keys() == tags.keys()
        assert all(alone[tag] == pytest.approx(tags[tag], abs=1e-3) for tag in tags)


def test_no_images_give_no_tags(tagger_folder: Path) -> None:
    assert open_tagger(tagger_folder).tags([]) == []


def test_an_exclusive_category_gives_its_best_tag_and_others_give_all() -> None:
    labels = [Label(*pair) for pair in (("cat", "species"), ("bear", "species"), ("a", "general"), ("b", "general"))]
    thresholds = {"species": 0.5, "general": 0.35}
    assert select_tags([0.6, 0.9, 0.4, 0.7], labels, thresholds) == {"bear": 0.9, "b": 0.7, "a": 0.4}
    assert select_tags([0.4, 0.3, 0.3, 0.2], labels, thresholds) == {}


def test_ratings_give_no_tags() -> None:
    assert select_tags([0.99], [Label("safe", "rating")], {"general": 0.1}) == {}


def test_a_threshold_for_ratings_gives_the_likeliest_one(tagger_folder: Path) -> None:
    tagger = open_tagger(tagger_folder, thresholds={"rating": 0.01})
    assert tagger.categories["safe"] == "rating"
    assert all("safe" in tags for tags in tagger.tags([noise(0)]))
    labels = [Label("safe", "rating"), Label("general", "rating"), Label("hat", "general")]
    assert list(select_tags([0.6, 0.7, 0.5], labels, {"rating": 0.01, "general": 0.35})) == ["general", "hat"]


@pytest.mark.parametrize(
    ("written", "read"),
    [("long_hair", "long hair"), ("^_^", "^_^"), ("o_o", "o_o"), ("(o)_(o)", "(o)_(o)"), ("||_||", "||_||"),
     ("saber_(fate)", "saber (fate)"), ("1girl", "1girl"), ("青い_髪", "青い 髪")],
)  # fmt: skip
def test_underscores_become_spaces_except_in_emoticons(written: str, read: str) -> None:
    assert humanize_tag(written) == read


def test_without_a_tag_list_the_names_come_from_the_configuration(tagger_folder: Path) -> None:
    (tagger_folder / "selected_tags.csv").unlink()
    file = tagger_folder / "config.json"
    config = json.loads(file.read_text())
    config["id2label"] = {str(index): f"tag_{index}" for index in range(6)}
    config["label2id"] = {f"tag_{index}": index for index in range(6)}
    file.write_text(json.dumps(config))
    assert open_tagger(tagger_folder).categories == {f"tag {index}": "general" for index in range(6)}


def test_the_digest_depends_on_files_and_thresholds_but_not_on_the_folder_s_name(tagger_folder: Path) -> None:
    before = tagger_digest(tagger_folder)
    assert open_tagger(tagger_folder).digest == before
    moved = tagger_folder.parent / "moved"
    shutil.copytree(tagger_folder, moved)
    assert tagger_digest(moved) == before
    assert open_tagger(moved, thresholds={"species": 0.9}).digest != before
    file = moved / "selected_tags.csv"
    file.write_text(file.read_text().replace("bear", "wolf"))
    assert tagger_digest(moved) != before


def test_a_tag_list_of_another_length_is_an_error(tagger_folder: Path) -> None:
    file = tagger_folder / "selected_tags.csv"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]))
    with pytest.raises(InputError, match="names 5 tags for 6 outputs"):
        open_tagger(tagger_folder)


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "name,category\ncat\n", "name,category\ncat,0\ncat,0\n"])
def test_a_malformed_tag_list_is_an_error_that_names_it(tagger_folder: Path, content: str) -> None:
    (tagger_folder / "selected_tags.csv").write_text(content)
    with pytest.raises(InputError, match="tagger"):
        open_tagger(tagger_folder)


def test_an_unknown_source_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean `pocket`"):
        open_tagger("poket")
    with pytest.raises(InputError, match="no/such/folder"):
        tagger_digest("no/such/folder")


@pytest.mark.parametrize(
    ("thresholds", "message"), [({"genral": 0.5}, "Did you mean `general`"), ({"general": 1.5}, "1.5")]
)
def test_thresholds_are_checked(tagger_folder: Path, thresholds: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_tagger(tagger_folder, thresholds=thresholds)


@pytest.mark.skipif(not pocket.TAGGER.is_dir(), reason="the embedded tagger is not built yet")
def test_the_pocket_tagger_generalizes_to_unseen_images() -> None:
    rng = random.Random(5)
    tags = [sample_split_tags(rng, held_out=True) for _ in range(60)]
    tags_of_images = open_tagger().tags([draw_image(each, rng) for each in tags])
    right = sum(len(set(each.to_list()) & set(seen)) for each, seen in zip(tags, tags_of_images, strict=True))
    assert 2 * right / (sum(map(len, tags_of_images)) + sum(len(each.to_list()) for each in tags)) >= 0.9


def test_sidecars_are_read_in_the_order_of_the_images(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1girl, long hair,  red   hat ,1girl,,\nnight", encoding="utf-8-sig")
    (tmp_path / "b.txt").write_text("")
    assert read_sidecar_tags([tmp_path / "b.png", tmp_path / "a.jpg"]) == [
        {}, {"1girl": 1.0, "long hair": 1.0, "red hat": 1.0, "night": 1.0},
    ]  # fmt: skip


def test_a_sidecar_may_hold_commas_brackets_and_any_script() -> None:
    assert parse_tags(r"saber \(fate\), hello\, world, 猫 🐈, [x]") == ["saber (fate)", "hello, world", "猫 🐈", "[x]"]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text("\\,()[]_a猫", min_size=1, max_size=6), unique=True, max_size=5))
@example(["\\", "a,b", "\\,", "(o)_(o)", "[x]", "\\m/"])
def test_written_tags_are_read_back_unchanged(tags: list[str]) -> None:
    assert parse_tags(format_tags(tags)) == tags


def test_existing_sidecars_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    pictures = [tmp_path / "a.png", tmp_path / "b.png"]
    assert write_sidecar_tags(pictures, [{"x": 0.9}, {"red, white": 0.9, "猫": 0.8}]) == [tmp_path / "b.txt"]
    assert read_sidecar_tags(pictures) == [{"mine": 1.0}, {"red, white": 1.0, "猫": 1.0}]


def test_two_images_with_one_text_file_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    for read in (read_sidecar_tags, lambda pictures: write_sidecar_tags(pictures, [{}, {}])):
        with pytest.raises(InputError, match=r"share the text file .*a\.txt"):
            read([tmp_path / "a.png", tmp_path / "a.jpg"])


def test_errors_name_a_missing_or_unreadable_sidecar(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"1 of 2 images.*b\.txt"):
        read_sidecar_tags([tmp_path / "a.png", tmp_path / "b.png"])
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"b\.txt.*UTF-8"):
        read_sidecar_tags([tmp_path / "b.png"])


def test_the_sidecar_tagger_finds_the_file_next_to_an_image(tmp_path: Path) -> None:
    noise(0).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("mug, blue")
    tagger = open_tagger("sidecar")
    assert tagger.tags([read_image(tmp_path / "a.png")]) == [{"mug": 1.0, "blue": 1.0}]
    assert tagger.digest == tagger_digest("sidecar")
    with pytest.raises(InputError, match="image without a file"):
        tagger.tags([noise(0)])


def test_nothing_is_written_where_a_linked_folder_leads_or_where_a_caption_of_another_form_is(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    data = tmp_path / "data"
    data.mkdir()
    (data / "linked").symlink_to(tmp_path / "store")
    with pytest.raises(InputError, match=r"linked/a\.txt.*its folder is a link"):
        write_sidecar_tags([data / "b.png", data / "linked" / "a.png"], [{"x": 1.0}, {"x": 1.0}], data)
    (data / "c.caption").write_text("a cat")
    (tmp_path / "store" / "blob").write_bytes(b"")
    (data / "b.png").symlink_to(tmp_path / "store" / "blob")
    written = write_sidecar_tags([data / "b.png", data / "c.png"], [{"x": 1.0}, {"x": 1.0}], data)
    assert written == [data / "b.txt"]
    assert [file.name for file in (tmp_path / "store").iterdir()] == ["blob"]


def test_thresholds_are_those_of_the_category_raised_to_the_lowest_and_reached_when_equal():
    labels = [Label(name, category) for name, category in [("hat", "general"), ("bob", "character"), ("oil", "medium")]]
    assert resolve_thresholds(labels) == {"general": 0.35, "character": 0.85, "medium": 0.5}
    assert resolve_thresholds(labels, {"general": 0.2}, lowest=0.6) == {
        "general": 0.2,
        "character": 0.85,
        "medium": 0.6,
    }
    assert select_tags([0.35, 0.85, 0.5], labels, resolve_thresholds(labels)) == {"bob": 0.85, "oil": 0.5, "hat": 0.35}
    assert select_tags([0.349, 0.849, 0.499], labels, resolve_thresholds(labels)) == {}
