"""Generate images with an adapter, or with the base alone."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task

from lycoris.cache.keys import source_hash
from lycoris.data.prompt_spec import PromptSpec
from lycoris.safety.redaction import redacting_errors
from tasks.artifacts import Artifact, ModelRef, Prompts, RunContext, SamplingSettings
from tasks.runtime import progress, resources
from tasks.runtime.adapter_training import ADAPTER_FILE
from tasks.runtime.cache import get_or_compute
from tasks.runtime.transfer import ensure_local, local_context
from tasks.trainings import TrainedAdapter

if TYPE_CHECKING:
    from PIL.Image import Image

    from lycoris.report.run.schema import GeneratedImage

PROMPTS_FILE = "prompts.json"
TIMING_FILE = "generation.json"
GENERATION_SOURCES = ("bases", "adapters", "pretrained.py")
"""Library code that generated images depend on."""
MAX_LISTED_IMAGES = 5

logger = logging.getLogger("lycoris.tasks.generate")


@task(name="images", task_run_name="images {label}")
@redacting_errors
def generate_images(
    context: RunContext,
    label: str,
    *,
    base: ModelRef,
    adapter: TrainedAdapter | None,
    checkpoint: int | None = None,
    prompts: Prompts,
    sampling: SamplingSettings,
    strength: float = 1.0,
) -> Artifact:
    """Generate an image of every prompt, unless they are cached.

    Args:
        adapter: a finished training, or None for the base alone.
        checkpoint: which of the training's checkpoints; None for its end.
        strength: factor of the adapter's changes.

    Returns:
        The stage; its folder holds ``<prompt type>/NNN.png``, ``prompts.json``, and ``generation.json`` with the
        number of images and the seconds they took.
    """
    context = local_context(context)
    file = None if adapter is None else adapter.at_checkpoint(checkpoint)
    inputs = generation_inputs(base.digest, file.key if file else None, prompts, sampling)
    if strength != 1:
        inputs["strength"] = strength
    request = _GenerationRequest(base, file, prompts, sampling, strength)

    def compute(folder: Path, bar: progress.StepProgress) -> None:
        warn_of_black_images(label, _generate(context, request, folder, bar))

    return get_or_compute(context, "images", label, inputs, compute)


def generation_inputs(
    base_digest: str, adapter_key: str | None, prompts: Prompts, sampling: SamplingSettings
) -> dict[str, Any]:
    """Everything that generated images depend on; `adapter_key` is the content key of the adapter."""
    options = asdict(sampling)
    del options["batch_size"]
    return {
        "base": base_digest,
        "adapter": adapter_key,
        "prompts": {kind: [[prompt.text, prompt.seed] for prompt in some] for kind, some in prompts.items()},
        "sampling": options,
        "code": source_hash(*GENERATION_SOURCES),
    }


def seconds_per_image(artifact: Artifact) -> float | None:
    """Seconds that one image took, without loading models; None if the stage does not record it."""
    file = artifact.folder / TIMING_FILE
    if not file.is_file():
        return None
    timing = json.loads(file.read_text())
    return timing["seconds"] / timing["images"] if timing["images"] else None


@dataclass(frozen=True)
class _GenerationRequest:
    """What is generated, with which models."""

    model: ModelRef
    adapter: Artifact | None
    prompts: Prompts
    sampling: SamplingSettings
    strength: float


def _generate(
    context: RunContext, request: _GenerationRequest, folder: Path, bar: progress.StepProgress
) -> Sequence[Image]:
    import lycoris
    from lycoris.bases.sampling import generate

    adapter, prompts = request.adapter, request.prompts
    base = resources.cached_base(context, request.model)
    network = lycoris.load(ensure_local(context, adapter).folder / ADAPTER_FILE, base.parts) if adapter else None
    try:
        if network is not None:
            network.scale = request.strength
        if network is not None and network.is_mergeable and not base.precisions.is_quantized:
            network.merge()  # exactly reversible, and each step is as fast as the base's
        started = time.monotonic()
        flat = [(kind, prompt) for kind, some in prompts.items() for prompt in some]
        images = generate(
            base,
            [prompt.text for _, prompt in flat],
            [prompt.seed for _, prompt in flat],
            request.sampling.generation,
            progress=bar,
        )
        counts = dict.fromkeys(prompts, 0)
        for (kind, _), image in zip(flat, images, strict=True):
            (folder / kind).mkdir(exist_ok=True)
            image.save(folder / kind / f"{counts[kind]:03d}.png", optimize=True)
            counts[kind] += 1
        timing = {"images": len(flat), "seconds": time.monotonic() - started}
        (folder / TIMING_FILE).write_text(json.dumps(timing))
        write_prompts(folder, prompts)
        return images
    finally:
        if network is not None:
            network.detach()


def warn_of_black_images(label: str, images: Sequence[Image]) -> None:
    """Log how many images have only black pixels: a sampler that diverged, or a safety checker, makes such images."""
    black = [number for number, image in enumerate(images) if image.convert("RGB").getbbox() is None]
    if black:
        numbers = ", ".join(str(number) for number in black[:MAX_LISTED_IMAGES])
        more = ", ..." if len(black) > MAX_LISTED_IMAGES else ""
        text = "%s: %d of %d images are entirely black (number %s%s), and are scored like the others."
        logger.warning(text, label, len(black), len(images), numbers, more)


def write_prompts(folder: Path, prompts: Prompts) -> None:
    """Write the prompts of a stage of images beside them."""
    records = {kind: [asdict(prompt) for prompt in some] for kind, some in prompts.items()}
    (folder / PROMPTS_FILE).write_text(json.dumps(records))


def read_prompts(artifact: Artifact) -> dict[str, list[PromptSpec]]:
    """The prompts of a stage of images, by prompt type."""
    records = json.loads((artifact.folder / PROMPTS_FILE).read_text())
    return {kind: [PromptSpec(**record) for record in some] for kind, some in records.items()}


def image_files(artifact: Artifact) -> dict[str, list[Path]]:
    """The files of a stage of images, by prompt type, in the order of the prompts."""
    return {
        kind: [artifact.folder / kind / f"{number:03d}.png" for number in range(len(prompts))]
        for kind, prompts in read_prompts(artifact).items()
    }


def image_records(artifact: Artifact) -> dict[str, list[GeneratedImage]]:
    """The images of a stage: prompt type -> ``{"image": path, "prompt", "seed"}`` records."""
    files = image_files(artifact)
    return {
        kind: [
            {"image": str(file), "prompt": prompt.text, "seed": prompt.seed}
            for file, prompt in zip(files[kind], prompts, strict=True)
        ]
        for kind, prompts in read_prompts(artifact).items()
    }
