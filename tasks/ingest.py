"""Bring what was made elsewhere into the store: adapter files, images, and adapters of the registry."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from prefect import task

from lycoris.cache.integrity import file_digest
from lycoris.safety.redaction import redacting_errors
from tasks.artifacts import Artifact, Prompts, RunContext
from tasks.generate import warn_of_black_images, write_prompts
from tasks.runtime import progress
from tasks.runtime.adapter_training import ADAPTER_FILE
from tasks.runtime.cache import get_or_compute
from tasks.tracking import registry
from tasks.tracking.client import TrackingServer
from tasks.tracking.registry import ModelVersion


@task(name="given adapter", task_run_name="given adapter {file.name}")
@redacting_errors
def import_adapter(context: RunContext, file: Path) -> Artifact:
    """Copy an adapter file into the store."""

    def compute(folder: Path, bar: progress.StepProgress) -> None:
        shutil.copyfile(file, folder / ADAPTER_FILE)

    return get_or_compute(context, "imported", file.name, {"file": file_digest(file)}, compute)


@task(name="given images", task_run_name="given images {label}")
@redacting_errors
def import_images(context: RunContext, label: str, images: Mapping[str, Sequence[Path]], prompts: Prompts) -> Artifact:
    """Copy images into the store, as a stage of generated images.

    Args:
        images: prompt type -> files.
        prompts: prompt type -> the prompt of each file.
    """
    inputs = {
        "images": {kind: [file_digest(file) for file in files] for kind, files in images.items()},
        "prompts": {kind: [[p.text, p.evaluation, p.seed] for p in some] for kind, some in prompts.items()},
    }

    def compute(folder: Path, bar: progress.StepProgress) -> None:
        from lycoris.data.images import ImageFiles, read_image

        copies = []
        for kind, files in images.items():
            (folder / kind).mkdir()
            for number, file in enumerate(files):
                copies.append(folder / kind / f"{number:03d}.png")
                read_image(file).save(copies[-1])
        write_prompts(folder, prompts)
        warn_of_black_images(label, ImageFiles(copies))

    return get_or_compute(context, "imported", label, inputs, compute)


def import_registered(context: RunContext, server: TrackingServer, version: ModelVersion) -> Artifact:
    """The adapter of a registered version: the artifact of its training if that is here, else its file, downloaded."""
    trained = context.store / "adapter" / str(version.artifact_key)
    if version.artifact_key is not None and (trained / ADAPTER_FILE).is_file():
        return Artifact(version.artifact_key, trained, cached=True, seconds=0.0)

    def compute(folder: Path, bar: progress.StepProgress) -> None:
        registry.pull(server, f"{version.concept}@{version.version}", folder / ADAPTER_FILE)

    label = f"{version.concept} · version {version.version}"
    artifact = get_or_compute(context, "pulled", label, {"sha256": version.sha256}, compute)
    return Artifact(version.artifact_key or artifact.key, artifact.folder, artifact.cached, artifact.seconds)
