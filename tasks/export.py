"""The adapter file that leaves the pipeline: readable name, everything known about it in its header."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lycoris.adapters.files.safetensors_header import sort_metadata


def export_adapter(file: Path, out: Path, *, scores: Sequence[Mapping[str, Any]], lineage: Mapping[str, str]) -> Path:
    """Copy an adapter with its scores and lineage added to the safetensors header.

    Args:
        file: the adapter as trained.
        out: the file to write; it appears whole or not at all.
        scores: records of `lycoris.metrics.Score`.
        lineage: further header entries.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(file, framework="pt") as stream:
        header = dict(stream.metadata() or {})
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    kept = {
        record["name"]: {name: record[name] for name in ("value", "base", "difference_low", "difference_high")}
        for record in scores
    }
    header |= {**lineage, "scores": json.dumps(kept, sort_keys=True)}
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_suffix(f".{os.getpid()}.tmp")
    save_file(tensors, aside, metadata=header)
    sort_metadata(aside)
    os.replace(aside, out)
    return out
