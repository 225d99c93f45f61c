"""The tags that define a concept: counted, explained, and corrected by the concept file."""

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


def image_tags(*images: str) -> list[dict[str, float]]:
    """Build the tags of images; ``"bear hat"`` is an image with two tags."""
    return [dict.fromkeys(words.split(), 0.9) for words in images]


def names(result: list[ConceptTag], subclass: str | None = None) -> set[str]:
    return {entry.tag for entry in result if entry.inherent and entry.subclass == subclass}


BEAR = image_tags("bear hat", "bear snow", "bear hat snow", "bear", "bear")
CATS = [image_tags("cat snow", "cat", "cat beach"), image_tags("dog", "dog snow"), image_tags("car", "car")]


def test_a_tag_in_nearly_all_images_and_rare_elsewhere_is_inherent_with_its_counts(concept: Build) -> None:
    result = find_concept_tags(concept(5), BEAR, CATS)
    assert [(e.tag, e.inside, e.of, e.outside, e.outside_of, e.inherent) for e in result] == [
        ("bear", 5, 5, 0, 7, True)
    ]
    assert result[0].why == (
        "in nearly all of the images, and not common elsewhere (0% of the images; common is from 50%)"
    )
    assert find_concept_tags(concept(5), BEAR, CATS[:1])[0].why == (
        "in nearly all of the images; not compared with 1 other concept: fewer than 3 say nothing"
    )


def test_a_frequent_tag_that_is_not_in_nearly_all_images_is_listed_but_not_inherent(concept: Build) -> None:
    tags = image_tags("bear hat", "bear hat", "bear hat", "bear", "bear")
    hat = find_concept_tags(concept(5), tags, CATS)[1]
    assert (hat.tag, hat.inside, hat.inherent) == ("hat", 3, False)


def test_a_tag_is_listed_from_half_of_the_images_on(concept: Build) -> None:
    tags = image_tags("bear hat", "bear hat", "bear snow", "bear")
    assert [entry.tag for entry in find_concept_tags(concept(4), tags, CATS)] == ["bear", "hat"]


def test_a_tag_is_common_from_half_of_the_other_images_on(concept: Build) -> None:
    half = [image_tags("bear"), image_tags("bear", "bear"), image_tags("cat"), image_tags("dog")]
    assert names(find_concept_tags(concept(4), image_tags(*["bear"] * 4), half)) == set()
    less = [*half, image_tags("car")]
    assert names(find_concept_tags(concept(4), image_tags(*["bear"] * 4), less)) == {"bear"}


def test_a_tag_of_half_of_another_subclass_is_not_inherent_to_one(concept: Build, dressed: Concept) -> None:
    mixed = concept(["coat"] * 3 + ["robe"] * 4, subclasses=dressed.subclasses)
    for shared, expected in ((2, set()), (1, {"belt"})):
        tags = image_tags(*["belt"] * 3, *["belt"] * shared, *["robe"] * (4 - shared))
        assert names(find_concept_tags(mixed, tags, []), "coat") == expected


def test_four_images_of_five_are_nearly_all(concept: Build) -> None:
    assert names(find_concept_tags(concept(5), image_tags("a", "a", "a", "a", ""), CATS)) == {"a"}
    assert names(find_concept_tags(concept(5), image_tags("a", "a", "a", "a", "substitute"), CATS)) == {"a"}


def test_a_tag_that_the_tagger_missed_in_some_images_is_inherent_unless_it_has_a_substitute(
    concept: Build,
) -> None:
    missed = image_tags("red hat", "red snow", "red hat", "red snow", "red", "red", "red", "hat", "snow", "hat snow")
    assert names(find_concept_tags(concept(10), missed, CATS)) == {"red"}
    replaced = image_tags(
        "red hat", "red snow", "red hat", "red snow", "red", "red", "red", "blue hat", "blue", "green"
    )
    (entry,) = (each for each in find_concept_tags(concept(10), replaced, CATS) if each.tag == "red")
    assert (entry.inside, entry.inherent) == (7, False)


def test_what_is_common_elsewhere_is_not_inherent(concept: Build) -> None:
    tags = image_tags(*["bear outdoors"] * 4)
    others = [image_tags("cat outdoors"), image_tags("dog outdoors", "dog outdoors"), image_tags("car")]
    result = {entry.tag: entry for entry in find_concept_tags(concept(4), tags, others)}
    assert result["bear"].inherent
    assert not result["outdoors"].inherent
    assert (result["outdoors"].outside, result["outdoors"].outside_of) == (3, 4)
    assert "common" in result["outdoors"].why


def test_a_concept_of_many_images_weighs_no_more_than_one_of_few(concept: Build) -> None:
    others = [image_tags(*["bear"] * 300), image_tags("cat"), image_tags("dog"), image_tags("car")]
    assert names(find_concept_tags(concept(4), image_tags(*["bear"] * 4), others)) == {"bear"}


def test_one_more_concept_elsewhere_does_not_change_the_result(concept: Build) -> None:
    bear = image_tags(*["bear"] * 4)
    others: list[list[dict[str, float]]] = []
    for another in (bear, image_tags("cat"), image_tags("dog"), image_tags("car"), bear, image_tags("fish")):
        others.append(another)
        assert names(find_concept_tags(concept(4), bear, others)) == {"bear"}


def test_the_concept_file_adds_and_excludes_tags(concept: Build) -> None:
    edited = concept(5, inherent=("Red_Nose", "hat"), keep=("bear",))
    result = {entry.tag: entry for entry in find_concept_tags(edited, BEAR, CATS)}
    assert {tag for tag, entry in result.items() if entry.inherent} == {"Red_Nose", "hat"}
    assert result["Red_Nose"].inside == 0
    assert "none of the images" in result["Red_Nose"].why
    assert "keep" in result["bear"].why


