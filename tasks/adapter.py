"""Train one adapter and keep its file, its checkpoints and its curves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task

from lycoris.store import code_version, key
from tasks import compute, progress
from tasks.records import Cell, Place, Trained
from tasks.stages import stages

FILE = "adapter.safetensors"
FACTS = "training.json"
SAMPLES = "samples"
CODE = ("training", "bases", "adapters", "structure.py", "network.py", "formats.py", "images.py", "sampling.py")


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
    checkpoints: Sequence[int] = (),
    watch: Mapping[str, Any] | None = None,
) -> Trained:
    """Train an adapter on captioned pictures, unless the same was done before.

    Each checkpoint is a stage of its own: a shorter list finds what is there, and one that is missing is made by
    training again.

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
        checkpoints: epochs, or steps if the training's length is in steps, after which the adapter is kept too.
        watch: ``{"validation": {"hold_out", "every", "times"}, "samples": {"every", "prompts", "seeds", "drawing"}}``;
            either may be absent.

    Returns:
        The stages; each folder holds ``adapter.safetensors`` and ``training.json``, that of the end ``samples`` too.
    """
    whole = {
        "base": base_digest,
        "pictures": picture_digest,
        "captions": list(captions),
        "settings": dict(settings),
        "seed": cell.seed,
        "watch": dict(watch or {}),
        "code": code_version(*CODE),
    }
    kept = place.store / "unfinished" / key("adapter", {**whole, "checkpoints": list(checkpoints)})

    def work(folders: dict[int | None, Path], bar: progress.Bar) -> None:
        kept.mkdir(parents=True, exist_ok=True)
        data = (pictures, captions)
        facts = _train(place, cell, (base, base_digest), data, settings, checkpoints, watch or {}, bar, kept)
        facts["set_aside"] = {**(set_aside or {}), **facts["set_aside"]}
        for checkpoint, folder in folders.items():
            _keep(kept, checkpoint, facts, folder)

    inputs: dict[int | None, dict[str, Any]] = {each: {**whole, "after": each} for each in checkpoints}
    made = stages(place, "adapter", cell.label, {None: whole, **inputs}, work)
    shutil.rmtree(kept, ignore_errors=True)
    return Trained(made[None], {each: made[each] for each in checkpoints})


def _train(
    place: Place,
    cell: Cell,
    model: tuple[str, str],
    data: tuple[Sequence[Path], Sequence[str]],
    settings: Mapping[str, Any],
    checkpoints: Sequence[int],
    watch: Mapping[str, Any],
    bar: progress.Bar,
    kept: Path,
) -> dict[str, Any]:
    """Train into a folder in which a later call goes on; what is known of the training."""
    import lycoris
    from lycoris.training import Checkpoints, Example, TrainingSettings, When, train
    from lycoris.training.watching import said
    from tasks.watching import held_out_examples, looks

    source, digest = model
    base = compute.base(source, place.device)
    network = lycoris.attach(
        base.parts,
        algorithm=settings["algorithm"],
        seed=cell.seed,
        **{name: settings[name] for name in ("preset", "rank", "alpha", "factor") if settings.get(name) is not None},
    )
    header = {
        "concept": cell.concept,
        "captions": cell.captions,
        "seed": str(cell.seed),
        "settings": json.dumps(settings, sort_keys=True),
        "base": Path(source).name if Path(source).exists() else source,
        "base_digest": digest,
    }
    try:
        examples = [Example(Path(picture), caption) for picture, caption in zip(*data, strict=True)]
        examples, held_out = held_out_examples(examples, watch)
        cache = place.store / "encodings"
        result = train(
            base,
            network,
            examples,
            TrainingSettings(**settings["training"]),
            seed=cell.seed,
            progress=bar,
            checkpoint=kept / "state.safetensors",
            cache=cache,
            looks=[
                Checkpoints(kept / "checkpoints", When(at=checkpoints), header),
                *looks(base, held_out, watch, kept / SAMPLES, cache),
            ],
        )
        taken = said(result.steps, result.epochs)
        network.save(kept / FILE, metadata={**header, **taken})
        return {
            "step": result.steps,
            "epoch": float(taken["epoch"]),
            "losses": [round(loss, 6) for loss in result.losses],
            "bands": {
                name: [None if loss is None else round(loss, 6) for loss in losses]
                for name, losses in result.bands.items()
            },
            "seen": result.seen,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "layers": len(network),
            "seconds": result.seconds,
            "pictures": result.pictures,
            "upscaled": result.upscaled,
            "set_aside": result.set_aside,
        }
    finally:
        network.detach()


def _keep(kept: Path, checkpoint: int | None, facts: Mapping[str, Any], folder: Path) -> None:
    """Fill the folder of the end, or of a checkpoint, which knows of the training what was known then."""
    from lycoris import read_metadata

    if checkpoint is None:
        shutil.copyfile(kept / FILE, folder / FILE)
        if (kept / SAMPLES).is_dir():
            shutil.copytree(kept / SAMPLES, folder / SAMPLES)
    else:
        shutil.copyfile(kept / "checkpoints" / f"{checkpoint}.safetensors", folder / FILE)
        header = read_metadata(folder / FILE)
        step = int(header["step"])
        facts = {
            **facts,
            "step": step,
            "epoch": float(header["epoch"]),
            "losses": facts["losses"][:step],
            "bands": {name: losses[:step] for name, losses in facts["bands"].items()},
            "seen": [row for row in facts["seen"] if row["step"] <= step],
            "seconds": facts["seconds"] * step / facts["step"],
        }
    (folder / FACTS).write_text(json.dumps(facts))
