"""Folders as kohya's trainers expect them: repeats, trigger, class noun and prior images are in the names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from PIL import Image

from lycoris.captions.default_templates import templates_for_base
from lycoris.captions.prior import prior_captions
from lycoris.data.concepts import load_concepts, prior_digest
from lycoris.data.kohya_folders import KohyaFolder
from lycoris.errors import InputError


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Write images at some places of a data folder."""

    def write(*places: str) -> Path:
        for number, place in enumerate(places):
            file = tmp_path / "data" / place
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (number, 50, 50)).save(file)
        return tmp_path / "data"

    return write


def test_trigger_noun_repeats_and_prior_images_come_from_the_names(
    tree: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    root = tree("img/10_sks dog/0.png", "img/10_sks dog/1.png", "img/2_sks dog/2.png", "reg/1_dog/0.png")
    (dog,) = load_concepts(root)
    assert (dog.name, dog.trigger, dog.class_noun, dog.category) == ("sks dog", "sks", "dog", "img")
    assert [(image.relative_path, image.repeats) for image in dog.images] == [
        ("img/10_sks dog/0.png", 10), ("img/10_sks dog/1.png", 10), ("img/2_sks dog/2.png", 2),
    ]  # fmt: skip
    assert [image.relative_path for image in dog.prior_images] == ["reg/1_dog/0.png"]
    assert prior_captions(dog, templates_for_base()) == ["a dog"]
    for text in ("kohya", "`sks`", "`dog`", "(10 repeats)", "reg/1_dog"):
        assert text in caplog.text


def test_prior_images_belong_to_the_concepts_of_their_noun(tree: Callable[..., Path]) -> None:
    root = tree("img/10_sks dog/0.png", "img/5_zwx cat/0.png", "reg/1_dog/0.png", "reg/1_cat/0.png")
    by_name = {concept.name: concept for concept in load_concepts(root)}
    assert {name: [image.words for image in one.prior_images] for name, one in by_name.items()} == {
        "sks dog": ["dog"], "zwx cat": ["cat"],
    }  # fmt: skip
    assert prior_digest(by_name["sks dog"]) != prior_digest(by_name["zwx cat"])


@pytest.mark.parametrize("inner", ["img", "img/10_sks dog"])
def test_the_folder_of_the_images_will_do_as_the_data_folder(tree: Callable[..., Path], inner: str) -> None:
    (dog,) = load_concepts(tree("img/10_sks dog/0.png") / inner)
    assert (dog.trigger, dog.class_noun, dog.images[0].repeats) == ("sks", "dog", 10)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("10_sks dog", (10, "sks", "dog")),
        ("3_a photo of sks golden retriever", (3, "sks", "golden retriever")),
        ("20_johndoe", (20, "johndoe", "subject")),
        ("1_sks_x dog", (1, "sks_x", "dog")),
        ("1_sks, dog", (1, "sks", "dog")),
    ],
)
def test_a_name_is_repeats_trigger_and_noun(tmp_path: Path, name: str, parts: tuple[int, str, str]) -> None:
    folder = KohyaFolder.parse(tmp_path / name)
    assert folder is not None
    assert (folder.repeats, folder.trigger, folder.class_noun) == parts


@pytest.mark.parametrize("name", ["2023_holiday", "dog", "0_sks dog", "10_", "10 sks dog", "x10_sks"])
def test_other_names_are_names(tmp_path: Path, name: str) -> None:
    assert KohyaFolder.parse(tmp_path / name) is None


def test_one_folder_that_is_named_otherwise_makes_it_an_ordinary_data_folder(
    tree: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="lycoris.data")
    names = [concept.name for concept in load_concepts(tree("pets/10_sks dog/0.png", "pets/cat/0.png"))]
    assert names == ["10_sks dog", "cat"]
    assert "pets/cat` is not: no name is read as repeats and trigger" in caplog.text


def test_a_folder_in_img_that_is_named_otherwise_is_not_used_and_named(
    tree: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="lycoris.data")
    (dog,) = load_concepts(tree("img/10_sks dog/0.png", "img/cat/0.png"))
    assert (dog.trigger, len(dog.images)) == ("sks", 1)
    assert "img/cat` is not named `<repeats>_<words>`: its images are not used" in caplog.text