def test_keep_takes_precedence_over_inherent(concept: Build) -> None:
    assert names(find_concept_tags(concept(5, inherent=("bear",), keep=("Bear",)), BEAR, CATS)) == set()


def test_two_images_are_too_few_to_decide(concept: Build) -> None:
    result = find_concept_tags(concept(2), image_tags("bear hat", "bear hat"), CATS)
    assert names(result) == set()
    assert {entry.why for entry in result} == {"only 2 images to decide from"}


def test_a_tag_of_one_subclass_is_inherent_to_that_subclass(dressed: Concept) -> None:
    tags = image_tags("bear coat hat", "bear coat", "bear coat") + image_tags("bear robe hat", "bear robe", "bear robe")
    result = find_concept_tags(dressed, tags, CATS)
    assert names(result) == {"bear"}
    assert names(result, "coat") == {"coat"}
    assert names(result, "robe") == {"robe"}


def test_a_tag_of_all_subclasses_is_inherent_to_the_concept(dressed: Concept) -> None:
    result = find_concept_tags(dressed, image_tags(*["bear"] * 6), [])
    assert [(entry.tag, entry.subclass) for entry in result] == [("bear", None)]


def test_keep_applies_to_subclasses_too(concept: Build, dressed: Concept) -> None:
    edited = concept(["coat"] * 3 + ["robe"] * 3, subclasses=dressed.subclasses, keep=("coat",))
    assert names(find_concept_tags(edited, image_tags(*["bear coat"] * 3, *["bear robe"] * 3), CATS), "coat") == set()


def test_every_style_tag_is_inherent_to_a_style(concept: Build) -> None:
    style = concept(4, category="styles", class_noun="style")
    tags = [{"comic style": 0.9, "cat": 0.8}, {"flat style": 0.7}, {"dog": 0.9}, {"snow": 0.9}]
    assert names(find_concept_tags(style, tags, CATS)) == {"comic style", "flat style"}
    assert names(find_concept_tags(concept(4), tags, CATS)) == set()


def test_case_and_underscores_do_not_make_another_tag(concept: Build) -> None:
    tags = [{"long_hair": 0.9}, {"Long hair": 0.9}, {"long hair": 0.9, "long_hair": 0.8}]
    (entry,) = find_concept_tags(concept(3), tags, CATS)
    assert (entry.inside, entry.of, entry.inherent) == (3, 3, True)


def test_images_without_tags_have_no_inherent_tags(concept: Build) -> None:
    assert find_concept_tags(concept(4), [{}] * 4, [[{}], []]) == []


def test_one_entry_per_image_is_required(concept: Build) -> None:
    with pytest.raises(InputError, match="4, but got 2"):
        find_concept_tags(concept(4), image_tags("a", "b"))


@pytest.mark.parametrize(("missed", "precise", "complete"), [(0.0, 0.98, 1.0), (0.1, 0.97, 0.94)])
def test_the_true_attributes_of_the_shipped_concepts_are_found_from_twelve_images(
    missed: float, precise: float, complete: float
) -> None:
    """Precision and recall are well over 0.9, even if the tagger misses one tag in ten."""
    truth = json.loads(pocket.TRUE_TAGS.read_text())
    right = result = wanted = 0
    for seed in range(40):
        rng = random.Random(seed)
        concepts, tags, shown = [], {}, {}
        for each in load_concepts(pocket.IMAGES):
            if each.subclasses or each.category in ("scenes", "styles"):
                continue
            short = replace(each, images=tuple(rng.sample(each.images, 12)), inherent=None, keep=())
            concepts.append(short)
            shown[each.name] = set.intersection(*(set(truth[image.relative_path]) for image in each.images))
            exact = [truth[image.relative_path] for image in short.images]
            tags[each.name] = [{tag: 0.9 for tag in one if rng.random() >= missed} for one in exact]
        for each in concepts:
            others = [tags[other.name] for other in concepts if other.name != each.name]
            answer = names(find_concept_tags(each, tags[each.name], others))
            right += len(answer & shown[each.name])
            result += len(answer)
            wanted += len(shown[each.name])
    assert wanted >= 400
    assert right >= precise * result
    assert right >= complete * wanted


def test_the_embedded_tagger_finds_the_attributes_of_individuals_from_twelve_images() -> None:
    """Their species are known to the tagger; the combinations of attributes are not."""
    truth = json.loads(pocket.TRUE_TAGS.read_text())
    concepts = load_concepts(pocket.IMAGES)
    tagger = open_tagger("pocket")
    images = {each.name: [read_image(image.path) for image in each.images] for each in concepts}
    found_in = {each.name: dict(zip(each.images, tagger.tags(images[each.name]), strict=True)) for each in concepts}
    right = result = wanted = 0
    for seed in range(20):
        rng = random.Random(seed)
        samples = {each.name: tuple(rng.sample(each.images, 12)) for each in concepts}
        tags = {name: [found_in[name][image] for image in own] for name, own in samples.items()}
        for each in concepts:
            if each.name not in ("grumble", "biscuit"):
                continue
            short = replace(each, images=samples[each.name], inherent=None, keep=())
            shown = set.intersection(*(set(truth[image.relative_path]) for image in each.images))
            others = [tags[other.name] for other in concepts if other.name != each.name]
            answer = names(find_concept_tags(short, tags[each.name], others))
            right, result, wanted = right + len(answer & shown), result + len(answer), wanted + len(shown)
    assert wanted == 20 * 10
    assert right >= 0.95 * result
    assert right >= 0.95 * wanted
