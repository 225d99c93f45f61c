"""Train one adapter and keep its file and its loss curve."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.store import code_version, key
from tasks import compute, progress
from tasks.records import Cell, Made, Place
from tasks.stages import stage

FILE = "adapter.safetensors"
FACTS = "training.json"
CODE = ("training", "bases", "adapters", "structure.py", "network.py", "formats.py", "images.py")


@task(name="adapter", task_run_name="adapter {cell.name}")
def adapter(
    place: Place,
    cell: Cell,
    *,
    base: str,
    base_digest: str,
    pictures: Sequence[Path],
    picture_digest: str,
    captions: Sequence[str],
    settings: Mapping[str, Any],
    set_aside: Mapping[str, str] | None = None,
) -> Made:
    """Train an adapter on captioned pictures, unless the same was done before.

    Args:
        place: where to keep it.
        cell: which adapter of the study.
        base: the base's source.
        base_digest: hash of its files.
        pictures: file paths.
        picture_digest: hash of their bytes.
        captions: one a picture.
        settings: ``{"algorithm", "preset", "rank", "alpha", "factor", "training": {...}}``.
        set_aside: path to what is wrong with it, of the dataset's files that are not among `pictures`.

    Returns:
        The stage; its folder holds ``adapter.safetensors`` and ``training.json``.
    """
    inputs = {
        "base": base_digest,
        "pictures": picture_digest,
        "captions": list(captions),
        "settings": dict(settings),
        "seed": cell.seed,
        "code": code_version(*CODE),
    }
    state = place.store / "unfinished" / f"{key('adapter', inputs)}.safetensors"

    def work(folder: Path, bar: progress.Bar) -> None:
        state.parent.mkdir(exist_ok=True)
        _train(place, cell, base, pictures, captions, settings, set_aside or {}, folder, bar, state)

    made = stage(place, "adapter", cell.label, inputs, work)
    for file in state.parent.glob(f"{state.stem}.*"):  # the state, and the one before it
        file.unlink(missing_ok=True)
    return made


def _train(
    place: Place,
    cell: Cell,
    source: str,
    pictures: Sequence[Path],
    captions: Sequence[str],
    settings: Mapping[str, Any],
    set_aside: Mapping[str, str],
    folder: Path,
    bar: progress.Bar,
    state: Path,
) -> None:
    import lycoris
    from lycoris.training import Example, TrainingSettings, train

    base = compute.base(source, place.device)
    network = lycoris.attach(
        base.parts,
        algorithm=settings["algorithm"],
        seed=cell.seed,
        **{name: settings[name] for name in ("preset", "rank", "alpha", "factor") if settings.get(name) is not None},
    )
    try:
        examples = [Example(Path(picture), caption) for picture, caption in zip(pictures, captions, strict=True)]
        result = train(
            base,
            network,
            examples,
            TrainingSettings(**settings["training"]),
            seed=cell.seed,
            progress=bar,
            checkpoint=state,
            cache=place.store / "encodings",
        )
        header = {
            "concept": cell.concept,
            "captions": cell.captions,
            "seed": str(cell.seed),
            "settings": json.dumps(settings, sort_keys=True),
            "base": source,
        }
        network.save(folder / FILE, metadata=header)
        facts = {
            "losses": [round(float(loss), 6) for loss in result.losses],
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "layers": len(network),
            "seconds": result.seconds,
            "pictures": result.pictures,
            "upscaled": result.upscaled,
            "set_aside": {**set_aside, **result.set_aside},
        }
        (folder / FACTS).write_text(json.dumps(facts))
    finally:
        network.detach()
