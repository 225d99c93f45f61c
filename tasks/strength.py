"""Choose the strength of an adapter from the features of its images at several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from prefect import task

from lycoris.analysis.decisions.strength import StrengthChoice, StrengthScore, choose_strength
from lycoris.cache.keys import source_hash
from lycoris.safety.redaction import redacting_errors
from tasks.artifacts import Artifact, RunContext
from tasks.encode import FEATURES_FILE
from tasks.runtime import progress
from tasks.runtime.cache import get_or_compute
from tasks.runtime.transfer import ensure_local, local_context

STRENGTH_FILE = "strength.json"
STRENGTH_SOURCES = ("analysis/decisions/strength.py", "metrics", "terms.py")
"""Library code that the choice depends on."""


@task(name="strength", task_run_name="strength {label}")
@redacting_errors
def choose_adapter_strength(
    context: RunContext,
    label: str,
    *,
    references: Artifact,
    base: Artifact,
    adapter: Artifact,
    strengths: Sequence[float],
    features: Sequence[Artifact],
) -> StrengthChoice:
    """Choose the strength of an adapter, unless the choice is cached.

    Args:
        references: features of the dataset's images.
        base: features of the base's images.
        adapter: features of the adapter's images at strength 1, with those prompts and seeds that the others have.
        strengths: the others.
        features: of the images at each of them.
    """
    from lycoris.metrics import load_features

    context = local_context(context)
    inputs = {
        "references": references.key,
        "base": base.key,
        "adapter": adapter.key,
        "strengths": {f"{strength:g}": one.key for strength, one in zip(strengths, features, strict=True)},
        "code": source_hash(*STRENGTH_SOURCES),
    }

    def compute(folder: Path, _: progress.StepProgress) -> None:
        def read(artifact: Artifact) -> dict:
            return load_features(ensure_local(context, artifact).folder / FEATURES_FILE)

        others = {strength: read(one) for strength, one in zip(strengths, features, strict=True)}
        tried = others[strengths[0]]
        at_one = read(adapter)
        aligned = {kind: at_one[kind].aligned_with(images) for kind, images in tried.items()}
        complete = {kind: images for kind, images in aligned.items() if images is not None}
        if len(complete) < len(tried):
            raise ValueError(f"{label}: the images at strength 1 lack prompts of the others.")
        choice = choose_strength(read(references)["references"], read(base), {**others, 1.0: complete})
        (folder / STRENGTH_FILE).write_text(json.dumps(asdict(choice), allow_nan=False))

    return read_choice(get_or_compute(context, "strength", label, inputs, compute).folder / STRENGTH_FILE)


def read_choice(file: Path) -> StrengthChoice:
    """Read the choice that a stage holds."""
    record = json.loads(file.read_text())
    return StrengthChoice(**{**record, "points": tuple(StrengthScore(**point) for point in record["points"])})
