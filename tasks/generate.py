"""Draw pictures with an adapter, or with the untouched base, and keep them with their prompts."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.cache.store import code_version
from tasks.artifacts import Made, Place, Trained
from tasks.runtime import progress, resources
from tasks.runtime.cache import stage
from tasks.runtime.transfer import at_hand, here
from tasks.train import FILE

PROMPTS = "prompts.json"
FACTS = "drawing.json"
CODE = ("bases", "adapters")


@task(name="images", task_run_name="images {label}")
def images(
    place: Place,
    label: str,
    *,
    base: str,
    base_digest: str,
    adapter: Trained | None,
    checkpoint: int | None = None,
    prompts: Mapping[str, Sequence[Mapping[str, Any]]],
    sampling: Mapping[str, Any],
) -> Made:
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
    place = here(place)
    taken = adapter.at(checkpoint) if adapter else None
    inputs = inputs_of(base_digest, taken.key if taken else None, prompts, sampling)

    def work(folder: Path, bar: progress.Bar) -> None:
        _draw(place, base, taken, prompts, sampling, folder, bar)

    return stage(place, "images", label, inputs, work)


def inputs_of(
    base_digest: str,
    adapter: str | None,
    prompts: Mapping[str, Sequence[Mapping[str, Any]]],
    sampling: Mapping[str, Any],
) -> dict[str, Any]:
    """All that a stage of drawings depends on; `adapter` is the key of its stage."""
    return {
        "base": base_digest,
        "adapter": adapter,
        "prompts": {kind: [[p["text"], p["seed"]] for p in some] for kind, some in prompts.items()},
        "sampling": {name: value for name, value in sampling.items() if name != "batch_size"},
        "code": code_version(*CODE),
    }


def drawing_seconds(made: Made) -> float | None:
    """How long one picture took, opening networks left out; None of a stage that does not say."""
    file = made.folder / FACTS
    if not file.is_file():
        return None
    facts = json.loads(file.read_text())
    return facts["seconds"] / facts["pictures"] if facts["pictures"] else None


def _draw(
    place: Place,
    source: str,
    adapter: Made | None,
    prompts: Mapping[str, Sequence[Mapping[str, Any]]],
    sampling: Mapping[str, Any],
    folder: Path,
    bar: progress.Bar,
) -> None:
    import lycoris
    from lycoris.bases.sampling import draw

    base = resources.base(source, place.device)
    network = lycoris.load(at_hand(place, adapter).folder / FILE, base.parts) if adapter else None
    try:
        if network is not None:
            network.merge()  # exact to undo, and every step is as quick as the base's
        began = time.monotonic()
        everything = [(kind, prompt) for kind, some in prompts.items() for prompt in some]
        pictures = draw(
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
        (folder / FACTS).write_text(json.dumps(facts))
        (folder / PROMPTS).write_text(json.dumps({kind: list(some) for kind, some in prompts.items()}))
    finally:
        if network is not None:
            network.detach()


def drawn(made: Made) -> dict[str, list[dict[str, Any]]]:
    """What a stage of this task drew: prompt type -> ``{"image": path, "prompt", "seed"}`` records."""
    prompts = json.loads((made.folder / PROMPTS).read_text())
    return {
        kind: [
            {
                "image": str(made.folder / kind / f"{number:03d}.png"),
                "prompt": prompt["text"],
                "seed": prompt["seed"],
            }
            for number, prompt in enumerate(some)
        ]
        for kind, some in prompts.items()
    }
