"""The adapter file that a study delivers, with scores and lineage in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lycoris.adapters.files.safetensors_header import sort_metadata
from lycoris.cache.atomic import apply_umask, atomic_write

if TYPE_CHECKING:
    from lycoris.metrics import Score


def export_adapter(file: Path, out: Path, *, scores: Sequence[Score], lineage: Mapping[str, str]) -> Path:
    """Copy an adapter, adding its scores and lineage to the safetensors header.

    Args:
        file: the adapter as trained.
        out: the file to write; it appears complete or not at all.
        lineage: further header entries.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(file, framework="pt") as stream:
        header = dict(stream.metadata() or {})
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    fields = ("value", "base", "difference_low", "difference_high")
    values = {score.name: {field: getattr(score, field) for field in fields} for score in scores}
    header |= {**lineage, "scores": json.dumps(values, sort_keys=True)}
    with atomic_write(out) as temporary:
        save_file(tensors, temporary, metadata=header)
        sort_metadata(temporary)
        apply_umask(temporary)  # other programs, run by other users, are to read it
    return out
