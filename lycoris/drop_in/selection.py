"""Which modules of a model a preset selects, and with which options of their own."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import nn

from lycoris.adapters.files.layer_names import class_name
from lycoris.adapters.layers.adapted_layer import AdaptedLayer, own_type
from lycoris.errors import InputError

Overrides = Mapping[str, Any]
"""`algo` and options of one module; empty for those of the network."""


class Selected(NamedTuple):
    """A module that a preset selects.

    Attributes:
        path: of the module in the model.
        module: the module.
        overrides: its own options.
    """

    path: str
    module: nn.Module
    overrides: Overrides


@dataclass(frozen=True)
class TargetRules:
    """The rules of a preset for one model.

    Attributes:
        modules: classes of modules of which every layer is selected.
        names: names, or patterns of names, of single layers.
        exclude: names, or patterns, of what is left out.
        module_options: class → options.
        name_options: name or pattern → options.
        use_fnmatch: patterns are shell patterns of the whole name, not regular expressions of its beginning.
    """

    modules: Collection[str]
    names: Collection[str] = ()
    exclude: Collection[str] = ()
    module_options: Mapping[str, Overrides] = field(default_factory=dict)
    name_options: Mapping[str, Overrides] = field(default_factory=dict)
    use_fnmatch: bool = False

    def matching(self, patterns: Collection[str], name: str) -> list[str]:
        """Return the patterns that a name is or matches.

        Raises:
            InputError: one is not a regular expression.
        """
        if self.use_fnmatch:
            return [pattern for pattern in patterns if pattern == name or fnmatch.fnmatch(name, pattern)]
        try:
            return [pattern for pattern in patterns if pattern == name or re.match(pattern, name)]
        except re.error as error:
            raise InputError(f"Names of a preset must be regular expressions, but {list(patterns)}: {error}.") from None

    def excludes(self, name: str) -> bool:
        """Tell whether a module is left out."""
        return bool(name and self.matching(self.exclude, name))

    def options_of_name(self, name: str) -> Overrides | None:
        """Return the options of a name: its own, or those of the first pattern that it matches."""
        if name in self.name_options:
            return self.name_options[name]
        patterns = self.matching(tuple(self.name_options), name)
        return self.name_options[patterns[0]] if patterns else None


@dataclass
class Selection:
    """What rules select of a model.

    Attributes:
        modules: each once, in the model's order.
        unused: classes and names of the rules that nothing in the model has.
    """

    modules: list[Selected]
    unused: list[str]


def module_class(module: nn.Module) -> str:
    """Return the name of a module's class, also where it has adapters."""
    return own_type(type(module)).__name__ if isinstance(module, AdaptedLayer) else class_name(module)


def select_modules(model: nn.Module, rules: TargetRules) -> Selection:
    """Return what rules select of a model.

    A module of a class in `modules` gives all that is inside it; one in `names` gives itself. Inside, modules of a
    class in `module_options` have those options.
    """
    selected: dict[str, Selected] = {}
    used: set[str] = set()
    for path, module in model.named_modules():
        if rules.excludes(path):
            continue
        kind, names = module_class(module), rules.matching(rules.names, path)
        if names:
            used |= {kind, *names}
            own = rules.options_of_name(path)
            overrides = own if own is not None else rules.module_options.get(kind, {})
            selected.setdefault(path, Selected(path, module, overrides))
        elif kind in rules.modules:
            used.add(kind)
            for each in _inside(path, module, rules.module_options.get(kind, {}), rules):
                selected.setdefault(each.path, each)
    unused = sorted({*rules.modules, *rules.names} - used)
    return Selection(list(selected.values()), unused)


def _inside(path: str, root: nn.Module, overrides: Overrides, rules: TargetRules) -> Iterator[Selected]:
    """Yield a module and all that is inside it; the caller keeps the first of a path."""
    for name, module in root.named_modules():
        full_path = ".".join(part for part in (path, name) if part)
        if rules.excludes(full_path):
            continue
        kind = module_class(module)
        if module is not root and kind in rules.module_options:
            outer = {"algo": overrides["algo"]} if "algo" in overrides else {}
            yield from _inside(full_path, module, {**outer, **rules.module_options[kind]}, rules)
            continue
        yield Selected(full_path, module, overrides)