def test_folders_below_belong_to_the_one_with_the_words(tree: Callable[..., Path]) -> None:
    root = tree("img/10_sks dog/0.png", "img/10_sks dog/day/1.png", "reg/1_dog/a/2.png")
    (dog,) = load_concepts(root)
    assert [(image.relative_path, image.repeats) for image in dog.images] == [
        ("img/10_sks dog/0.png", 10), ("img/10_sks dog/day/1.png", 10),
    ]  # fmt: skip
    assert [image.words for image in dog.prior_images] == ["dog"]


def test_numbered_categories_of_the_users_own_are_none_of_kohya(tree: Callable[..., Path]) -> None:
    names = [one.name for one in load_concepts(tree("01_pets/cat/0.png", "02_toys/bear/0.png"))]
    assert names == ["cat", "bear"]


@pytest.mark.parametrize("name", ["0_sks dog", "10_", "10", "1000_sks dog"])
def test_a_folder_in_img_with_a_number_and_no_repeats_or_words_is_an_error(
    tree: Callable[..., Path], name: str
) -> None:
    with pytest.raises(InputError, match=f"Folder `.*{name}` must be named `<repeats>_<trigger> <class noun>`"):
        load_concepts(tree(f"img/{name}/0.png", "img/1_zwx cat/0.png"))


def test_prior_images_alone_are_an_error(tree: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="prior images only"):
        load_concepts(tree("reg/1_dog/0.png"))


def test_prior_images_beside_a_folder_without_repeats_name_it(tree: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"prior images only \(`.*/dog` is not named `<repeats>_"):
        load_concepts(tree("dog/0.png", "reg/1_dog/0.png"))


def test_two_folders_with_one_trigger_are_an_error(tree: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="share the trigger `sks`"):
        load_concepts(tree("img/1_sks dog/0.png", "img/1_sks cat/0.png"))


def write_entry(root: Path, **fields: object) -> None:
    entry = {"category": "toys", "trigger": "sks", "class_noun": "dog", **fields}
    (root / "concepts.yaml").write_text(yaml.safe_dump({"concepts": {"dog": entry}}))


def test_concepts_yaml_names_folders_repeats_and_prior_images(tree: Callable[..., Path]) -> None:
    root = tree("a/b/c/0.png", "mine/1.png", "mine/old/2.png", "mine/dogs/3.png")
    subclasses = {"old": {"trigger": "old"}}
    write_entry(root, folders={"a/b/c": 3, "mine": 1}, prior={"mine/dogs": "small dog"}, subclasses=subclasses)
    (dog,) = load_concepts(root)
    assert [(image.relative_path, image.subclass, image.repeats) for image in dog.images] == [
        ("a/b/c/0.png", None, 3), ("mine/1.png", None, 1), ("mine/old/2.png", "old", 1),
    ]  # fmt: skip
    assert [(image.relative_path, image.words) for image in dog.prior_images] == [("mine/dogs/3.png", "small dog")]
    (root / "mine/dogs/3.txt").write_text("a sleeping dog")
    assert prior_captions(dog, templates_for_base()) == ["a sleeping dog"]
    (root / "mine/dogs/3.txt").write_text("a sleeping Sks dog")
    with pytest.raises(InputError, match=r"3\.png.*must not have the trigger `sks`"):
        prior_captions(dog, templates_for_base())


def test_repeats_are_of_the_concepts_own_folder(tree: Callable[..., Path]) -> None:
    root = tree("toys/dog/0.png")
    write_entry(root, repeats=7)
    assert [image.repeats for image in load_concepts(root)[0].images] == [7]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"folders": "../x"}, r"`folders` must be folders inside the data folder, but got `\.\./x`"),
        ({"folders": {"/etc": 1}}, "inside the data folder"),
        ({"folders": []}, "`folders` must be a path"),
        ({"folders": {"toys/dog": 0}}, "`repeats` must be a whole number from 1, but got `0`"),
        ({"repeats": 1.5}, "`repeats` must be a whole number"),
        ({"prior": "none"}, "has no folder .*none"),
        ({"prior": ["x"]}, "`prior` must be a path"),
        ({"prior": {"toys/dog": 3}}, "must map `toys/dog` to words"),
    ],
)
def test_wrong_folders_are_errors_that_name_the_field(
    tree: Callable[..., Path], fields: dict[str, object], message: str
) -> None:
    root = tree("toys/dog/0.png")
    write_entry(root, **fields)
    with pytest.raises(InputError, match=message):
        load_concepts(root)
