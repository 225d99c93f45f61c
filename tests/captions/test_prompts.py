"""Prompts: seeds, groups and descriptions as the protocol says, in words that the pocket knows."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lycoris import pocket
from lycoris.captions import (
    STRATEGY_FUNCTIONS,
    PromptSpec,
    build_captions,
    build_prompts,
    find_concept_tags,
    read_templates,
    templates_for_base,
)
from lycoris.captions.taggers.captioner import describe_tags
from lycoris.captions.taggers.labels import read_labels
from lycoris.data.concepts import Concept, load_concepts
from lycoris.errors import InputError
from lycoris.pocket.world.vocabulary import MAX_TOKENS, WORDS
from lycoris.terms import PROMPT_TYPES

Build = Callable[..., Concept]
SHIPPED = {concept.name: concept for concept in load_concepts(pocket.IMAGES)}
CAPTIONS = ["a sks creature, hat", "a sks creature, snow", "a sks creature, beach"]


def groups(result: list[PromptSpec]) -> Counter[int]:
    return Counter(prompt.group for prompt in result)


@pytest.mark.parametrize("prompt_type", PROMPT_TYPES)
@pytest.mark.parametrize("count", [0, 1, 3, 10, 100])
def test_every_type_gives_the_requested_number_with_consecutive_seeds(
    concept: Build, prompt_type: str, count: int
) -> None:
    result = build_prompts(concept(3), CAPTIONS, prompt_type, count)
    assert [prompt.seed for prompt in result] == list(range(1000, 1000 + count))
    assert build_prompts(concept(3), CAPTIONS, prompt_type, count, seed=7) == [
        replace(p, seed=p.seed - 993) for p in result
    ]


def test_train_repeats_the_captions_in_order(concept: Build) -> None:
    result = build_prompts(concept(3), CAPTIONS, "train", 7)
    assert [prompt.text for prompt in result] == [CAPTIONS[n % 3] for n in range(7)]
    assert result[0].evaluation == "a purple bear, hat"
    assert [prompt.group for prompt in result] == [0, 1, 2, 0, 1, 2, 0]


def test_train_takes_an_even_subset_of_many_captions(dressed: Concept) -> None:
    written = build_captions(dressed, [{}] * 6, [], "none")
    assert [p.text for p in build_prompts(dressed, written, "train", 2)] == [
        "a sks creature, coat",
        "a sks creature, red robe",
    ]


def test_trigger_is_the_trigger_alone(concept: Build) -> None:
    assert build_prompts(concept(3), CAPTIONS, "trigger", 2) == [
        PromptSpec("a sks creature", "a purple bear", seed, 0) for seed in (1000, 1001)
    ]


@pytest.mark.parametrize(("count", "situations"), [(100, 10), (20, 10), (10, 5), (4, 2), (3, 1), (1, 1)])
def test_alter_has_ten_situations_or_as_many_as_get_two_images_each(
    concept: Build, count: int, situations: int
) -> None:
    result = build_prompts(concept(3), CAPTIONS, "alter", count)
    assert len(groups(result)) == situations
    assert max(groups(result).values()) - min(groups(result).values()) <= 1
    assert len({(prompt.text, prompt.group) for prompt in result}) == situations


def test_style_has_five_styles(concept: Build) -> None:
    assert set(groups(build_prompts(concept(3), CAPTIONS, "style", 100)).values()) == {20}
    assert len({prompt.text for prompt in build_prompts(concept(3), CAPTIONS, "style", 5)}) == 5


def test_plain_prompts_are_the_evaluation_prompts_of_alter(dressed: Concept) -> None:
    result, altered = (build_prompts(dressed, [], prompt_type, 20) for prompt_type in ("plain", "alter"))
    assert [(p.text, p.group, p.seed) for p in result] == [(p.evaluation, p.group, p.seed) for p in altered]
    assert all(prompt.text == prompt.evaluation for prompt in result)


def test_neighbours_are_the_class_and_other_things(concept: Build) -> None:
    """Prior preservation fails first on the class and on things like it (language drift, arXiv 2208.12242)."""
    result = build_prompts(concept(3), CAPTIONS, "neighbour", 12)
    noun = concept(3).class_noun
    others = [text for text in ("a cat", "a dog", "a bear", "a bird") if text != f"a {noun}"]
    assert [prompt.text for prompt in result][: len(others) + 1] == [f"a {noun}", *others]
    assert len({prompt.seed for prompt in result}) == 12
    assert all(prompt.text == prompt.evaluation for prompt in result)


def test_only_train_depends_on_the_captions(concept: Build) -> None:
    for prompt_type in ("trigger", "alter", "style", "plain", "neighbour"):
        assert build_prompts(concept(3), CAPTIONS, prompt_type, 20) == build_prompts(concept(3), [], prompt_type, 20)


@pytest.mark.parametrize("prompt_type", ["trigger", "alter", "style"])
def test_subclasses_alternate_and_each_group_has_one(dressed: Concept, prompt_type: str) -> None:
    result = build_prompts(dressed, [], prompt_type, 20)
    behind = [prompt.text.rsplit(", ", 1)[1] for prompt in result]
    assert behind.count("coat") == pytest.approx(10, abs=2)
    assert behind.count("red robe") == pytest.approx(10, abs=2)
    assert len({(prompt.group, text) for prompt, text in zip(result, behind, strict=True)}) == len(groups(result))
    for prompt, text in zip(result, behind, strict=True):
        assert f"a purple bear in a {text}" in prompt.evaluation


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("prompt_type", PROMPT_TYPES)
def test_no_evaluation_prompt_holds_the_trigger(name: str, prompt_type: str) -> None:
    concept = SHIPPED[name]
    hidden = {concept.trigger, *(each.trigger for each in concept.subclasses)}
    written = build_captions(concept, [{"hat": 0.9, "snow": 0.8}] * len(concept.images), [], "all")
    for prompt in build_prompts(concept, written, prompt_type, 20):
        spoken = concept.trigger in prompt.text.split() or f"{concept.trigger}," in prompt.text
        assert spoken == PROMPT_TYPES[prompt_type].has_trigger
        assert not hidden & set(re.findall(r"\w+", prompt.evaluation))
        assert concept.description.split()[-1] in prompt.evaluation or prompt_type == "neighbour"


@pytest.mark.parametrize(
    ("description", "evaluation"),
    [("orange octopus", "an orange octopus"), ("the old bear", "a old bear"), ("an owl", "an owl"),
     ("unicorn", "a unicorn"), ("bear in a uniform", "a bear in a uniform")],
)  # fmt: skip
def test_descriptions_get_their_article(concept: Build, description: str, evaluation: str) -> None:
    result = build_prompts(concept(3, description=description), CAPTIONS, "trigger", 1)[0].evaluation
    assert result == evaluation.replace("a old", "an old")


def test_captions_of_the_user_are_described_too(concept: Build) -> None:
    written = ["A photo of the SKS creature (smiling)", "sks, hat", "nothing of it", "asks a sksy creature"]
    result = [prompt.evaluation for prompt in build_prompts(concept(4), written, "train", 4)]
    assert result == [
        "A photo of a purple bear (smiling)",
        "a purple bear, hat",
        "nothing of it",
        "asks a sksy creature",
    ]


def test_text_of_the_user_is_never_read_as_a_pattern(concept: Build) -> None:
    odd = concept(1, trigger="c++", class_noun="(x)", description=r"\1 {name} {concept} bear")
    result = build_prompts(odd, ["my c++ (x), hat"], "train", 1)[0]
    assert result.evaluation == r"my a \1 {name} {concept} bear, hat"


def test_styles_are_named_once_and_use_known_subjects() -> None:
    neon = SHIPPED["neon"]
    assert build_prompts(neon, [], "trigger", 1)[0] == PromptSpec(
        "a picture in bqz style", "a picture in neon style", 1000, 0
    )
    for prompt_type in ("alter", "style"):
        for prompt in build_prompts(neon, [], prompt_type, 20):
            assert "style style" not in prompt.text
            assert prompt.text.endswith(", bqz style")
            assert prompt.evaluation.endswith(", neon style")


def test_other_categories_use_the_situations_of_objects(concept: Build) -> None:
    result = build_prompts(concept(3, category="my_mugs", class_noun="mug"), [], "alter", 20)
    assert len(groups(result)) == 10
    assert not any("wearing" in prompt.text for prompt in result)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("strategy", STRATEGY_FUNCTIONS)
def test_every_shipped_text_is_made_of_single_tokens_within_the_pocket_s_window(name: str, strategy: str) -> None:
    truth = json.loads(pocket.TRUE_TAGS.read_text())
    tags = {c.name: [dict.fromkeys(truth[p.relative_path], 1.0) for p in c.images] for c in SHIPPED.values()}
    concept = SHIPPED[name]
    others = [tags[other] for other in SHIPPED if other != name]
    categories = {label.tag: label.category for label in read_labels(pocket.TAGGER)}
    sentences = [describe_tags(image_tags, categories) for image_tags in tags[name]]
    written = build_captions(
        concept, tags[name], find_concept_tags(concept, tags[name], others), strategy, sentences=sentences
    )
    texts = [p.text for prompt_type in PROMPT_TYPES for p in build_prompts(concept, written, prompt_type, 20)]
    described = [p.evaluation for prompt_type in PROMPT_TYPES for p in build_prompts(concept, written, prompt_type, 20)]
    for text in [*written, *texts, *described]:
        words = re.findall(r"\w+|[^\w\s]", text)
        assert len(words) + 2 <= MAX_TOKENS, text
    for text in [*written, *texts]:
        assert set(re.findall(r"\w+|[^\w\s]", text)) <= set(WORDS), text


def test_a_prompt_type_a_count_and_captions_are_checked(concept: Build) -> None:
    with pytest.raises(InputError, match="Did you mean `alter`"):
        build_prompts(concept(3), CAPTIONS, "altr", 3)
    with pytest.raises(InputError, match="-1"):
        build_prompts(concept(3), CAPTIONS, "train", -1)
    with pytest.raises(InputError, match="grumble"):
        build_prompts(concept(3), [], "train", 3)


def test_templates_of_the_user_override_the_defaults(concept: Build, tmp_path: Path) -> None:
    file = tmp_path / "templates.yaml"
    file.write_text(
        "mugs: {situations: ['{concept} on the moon'], subject: 'one {name}'}\ndefault: {styles: ['x {concept}']}"
    )
    templates = read_templates(file, templates_for_base())
    mug = concept(3, category="mugs", class_noun="mug", description="blue mug")
    assert {p.text for p in build_prompts(mug, [], "alter", 20, templates=templates)} == {"one sks mug on the moon"}
    assert build_prompts(mug, [], "style", 1, templates=templates)[0].text == "x one sks mug"
    assert build_captions(mug, [{}] * 3, [], "none", templates) == ["one sks mug"] * 3
    bear = concept(3)
    assert build_prompts(bear, [], "alter", 5, templates=templates) == build_prompts(bear, [], "alter", 5)


@pytest.mark.parametrize(
    ("source", "message"),
    [({"mugs": {"situatoins": ["{concept}"]}}, "Did you mean `situations`"), ({"mugs": 3}, "`mugs`"),
     ({"mugs": {"styles": "{concept}"}}, "list of texts"), ({"mugs": {"styles": ["a cat"]}}, "`{concept}`"),
     ({"mugs": {"subject": "a mug"}}, "`{name}`"), ({3: {}}, "categories")],
)  # fmt: skip
def test_templates_are_checked(source: dict[object, object], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read_templates(source, templates_for_base())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "category", ["anime_characters", "movie_characters", "stuffed_toys", "scenes", "styles", "live"]
)
@pytest.mark.parametrize("base", ["pocket", "a/full-size-base"])
def test_each_category_has_ten_situations_and_five_styles_for_both_kinds_of_base(
    concept: Build, category: str, base: str
) -> None:
    wording = templates_for_base(base).for_concept(concept(1, category=category))
    assert len(set(wording.situations)) == 10
    assert len(set(wording.styles)) == 5
