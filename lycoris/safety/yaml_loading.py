"""Load YAML settings safely: plain values, no duplicate keys, and no aliases, which could expand without limit."""

from __future__ import annotations

from typing import Any

import yaml

from lycoris.errors import InputError

MAX_CHARACTERS = 1_000_000
"""Characters of a document."""
MAX_NUMBER_LENGTH = 100
"""Characters of a number."""


class _PlainLoader(yaml.SafeLoader):
    """`yaml.SafeLoader` without aliases and duplicate keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, "aliases (`*name`) are not allowed", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a text", key.start_mark)
            if key.value in keys:
                problem = f"the key `{key.value}` occurs twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            keys.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: Any) -> Any:
        if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and len(node.value) > MAX_NUMBER_LENGTH:
            raise yaml.constructor.ConstructorError(None, None, "a number is too long", node.start_mark)
        return super().construct_scalar(node)


def read_yaml(text: str, label: str) -> Any:
    """Parse a YAML document.

    Args:
        text: the document.
        label: start of the error message.

    Raises:
        InputError: the document is too long, cannot be parsed, or uses an alias or a duplicate key.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{label} must be YAML of at most {MAX_CHARACTERS:,} characters, but has {len(text):,}.")
    try:
        return yaml.load(text, _PlainLoader)
    except RecursionError as error:
        raise InputError(f"{label} is not readable YAML: it is nested too deeply.") from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise InputError(f"{label} is not readable YAML: {error}") from error
