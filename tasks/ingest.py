"""What others made, put where the steps of a run look for it: adapter files and drawn pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.cache.store import file_digest
from tasks.artifacts import Artifact, RunContext
from tasks.generate import PROMPTS_FILE
from tasks.runtime import progress
from tasks.runtime.cache import get_or_compute
from tasks.train import ADAPTER_FILE


@task(name="given adapter")
def import_adapter(context: RunContext, file: Path) -> Artifact:
    """An adapter file as a finished stage."""

    def work(folder: Path, bar: progress.StepProgress) -> None:
        shutil.copyfile(file, folder / ADAPTER_FILE)

    return get_or_compute(context, "given", file.name, {"file": file_digest(file)}, work)


@task(name="given images")
def import_images(
    context: RunContext,
    label: str,
    *,
    pictures: Mapping[str, Sequence[Path]],
    prompts: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Artifact:
    """Pictures that were drawn elsewhere as a finished stage of drawings.

    Args:
        place: where to keep them.
        label: what the user reads.
        pictures: prompt type -> files.
        prompts: prompt type -> ``{"text", "evaluation", "seed", "group"}`` records, in the same order.
    """
    inputs = {
        "pictures": {kind: [file_digest(file) for file in files] for kind, files in pictures.items()},
        "prompts": {kind: [[p["text"], p["evaluation"], p["seed"]] for p in some] for kind, some in prompts.items()},
    }

    def work(folder: Path, bar: progress.StepProgress) -> None:
        from lycoris.data.images import read_image

        for kind, files in pictures.items():
            (folder / kind).mkdir()
            for number, file in enumerate(files):
                read_image(file).save(folder / kind / f"{number:03d}.png")
        (folder / PROMPTS_FILE).write_text(json.dumps({kind: list(some) for kind, some in prompts.items()}))

    return get_or_compute(context, "given", label, inputs, work)
