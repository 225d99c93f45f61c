"""The layers of a model that the names in a file stand for, in every dialect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lycoris.adapters.files.checkpoint_reader import AdapterFile
from lycoris.adapters.files.dialects import DIALECTS
from lycoris.adapters.files.families import OriginalRows
from lycoris.adapters.files.keys import find_dialect, without_wrappers
from lycoris.adapters.files.layer_names import LayerRef
from lycoris.errors import InputError, list_names

_MAX_NAMES_SHOWN = 5


class Target(NamedTuple):
    """A layer that a name in a file stands for.

    Attributes:
        layer: the layer.
        rows: which rows of the file's tensors are the layer's; None for all.
    """

    layer: LayerRef
    rows: OriginalRows | None


Targets = Mapping[str, Sequence[Target]]
"""Name of a layer in the file → the layers of the model."""


def find_targets(file: AdapterFile, layers: Sequence[LayerRef], *, strict: bool = True) -> dict[str, list[Target]]:
    """Find the layers of a model that a file has adapters for.

    Args:
        file: the file's content.
        layers: every layer of the model.
        strict: every layer of the file must be in the model.

    Raises:
        InputError: the model lacks a layer, none is left, or a name stands for layers of several parts.
    """
    by_name = _targets_by_name(layers, file.layers)
    bare = {name: name if name in by_name else without_wrappers(name) for name in file.layers}
    targets = {name: by_name[bare[name]] for name in file.layers if bare[name] in by_name}
    unknown = [name for name in file.layers if name not in targets]
    for name, found in targets.items():
        wholes = [target.layer.name for target in found if target.rows is None]
        originals = {target.rows.path for target in found if target.rows is not None}
        if len(wholes) + len(originals) > 1:
            raise InputError(
                f"File `{file.path}`: `{name}` stands for several layers of this model: {', '.join(wholes)}. Give "
                "argument `model` as a dict of the part that the file is for."
            )
    if (unknown or file.unread) and (strict or not targets):
        raise InputError(_explain_mismatch(file, layers, unknown or list(file.unread)))
    return targets


def _targets_by_name(layers: Sequence[LayerRef], file_names: Iterable[str]) -> dict[str, list[Target]]:
    """Map every name that a file may have for a layer to the layer, in the dialects whose prefixes its names have."""
    by_name: dict[str, list[Target]] = {}
    names_in_file = tuple(file_names)
    prefixes = {prefix.text: prefix for dialect in DIALECTS.values() for prefix in dialect.prefixes}
    flat = tuple(text for text, prefix in prefixes.items() if prefix.flat)
    used = {text for text in prefixes if text and any(name.startswith(text) for name in names_in_file)}
    used |= set() if all(name.startswith(flat) for name in names_in_file) else {""}
    dialects = [dialect for dialect in DIALECTS.values() if any(prefix.text in used for prefix in dialect.prefixes)]
    for layer in layers:
        names = {spelling for dialect in dialects for spelling in dialect.layer_names(layer)}
        for name, rows in {*names, (layer.key, None), (layer.name, None)}:
            by_name.setdefault(name, []).append(Target(layer, rows))
    return by_name


def _explain_mismatch(file: AdapterFile, layers: Sequence[LayerRef], unknown: Sequence[str]) -> str:
    """Return the message about layers that a model lacks: the file's dialect, what is missing, and what would do."""
    dialect = find_dialect(file.keys)
    shown = list_names(sorted(unknown), _MAX_NAMES_SHOWN)
    parts = ", ".join(dict.fromkeys(layer.part for layer in layers)) or "none"
    known = next(iter(dialect.layer_names(layers[0])), (layers[0].key, None))[0] if layers else "none"
    return (
        f"File `{file.path}` has {len(unknown)} layers that the model does not have: {shown}. The file was taken for "
        f"one of {dialect.written_by} (dialect `{dialect.name}`), in which the model's first layer is `{known}`. The "
        f"model's parts are: {parts}; a file for several parts needs a dict of them. With `strict=False` the layers "
        "that the model has are loaded."
    )


def describe_left_out(file: AdapterFile, left_out: Sequence[str]) -> str:
    """Return the message that names the keys of a file that no adapter has."""
    shown = list_names(left_out, _MAX_NAMES_SHOWN)
    return f"File `{file.path}`: {len(left_out)} of {len(file.keys)} keys are left out: {shown}."
