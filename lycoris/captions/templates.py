"""How a concept is spoken of in captions and prompts, by category, open to the user.

In a template ``{concept}`` stands for the concept in a sentence, "a sks creature", or for what describes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lycoris.data.concepts import Concept
from lycoris.errors import InputError, unknown_name_error
from lycoris.safety.yaml_loading import read_yaml

DEFAULT_KEY = "otherwise"
"""The key of the wording for every category that has none of its own."""
STYLE_CATEGORY = "styles"
"""The category whose concepts are no things but ways to draw them."""


@dataclass(frozen=True)
class CategoryTemplates:
    """The sentences of one category.

    Attributes:
        subject: the concept in a sentence, with ``{name}`` for trigger and class noun.
        description: what stands there when texts are compared, with ``{description}``.
        opening: how a caption begins and what the trigger alone is asked for, with ``{concept}``.
        situations: prompts of the type `alter`, each with ``{concept}``.
        styles: prompts of the type `style`, each with ``{concept}``.
    """

    subject: str = "a {name}"
    description: str = "a {description}"
    opening: str = "{concept}"
    situations: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Templates:
    """The wording of each category, and one for any other."""

    default: CategoryTemplates
    categories: Mapping[str, CategoryTemplates] = field(default_factory=dict)

    def for_concept(self, concept: Concept) -> CategoryTemplates:
        """The wording for a concept: its category's; a style's for a style in any category; or the one for others."""
        name = STYLE_CATEGORY if is_style(concept) and concept.category not in self.categories else concept.category
        return self.categories.get(name, self.default)


def is_style(concept: Concept) -> bool:
    """Whether a concept is a way to draw rather than something to be drawn."""
    return concept.category == STYLE_CATEGORY or concept.class_noun.casefold() == "style"


def read_templates(source: Path | Mapping[str, Any], defaults: Templates) -> Templates:
    """The user's templates over others.

    Args:
        source: category (or ``otherwise``) -> any of the fields of `Wording`; as a mapping or as a YAML file.
        defaults: what fills in for all that is left out.

    Raises:
        InputError: a field is unknown or has the wrong shape, or a template lacks its placeholder.
    """
    where = "The prompt templates"
    given: Any = source
    if not isinstance(source, Mapping):
        where = f"The prompt templates `{source}`"
        try:
            given = read_yaml(Path(source).read_text(encoding="utf-8-sig"), where)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{where} cannot be read as YAML: {error}") from error
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InputError(f"{where} must map categories to any of {', '.join(_PLACEHOLDERS)}.")
    otherwise = _read_category(f"{where}: `{DEFAULT_KEY}`", given.get(DEFAULT_KEY, {}), defaults.default)
    categories = dict(defaults.categories)
    for category, entry in given.items():
        if category != DEFAULT_KEY:
            categories[category] = _read_category(f"{where}: `{category}`", entry, categories.get(category, otherwise))
    return Templates(otherwise, categories)


_PLACEHOLDERS = {
    "subject": "{name}",
    "description": "{description}",
    "opening": "{concept}",
    "situations": "{concept}",
    "styles": "{concept}",
}


def _read_category(source: str, entry: Any, default: CategoryTemplates) -> CategoryTemplates:
    if not isinstance(entry, Mapping):
        raise InputError(f"{source} must hold any of {', '.join(_PLACEHOLDERS)}.")
    changes: dict[str, Any] = {}
    for name, value in entry.items():
        if name not in _PLACEHOLDERS:
            raise InputError(f"{source}: {unknown_name_error('field', name, _PLACEHOLDERS)}")
        several = name in ("situations", "styles")
        texts = value if several else [value]
        if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{source}: `{name}` must be {'a list of texts' if several else 'a text'}.")
        for text in texts:
            if _PLACEHOLDERS[name] not in text:
                raise InputError(
                    f"{source}: `{name}` must have `{_PLACEHOLDERS[name]}` in every text, but got `{text}`."
                )
        changes[name] = tuple(texts) if several else value
    return replace(default, **changes)
