"""Which tags belong to a concept: counted, explained, and corrected by the concept file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from lycoris import pocket
from lycoris.captions import ConceptTag, find_concept_tags, open_tagger
from lycoris.data.concepts import Concept, load_concepts
from lycoris.data.images import read_image
from lycoris.errors import InputError

Build = Callable[..., Concept]


def seen(*pictures: str) -> list[dict[str, float]]:
    """``"bear hat"`` is a picture with two tags."""
    return [dict.fromkeys(words.split(), 0.9) for words in pictures]


def names(found: list[ConceptTag], subclass: str | None = None) -> set[str]:
    return {entry.tag for entry in found if entry.inherent and entry.subclass == subclass}


BEAR = seen("bear hat", "bear snow", "bear hat snow", "bear", "bear")
CATS = [seen("cat snow", "cat", "cat beach"), seen("dog", "dog snow"), seen("car", "car")]


def test_a_tag_in_nearly_all_pictures_and_rare_elsewhere_is_inherent_with_its_counts(concept: Build) -> None:
    found = find_concept_tags(concept(5), BEAR, CATS)
    assert [(e.tag, e.inside, e.of, e.outside, e.outside_of, e.inherent) for e in found] == [("bear", 5, 5, 0, 7, True)]
    assert "nearly all" in found[0].why


def test_a_frequent_tag_that_is_not_in_nearly_all_is_shown_and_not_inherent(concept: Build) -> None:
    tags = seen("bear hat", "bear hat", "bear hat", "bear", "bear")
    hat = find_concept_tags(concept(5), tags, CATS)[1]
    assert (hat.tag, hat.inside, hat.inherent) == ("hat", 3, False)


def test_four_pictures_of_five_are_nearly_all(concept: Build) -> None:
    assert names(find_concept_tags(concept(5), seen("a", "a", "a", "a", ""), CATS)) == {"a"}


def test_a_tag_that_a_tagger_missed_in_some_pictures_belongs_unless_something_stands_in_its_place(
    concept: Build,
) -> None:
    missed = seen("red hat", "red snow", "red hat", "red snow", "red", "red", "red", "hat", "snow", "hat snow")
    assert names(find_concept_tags(concept(10), missed, CATS)) == {"red"}
    replaced = seen("red hat", "red snow", "red hat", "red snow", "red", "red", "red", "blue hat", "blue", "green")
    (entry,) = (each for each in find_concept_tags(concept(10), replaced, CATS) if each.tag == "red")
    assert (entry.inside, entry.inherent) == (7, False)


def test_what_is_common_elsewhere_is_not_inherent(concept: Build) -> None:
    tags = seen(*["bear outdoors"] * 4)
    others = [seen("cat outdoors"), seen("dog outdoors", "dog outdoors"), seen("car")]
    found = {entry.tag: entry for entry in find_concept_tags(concept(4), tags, others)}
    assert found["bear"].inherent
    assert not found["outdoors"].inherent
    assert (found["outdoors"].outside, found["outdoors"].outside_of) == (3, 4)
    assert "common" in found["outdoors"].why


def test_a_class_of_many_pictures_weighs_no_more_than_one_of_few(concept: Build) -> None:
    others = [seen(*["bear"] * 300), seen("cat"), seen("dog"), seen("car")]
    assert names(find_concept_tags(concept(4), seen(*["bear"] * 4), others)) == {"bear"}


def test_one_more_concept_elsewhere_does_not_change_the_answer(concept: Build) -> None:
    bear = seen(*["bear"] * 4)
    others: list[list[dict[str, float]]] = []
    for another in (bear, seen("cat"), seen("dog"), seen("car"), bear, seen("fish")):
        others.append(another)
        assert names(find_concept_tags(concept(4), bear, others)) == {"bear"}


def test_the_concept_file_adds_and_holds_back(concept: Build) -> None:
    given = concept(5, inherent=("Red_Nose", "hat"), keep=("bear",))
    found = {entry.tag: entry for entry in find_concept_tags(given, BEAR, CATS)}
    assert {tag for tag, entry in found.items() if entry.inherent} == {"Red_Nose", "hat"}
    assert found["Red_Nose"].inside == 0
    assert "none of the images" in found["Red_Nose"].why
    assert "keep" in found["bear"].why


def test_keep_goes_before_inherent(concept: Build) -> None:
    assert names(find_concept_tags(concept(5, inherent=("bear",), keep=("Bear",)), BEAR, CATS)) == set()


def test_two_pictures_are_too_few_to_tell(concept: Build) -> None:
    found = find_concept_tags(concept(2), seen("bear hat", "bear hat"), CATS)
    assert names(found) == set()
    assert {entry.why for entry in found} == {"only 2 images to decide from"}


def test_what_only_one_subclass_shows_belongs_to_that_subclass(dressed: Concept) -> None:
    tags = seen("bear coat hat", "bear coat", "bear coat") + seen("bear robe hat", "bear robe", "bear robe")
    found = find_concept_tags(dressed, tags, CATS)
    assert names(found) == {"bear"}
    assert names(found, "coat") == {"coat"}
    assert names(found, "robe") == {"robe"}


def test_what_all_subclasses_show_belongs_to_the_concept(dressed: Concept) -> None:
    found = find_concept_tags(dressed, seen(*["bear"] * 6), [])
    assert [(entry.tag, entry.subclass) for entry in found] == [("bear", None)]


def test_keep_holds_for_subclasses_too(concept: Build, dressed: Concept) -> None:
    given = concept(["coat"] * 3 + ["robe"] * 3, subclasses=dressed.subclasses, keep=("coat",))
    assert names(find_concept_tags(given, seen(*["bear coat"] * 3, *["bear robe"] * 3), CATS), "coat") == set()


def test_a_style_owns_whatever_style_it_is_taken_for(concept: Build) -> None:
    style = concept(4, category="styles", class_noun="style")
    tags = [{"comic style": 0.9, "cat": 0.8}, {"flat style": 0.7}, {"dog": 0.9}, {"snow": 0.9}]
    assert names(find_concept_tags(style, tags, CATS)) == {"comic style", "flat style"}
    assert names(find_concept_tags(concept(4), tags, CATS)) == set()


def test_case_and_underscores_do_not_make_another_tag(concept: Build) -> None:
    tags = [{"long_hair": 0.9}, {"Long hair": 0.9}, {"long hair": 0.9, "long_hair": 0.8}]
    (entry,) = find_concept_tags(concept(3), tags, CATS)
    assert (entry.inside, entry.of, entry.inherent) == (3, 3, True)


def test_no_tags_at_all_are_no_inherent_ones(concept: Build) -> None:
    assert find_concept_tags(concept(4), [{}] * 4, [[{}], []]) == []


def test_one_entry_a_picture_is_asked_for(concept: Build) -> None:
    with pytest.raises(InputError, match="4, but got 2"):
        find_concept_tags(concept(4), seen("a", "b"))


@pytest.mark.parametrize(("missed", "precise", "complete"), [(0.0, 0.98, 1.0), (0.1, 0.97, 0.94)])
def test_the_true_attributes_of_the_shipped_concepts_are_found_from_twelve_pictures(
    missed: float, precise: float, complete: float
) -> None:
    """Precision and recall of well over 0.9, also when the tagger misses one tag in ten."""
    truth = json.loads(pocket.TRUE_TAGS.read_text())
    right = found = wanted = 0
    for seed in range(40):
        rng = random.Random(seed)
        concepts, tags, shown = [], {}, {}
        for each in load_concepts(pocket.IMAGES):
            if each.subclasses or each.category in ("scenes", "styles"):
                continue
            short = replace(each, images=tuple(rng.sample(each.images, 12)), inherent=None, keep=())
            concepts.append(short)
            shown[each.name] = set.intersection(*(set(truth[picture.relative_path]) for picture in each.images))
            exact = [truth[picture.relative_path] for picture in short.images]
            tags[each.name] = [{tag: 0.9 for tag in one if rng.random() >= missed} for one in exact]
        for each in concepts:
            others = [tags[other.name] for other in concepts if other.name != each.name]
            answer = names(find_concept_tags(each, tags[each.name], others))
            right += len(answer & shown[each.name])
            found += len(answer)
            wanted += len(shown[each.name])
    assert wanted >= 400
    assert right >= precise * found
    assert right >= complete * wanted


def test_what_the_embedded_tagger_sees_of_twelve_pictures_tells_the_attributes_of_individuals() -> None:
    """Of species that it knows; what sets them apart it has never seen together."""
    truth = json.loads(pocket.TRUE_TAGS.read_text())
    concepts = load_concepts(pocket.IMAGES)
    tagger = open_tagger("pocket")
    images = {each.name: [read_image(picture.path) for picture in each.images] for each in concepts}
    found_in = {each.name: dict(zip(each.images, tagger.tags(images[each.name]), strict=True)) for each in concepts}
    right = found = wanted = 0
    for seed in range(20):
        rng = random.Random(seed)
        drawn = {each.name: tuple(rng.sample(each.images, 12)) for each in concepts}
        tags = {name: [found_in[name][picture] for picture in some] for name, some in drawn.items()}
        for each in concepts:
            if each.name not in ("grumble", "biscuit"):
                continue
            short = replace(each, images=drawn[each.name], inherent=None, keep=())
            shown = set.intersection(*(set(truth[picture.relative_path]) for picture in each.images))
            others = [tags[other.name] for other in concepts if other.name != each.name]
            answer = names(find_concept_tags(short, tags[each.name], others))
            right, found, wanted = right + len(answer & shown), found + len(answer), wanted + len(shown)
    assert wanted == 20 * 10
    assert right >= 0.95 * found
    assert right >= 0.95 * wanted
