"""Each vocabulary of `lycoris.terms` is spelled out there and nowhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lycoris.captions.prompts import _PROMPT_BUILDERS
from lycoris.captions.strategies import STRATEGY_FUNCTIONS
from lycoris.metrics import METRICS
from lycoris.terms import (
    CAPTION_STRATEGIES,
    DIMENSIONS,
    HEADLINE_SCORES,
    PROMPT_TYPES,
    REPORTED_PROMPT_TYPES,
    RESIZE_MODES,
    RUN_STATES,
    page_terms,
)

ROOT = Path(__file__).parents[1]
ROOMS = ("flows", "tasks", "lycoris", "benchmarks", "examples", "mlflow")
VOCABULARIES = {
    "prompt types": frozenset(PROMPT_TYPES),
    "caption strategies": frozenset(CAPTION_STRATEGIES),
    "dimensions": frozenset(DIMENSIONS),
    "resize modes": frozenset(RESIZE_MODES),
    "run states": frozenset(RUN_STATES),
}
ALL_TERMS = frozenset().union(*VOCABULARIES.values())
ALLOWED = {
    ("lycoris/terms.py", None): "the vocabularies themselves",
    ("lycoris/captions/prompts.py", "prompt types"): "the function of each",
    ("lycoris/captions/strategies.py", "caption strategies"): "the function of each",
    ("lycoris/analysis/statistics/category_effects.py", "dimensions"): "what the paper's third finding says of three",
}
"""(file, vocabulary, or None for all) -> why it may name three or more members in one collection."""
FEWEST = 3
"""A collection of two members is a choice; of three it is a copy of the list."""


def spelled(members: set[str]) -> Iterator[str]:
    """The vocabularies of which a collection names three members or more, and nothing else."""
    for name, vocabulary in VOCABULARIES.items():
        if len(members) >= FEWEST and members <= vocabulary:
            yield name


def collections(tree: ast.Module) -> Iterator[set[str]]:
    """The texts in every tuple, list, set, dictionary (its keys) and `Literal`, and the fields of every class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            items = node.elts
        elif isinstance(node, ast.Dict):
            items = [key for key in node.keys if key is not None]
        elif isinstance(node, ast.ClassDef):
            fields = {ast.unparse(each.target) for each in node.body if isinstance(each, ast.AnnAssign)}
            yield fields & ALL_TERMS
            continue
        else:
            continue
        yield {item.value if isinstance(item, ast.Constant) else None for item in items}


def script_collections(text: str) -> Iterator[set[str]]:
    """The texts in every flat array of a script, and the keys of every flat object."""
    for array in re.findall(r"\[([^\[\]{}]*)\]", text):
        yield set(re.findall(r"""^\s*["'`](\w+)["'`]\s*$""", array.replace(",", "\n"), re.MULTILINE))
    for object_ in re.findall(r"\{([^{}]*)\}", text):
        yield set(re.findall(r"""(?:^|,)\s*["']?(\w+)["']?\s*:""", object_))


def sources(*suffixes: str) -> list[Path]:
    return sorted(
        path.relative_to(ROOT)
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.suffix in suffixes and "pictures" not in path.parts
    )


def copies(file: Path, found: Iterator[set[str]]) -> list[str]:
    return [
        f"{file}: {name}: {', '.join(sorted(members))}"
        for members in found
        for name in spelled(members)
        if not {(file.as_posix(), name), (file.as_posix(), None)} & ALLOWED.keys()
    ]


@pytest.mark.parametrize("file", sources(".py"), ids=str)
def test_no_module_spells_a_vocabulary_again(file: Path) -> None:
    assert not copies(file, collections(ast.parse((ROOT / file).read_text(encoding="utf-8"))))


@pytest.mark.parametrize("file", sources(".js", ".html"), ids=str)
def test_no_page_script_spells_a_vocabulary_again(file: Path) -> None:
    assert not copies(file, script_collections((ROOT / file).read_text(encoding="utf-8")))


@pytest.mark.parametrize("text", ['["train", "alter", "style"]', "{ train: 1, trigger: 2, plain: 3 }"])
def test_the_search_finds_copies_in_scripts(text: str) -> None:
    found = script_collections(f"const X = {text};")
    assert [name for members in found for name in spelled(members)] == ["prompt types"]


@pytest.mark.parametrize(
    "text",
    [
        'X = ("none", "all", "adjusted")',
        'X: Literal["none", "all", "sentence"]',
        "class X:\n none: int\n all: int\n sentence: int",
    ],
)
def test_the_search_finds_copies_in_modules(text: str) -> None:
    assert [name for members in collections(ast.parse(text)) for name in spelled(members)] == ["caption strategies"]


def test_every_prompt_type_and_every_strategy_has_its_function() -> None:
    assert set(_PROMPT_BUILDERS) == set(PROMPT_TYPES)
    assert set(STRATEGY_FUNCTIONS) == set(CAPTION_STRATEGIES)


def test_reports_show_every_prompt_type_once() -> None:
    assert sorted(REPORTED_PROMPT_TYPES) == sorted(PROMPT_TYPES)
    assert list(page_terms()["prompt_types"]) == list(REPORTED_PROMPT_TYPES)


def test_the_headline_score_of_a_dimension_is_its_first_metric() -> None:
    assert tuple(HEADLINE_SCORES) == DIMENSIONS
    for dimension, score in HEADLINE_SCORES.items():
        metric, prompt_type = score.split("/")
        assert metric == next(name for name, entry in METRICS.items() if entry.dimension == dimension)
        assert prompt_type in METRICS[metric].prompt_types


PAPER_TYPES = ("train", "trigger", "alter", "style", "plain")
"""The prompt types of arXiv 2309.14859, and its description without the trigger; a further one is not in the table."""


def test_metrics_are_computed_on_the_prompt_types_of_the_paper() -> None:
    """A change of a property of a prompt type changes scores: this table is what it must give."""
    expected = {
        ("train", "trigger", "alter", "style"): {"image_similarity", "text_similarity", "squared_centroid_distance"},
        ("train", "trigger", "alter"): {"copy_risk", "vendi", "mean_pairwise_distance"},
        ("train", "trigger"): {"cmmd", "precision", "recall"},
        ("train", "alter", "style"): {"attribute_recall", "attribute_precision"},
        ("style", "plain"): {"style_loss", "feature_drift", "text_preservation"},
        ("train",): {"frechet_distance", "kernel_distance"},
    }
    for prompt_types, names in expected.items():
        of_paper = {tuple(each for each in METRICS[name].prompt_types if each in PAPER_TYPES) for name in names}
        assert of_paper == {prompt_types}
