"""Draw pictures with an adapter, or with the untouched base, and keep them with their prompts."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.cache.store import source_hash
from tasks.artifacts import Artifact, RunContext, TrainedAdapter
from tasks.runtime import progress, resources
from tasks.runtime.cache import get_or_compute
from tasks.runtime.transfer import ensure_local, local_context
from tasks.train import ADAPTER_FILE

PROMPTS_FILE = "prompts.json"
TIMING_FILE = "drawing.json"
GENERATION_SOURCES = ("bases", "adapters")


@task(name="images", task_run_name="images {label}")
def generate_images(
    context: RunContext,
    label: str,
    *,
    base: str,
    base_digest: str,
    adapter: TrainedAdapter | None,
    checkpoint: int | None = None,
    prompts: Mapping[str, Sequence[Mapping[str, Any]]],
    sampling: Mapping[str, Any],
) -> Artifact:
    """Draw every prompt, unless the same was done before.

    Args:
        place: where to keep them.
        label: what the user reads.
        base: the base's source.
        base_digest: hash of its files.
        adapter: a finished training, or None for the untouched base.
        checkpoint: which of the training's; None is its end.
        prompts: prompt type -> ``{"text", "evaluation", "seed", "group"}`` records.
        sampling: ``{"scheduler", "steps", "guidance", "batch_size"}``.

    Returns:
        The stage; its folder holds ``<prompt type>/NNN.png``, ``prompts.json`` and ``drawing.json``: pictures, seconds.
    """
    context = local_context(context)
    taken = adapter.at_checkpoint(checkpoint) if adapter else None
    inputs = generation_inputs(base_digest, taken.key if taken else None, prompts, sampling)

    def work(folder: Path, bar: progress.StepProgress) -> None:
        _generate(context, base, taken, prompts, sampling, folder, bar)

    return get_or_compute(context, "images", label, inputs, work)


def generation_inputs(
    base_digest: str,
    adapter_key: str | None,
    prompts: Mapping[str, Sequence[Mapping[str, Any]]],
    sampling: Mapping[str, Any],
) -> dict[str, Any]:
    """All that a stage of drawings depends on; `adapter` is the key of its stage."""
    return {
        "base": base_digest,
        "adapter": adapter_key,
        "prompts": {kind: [[p["text"], p["seed"]] for p in some] for kind, some in prompts.items()},
        "sampling": {name: value for name, value in sampling.items() if name != "batch_size"},
        "code": source_hash(*GENERATION_SOURCES),
    }


def seconds_per_image(artifact: Artifact) -> float | None:
    """How long one picture took, opening networks left out; None of a stage that does not say."""
    file = artifact.folder / TIMING_FILE
    if not file.is_file():
        return None
    facts = json.loads(file.read_text())
    return facts["seconds"] / facts["pictures"] if facts["pictures"] else None


def _generate(
    context: RunContext,
    source: str,
    adapter: Artifact | None,
    prompts: Mapping[str, Sequence[Mapping[str, Any]]],
    sampling: Mapping[str, Any],
    folder: Path,
    bar: progress.StepProgress,
) -> None:
    import lycoris
    from lycoris.bases.sampling import generate

    base = resources.cached_base(source, context.device)
    network = lycoris.load(ensure_local(context, adapter).folder / ADAPTER_FILE, base.parts) if adapter else None
    try:
        if network is not None:
            network.merge()  # exact to undo, and every step is as quick as the base's
        began = time.monotonic()
        everything = [(kind, prompt) for kind, some in prompts.items() for prompt in some]
        pictures = generate(
            base,
            [prompt["text"] for _, prompt in everything],
            [prompt["seed"] for _, prompt in everything],
            steps=sampling["steps"],
            guidance=sampling["guidance"],
            scheduler=sampling["scheduler"],
            batch_size=sampling["batch_size"],
            progress=bar,
        )
        counts = dict.fromkeys(prompts, 0)
        for (kind, _), picture in zip(everything, pictures, strict=True):
            (folder / kind).mkdir(exist_ok=True)
            picture.save(folder / kind / f"{counts[kind]:03d}.png", optimize=True)
            counts[kind] += 1
        facts = {"pictures": len(everything), "seconds": time.monotonic() - began}
        (folder / TIMING_FILE).write_text(json.dumps(facts))
        (folder / PROMPTS_FILE).write_text(json.dumps({kind: list(some) for kind, some in prompts.items()}))
    finally:
        if network is not None:
            network.detach()


def image_records(artifact: Artifact) -> dict[str, list[dict[str, Any]]]:
    """What a stage of this task drew: prompt type -> ``{"image": path, "prompt", "seed"}`` records."""
    prompts = json.loads((artifact.folder / PROMPTS_FILE).read_text())
    return {
        kind: [
            {
                "image": str(artifact.folder / kind / f"{number:03d}.png"),
                "prompt": prompt["text"],
                "seed": prompt["seed"],
            }
            for number, prompt in enumerate(some)
        ]
        for kind, some in prompts.items()
    }
