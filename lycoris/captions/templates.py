"""Sentence templates for captions and prompts, by category, which users can override.

In a template ``{concept}`` stands for the concept in a sentence ("a sks creature") or for its description.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lycoris.data.concepts import Concept
from lycoris.errors import InputError, unknown_name_error
from lycoris.safety.yaml_loading import read_yaml

DEFAULT_KEY = "default"
"""The key of the templates for categories that have none of their own."""
STYLE_CATEGORY = "styles"
"""The category of concepts that are styles."""


@dataclass(frozen=True)
class CategoryTemplates:
    """The sentence templates of one category.

    Attributes:
        subject: the concept in a sentence, with ``{name}`` for trigger and class noun.
        description: the concept in an evaluation prompt, with ``{description}``.
        opening: the start of a caption, and the prompt of the type `trigger`, with ``{concept}``.
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
    """The templates of each category, and the default ones."""

    default: CategoryTemplates
    categories: Mapping[str, CategoryTemplates] = field(default_factory=dict)

    def for_concept(self, concept: Concept) -> CategoryTemplates:
        """The templates of the concept's category; a style in another category gets those of styles."""
        name = STYLE_CATEGORY if is_style(concept) and concept.category not in self.categories else concept.category
        return self.categories.get(name, self.default)


def is_style(concept: Concept) -> bool:
    """Whether a concept is a style rather than a subject."""
    return concept.category == STYLE_CATEGORY or concept.class_noun.casefold() == "style"


def read_templates(source: Path | Mapping[Any, Any], defaults: Templates) -> Templates:
    """Read a user's templates, and fill in the rest.

    Args:
        source: category (or ``default``) -> fields of `CategoryTemplates`; a mapping or a YAML file.
        defaults: the templates for everything that is left out.

    Raises:
        InputError: a field is unknown or has the wrong type, or a template lacks its placeholder.
    """
    label = "The prompt templates"
    content: Any = source
    if not isinstance(source, Mapping):
        label = f"The prompt templates `{source}`"
        try:
            content = read_yaml(Path(source).read_text(encoding="utf-8-sig"), label)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{label} cannot be read as YAML: {error}") from error
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise InputError(f"{label} must map categories to any of {', '.join(_PLACEHOLDERS)}.")
    default = _read_category(f"{label}: `{DEFAULT_KEY}`", content.get(DEFAULT_KEY, {}), defaults.default)
    categories = dict(defaults.categories)
    for category, entry in content.items():
        if category != DEFAULT_KEY:
            own = categories.get(category, default)
            categories[category] = _read_category(f"{label}: `{category}`", entry, own)
    return Templates(default, categories)


_PLACEHOLDERS = {
    "subject": "{name}",
    "description": "{description}",
    "opening": "{concept}",
    "situations": "{concept}",
    "styles": "{concept}",
}
"""Field of `CategoryTemplates` -> the placeholder that every text in it must hold."""


def _read_category(label: str, entry: Any, default: CategoryTemplates) -> CategoryTemplates:
    if not isinstance(entry, Mapping):
        raise InputError(f"{label} must hold any of {', '.join(_PLACEHOLDERS)}.")
    changes: dict[str, Any] = {}
    for name, value in entry.items():
        if name not in _PLACEHOLDERS:
            raise InputError(f"{label}: {unknown_name_error('field', name, _PLACEHOLDERS)}")
        is_list = name in ("situations", "styles")
        texts = value if is_list else [value]
        if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{label}: `{name}` must be {'a list of texts' if is_list else 'a text'}.")
        for text in texts:
            if _PLACEHOLDERS[name] not in text:
                raise InputError(
                    f"{label}: `{name}` must have `{_PLACEHOLDERS[name]}` in every text, but got `{text}`."
                )
        changes[name] = tuple(texts) if is_list else value
    return replace(default, **changes)
