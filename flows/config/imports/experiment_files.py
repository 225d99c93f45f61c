"""Write what was imported as an experiment and a concepts file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flows.config.imports.ai_toolkit import import_ai_toolkit, is_ai_toolkit
from flows.config.imports.imported import Imported, ImportedConcept
from flows.config.imports.kohya import import_kohya
from flows.config.imports.left_over import LeftOver, sort_left_over
from flows.config.imports.onetrainer import import_onetrainer, is_concepts, is_onetrainer
from flows.config.imports.reading import read_config
from flows.config.imports.simpletuner import import_simpletuner, is_backends, is_simpletuner
from flows.config.loading import parse_experiment
from lycoris.cache.atomic import atomic_write_text
from lycoris.captions.sidecar import Sidecars
from lycoris.data.class_folders import spare_triggers
from lycoris.data.concepts import CONCEPTS_FILE, load_concepts
from lycoris.data.images import list_images
from lycoris.data.kohya_folders import FALLBACK_NOUN
from lycoris.errors import InputError

EXPERIMENT_FILE = "experiment.yaml"
CATEGORY = "imported"
LENGTH_SETTINGS = frozenset({"steps", "epochs", "batch_size", "gradient_accumulation_steps"})
"""Settings that the number of steps depends on."""
MAX_DEPTH = 4
"""Folders between the data folder and an imported folder of images."""


@dataclass(frozen=True)
class ImportResult:
    """The files that were written.

    Attributes:
        experiment: the experiment.
        concepts: the concepts file.
        trainer: whose files were imported.
        left: keys and values that were not carried over, by what they ask of the user.
        notes: what else the user should know.
        blocking: what the user has to do before `lycoris run` accepts the experiment.
    """

    experiment: Path
    concepts: Path
    trainer: str
    left: LeftOver
    notes: list[str]
    blocking: list[str] = field(default_factory=list)

    @property
    def left_over(self) -> dict[str, str]:
        """Every key that was not carried over, as ``key = value`` -> the reason; empty where none is known."""
        return self.left.all


def import_config(
    files: Sequence[Path],
    out: Path,
    *,
    trigger: str | None = None,
    class_noun: str | None = None,
    base: str | None = None,
) -> ImportResult:
    """Import the files of another trainer.

    Args:
        files: the files of one training: a configuration, and those that belong to it.
        out: the folder to write to.
        trigger: of the concept, where there is only one; None for that of the files.
        class_noun: the same for the class noun.
        base: source of the base; None for that of the files.

    Raises:
        InputError: a file cannot be read or is not of a known trainer, or `out` has such files already.
    """
    imported = _read({file: read_config(file) for file in files})
    if not imported.concepts:
        raise InputError(f"The files `{', '.join(map(str, files))}` name no folder of images to train on.")
    imported.base = base or imported.base
    if not imported.base:
        raise InputError(f"The files `{', '.join(map(str, files))}` name no base model: add `--base`.")
    for value, name in ((trigger, "trigger"), (class_noun, "class_noun")):
        if value is not None and len(imported.concepts) > 1:
            raise InputError(f"Argument `{name}` needs one concept, but there are {len(imported.concepts)}.")
        if value is not None:
            setattr(imported.concepts[0], name, value)
    left_over = {text: reason for keys in imported.keys for text, reason in keys.left_over().items()}
    left = sort_left_over(left_over, {text for keys in imported.keys for text in keys.to_decide()})
    targets = [out / EXPERIMENT_FILE, out / CONCEPTS_FILE]
    for target in targets:
        if target.exists():
            raise InputError(f"File `{target}` exists already: choose another folder with `--out`.")
    root = _data_folder(imported)
    _limit_warmup(imported)
    experiment = _experiment(imported, root, targets[1])
    parse_experiment({**experiment, "data": str(root)})
    concepts = {"concepts": {one.name: _entry(one, root) for one in _with_triggers(imported)}}
    out.mkdir(parents=True, exist_ok=True)
    for target, content in zip(targets, (experiment, concepts), strict=True):
        atomic_write_text(target, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    try:
        load_concepts(root, targets[1])
    except InputError:
        for target in targets:
            target.unlink()
        raise
    return ImportResult(targets[0], targets[1], imported.trainer, left, imported.notes, imported.blocking)


def _read(contents: Mapping[Path, Any]) -> Imported:
    values = list(contents.values())
    if any(map(is_ai_toolkit, values)):
        if len(contents) > 1:
            raise InputError("ai-toolkit has one configuration file, but got several files.")
        return import_ai_toolkit(next(iter(contents)), values[0])
    if any(is_onetrainer(value) or is_concepts(value) for value in values):
        return import_onetrainer(contents)
    if any(is_simpletuner(value) or is_backends(value) for value in values):
        return import_simpletuner(contents)
    for file, value in contents.items():
        if not isinstance(value, Mapping) or not _is_kohya(value):
            raise InputError(
                f"Configuration file `{file}` is not of kohya's sd-scripts, OneTrainer, ai-toolkit or SimpleTuner."
            )
    return import_kohya(contents)


def _is_kohya(values: Mapping[str, Any]) -> bool:
    flat = {name for value in values.values() if isinstance(value, Mapping) for name in value} | set(values)
    return bool(flat & {"datasets", "pretrained_model_name_or_path", "train_data_dir", "dataset_config"})


def _data_folder(imported: Imported) -> Path:
    """The folder that holds all folders of images."""
    folders = [folder for one in imported.concepts for folder in (*one.folders, *one.prior)]
    root = Path(os.path.commonpath(folders))
    depth = max(len(folder.relative_to(root).parts) for folder in folders)
    if root in (Path(root.anchor), Path.home()) or depth > MAX_DEPTH:
        raise InputError(
            f"The folders of images must lie in one data folder, but `{folders[0]}` and `{folders[-1]}` have "
            f"`{root}` in common: move them together and change the configuration."
        )
    parts = {folder.relative_to(root).parts[:1] for folder in folders}
    others = [path.name for path in sorted(root.iterdir()) if (path.name,) not in parts and path.is_dir()]
    if others and () not in parts:
        imported.notes.append(
            f"The data folder is `{root}`, which also holds `{'`, `'.join(others[:5])}`{' ...' if others[5:] else ''}: "
            "they count in the version of the data. Folders of images only, in one of their own, would not."
        )
    return root


def _limit_warmup(imported: Imported) -> None:
    """Shorten a warm-up that is longer than the training, which other trainers allow."""
    from lycoris.training import TrainingSettings

    own = {name: imported.training[name] for name in LENGTH_SETTINGS & imported.training.keys()}
    settings = TrainingSettings(**own)
    counts = [sum(len(list_images(f)) * repeats for f, repeats in one.folders.items()) for one in imported.concepts]
    steps = min(settings.steps_after(settings.length, max(1, count)) for count in counts)
    warmup_steps = imported.training.get("warmup_steps") or 0
    if warmup_steps > steps:
        imported.training["warmup_steps"] = steps
        imported.notes.append(
            f"The warm-up of {warmup_steps} steps is longer than the training of {steps}: shortened to {steps}, over "
            "which the learning rate rises to its full value."
        )


def _experiment(imported: Imported, root: Path, concepts_file: Path) -> dict[str, Any]:
    images = [image for one in imported.concepts for folder in one.folders for image in list_images(folder)]
    captions = Sidecars.read(images, root)
    without = [image for image in images if captions.sentences(image) is None]
    if images and without and len(without) < len(images):
        imported.blocking.append(
            f"{len(without)} of {len(images)} images have no caption, such as `{without[0]}`: write one beside each "
            "(an empty file is the trigger alone), or add `--set captions=none`, which is the trigger alone for all."
        )
    strategy = "none" if len(without) == len(images) else "sentence"
    if strategy == "sentence":
        imported.notes.append("A caption without the trigger gets it in front: `a sks dog, ...`.")
    imported.notes.append("Images keep their shape at the base's own resolution, in buckets of about its area.")
    return {
        "name": imported.name or "imported",
        "data": str(root),
        "concepts_file": str(concepts_file.absolute()),
        "concepts": ["all"],
        "base": imported.base,
        **imported.options,
        "algorithms": [imported.adapter],
        "captions": [strategy],
        "captioner": "sidecar",
        "seeds": [imported.seed],
        "training": imported.training,
    }


def _with_triggers(imported: Imported) -> list[ImportedConcept]:
    """The concepts, with a spare trigger and the name as class noun where the files have none."""
    spare = spare_triggers(sorted(one.name for one in imported.concepts))
    for one in imported.concepts:
        noun = one.class_noun or " ".join(one.name.replace("_", " ").replace(",", " ").split()) or FALLBACK_NOUN
        if not one.trigger or not one.class_noun:
            one.trigger, one.class_noun = one.trigger or spare[one.name], noun
            imported.notes.append(
                f"Concept `{one.name}` has trigger `{one.trigger}` and class noun `{noun}`, which were partly chosen: "
                "see `--trigger` and `--class-noun`."
            )
    return imported.concepts


def _entry(concept: ImportedConcept, root: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"category": CATEGORY, "trigger": concept.trigger, "class_noun": concept.class_noun}
    entry["folders"] = {folder.relative_to(root).as_posix(): repeats for folder, repeats in concept.folders.items()}
    if concept.prior:
        entry["prior"] = {folder.relative_to(root).as_posix(): words for folder, words in concept.prior.items()}
    return entry
