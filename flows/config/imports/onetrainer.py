"""OneTrainer: ``config.json`` and the ``concepts.json`` that it names, or holds.

Source of the keys: github.com/Nerogar/OneTrainer, modules/util/config/TrainConfig.py and ConceptConfig.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.config.imports.imported import (
    Imported,
    find_file,
    find_folder,
    set_known,
    take_algorithm,
    take_optimizer,
    take_schedule,
)
from flows.config.imports.keys import Keys
from flows.config.imports.reading import read_config
from lycoris.errors import InputError

DEFAULTS: Mapping[str, Any] = {"epochs": 100, "batch_size": 1, "learning_rate": 3e-6, "warmup_steps": 200}
"""What OneTrainer uses where its file lacks a key."""


def is_onetrainer(values: Any) -> bool:
    """Whether a file is OneTrainer's configuration."""
    return isinstance(values, Mapping) and bool({"training_method", "concept_file_name"} & values.keys())


def is_concepts(values: Any) -> bool:
    """Whether a file is OneTrainer's list of concepts."""
    return isinstance(values, list) and all(isinstance(one, Mapping) and "path" in one for one in values)


def import_onetrainer(files: Mapping[Path, Any]) -> Imported:
    """Import a configuration with its concepts.

    Raises:
        InputError: a folder or a file does not exist, or there are no concepts.
    """
    imported = Imported("OneTrainer", training=dict(DEFAULTS))
    beside = [file.parent for file in files]
    concepts = [values for values in files.values() if is_concepts(values)]
    for values in files.values():
        if not is_concepts(values):
            keys = Keys(values)
            imported.keys.append(keys)
            own, file = keys.take("concepts"), keys.take("concept_file_name")
            if own:
                concepts.append(own)
            elif file is not None and not concepts:
                content = read_config(
                    find_file(keys, "concept_file_name", file, [*beside, *(one.parent for one in beside)])
                )
                if not is_concepts(content):
                    raise InputError(f"Key `concept_file_name` names `{file}`, which must be a list of concepts.")
                concepts.append(content)
            _take_training(keys, imported)
    for entries in concepts:
        holder = Keys({"concepts": entries})
        imported.keys.append(holder)
        for concept in holder.groups("concepts"):
            _take_concept(concept, imported, beside)
    return imported


def _take_concept(keys: Keys, imported: Imported, beside: Sequence[Path]) -> None:
    keys.take("seed")  # of augmentation only
    name, path = str(keys.take("name", default="")), keys.take("path")
    kind = str(keys.take("type", default="STANDARD")).upper()
    if not keys.take("enabled", default=True):
        keys.drop_group("enabled", False, f"concept `{name or path}` is switched off and left out")
        return
    if kind != "STANDARD" or keys.take("validation_concept", default=False):
        keys.drop_group("type", kind, f"concept `{name or path}` is not trained on and left out; see `validation`")
        return
    folder = find_folder(keys, "path", path, beside)
    repeats = float(keys.number("balancing", "repeats", default=1.0))
    if str(keys.take("balancing_strategy", default="REPEATS")).upper() != "REPEATS":
        keys.drop("balancing_strategy", "SAMPLES", "an epoch shows every image here")
        repeats = 1.0
    if repeats != max(1, round(repeats)):
        keys.drop("balancing", repeats, f"repeats are whole numbers here; {max(1, round(repeats))} is used")
    imported.add("", name or folder.name, folder, max(1, round(repeats)))
    if keys.take("include_subdirectories", default=False) and any(path.is_dir() for path in folder.iterdir()):
        keys.drop(
            "include_subdirectories",
            True,
            "folders below are subclasses here: add them to concepts.yaml",
            to_decide=True,
        )
    image, text = keys.group("image"), keys.group("text")
    set_known(imported.training, horizontal_flip=image.take("enable_random_flip"))
    _take_off(image)
    source = text.take("prompt_source", default="sample")
    if source != "sample":
        text.drop("prompt_source", source, "captions are read from a file beside each image only", to_decide=True)
    shuffles, keep = text.take("enable_tag_shuffling"), text.number("keep_tags_count")
    if text.take("tag_dropout_enable", default=False) and text.take("tag_dropout_mode", default="FULL") == "RANDOM":
        set_known(imported.training, tag_dropout=text.number("tag_dropout_probability"))
    set_known(imported.training, shuffle_tags=shuffles, keep_tokens=keep)
    if (delimiter := text.take("tag_delimiter", default=",")) != ",":
        text.drop("tag_delimiter", delimiter, "tags are separated by commas here")
    _take_off(text)
    if (weight := keys.number("loss_weight", default=1.0)) != 1:
        keys.drop("loss_weight", weight, "")


def _take_off(keys: Keys) -> None:
    """Take the switches that are off, and what belongs to them, since nothing is lost with them."""
    for switch in [key.split(" = ")[0].removeprefix(keys.label) for key in keys.left_over()]:
        value = keys.take(switch)
        if value not in (False, 0, 0.0, "", "NONE", 1) and not switch.endswith(("_mode", "_override", "_lowercase")):
            keys.drop(switch, value, "")


def _take_training(keys: Keys, imported: Imported) -> None:
    training, adapter = imported.training, imported.adapter
    imported.base = str(keys.take("base_model_name", default=""))
    method = str(keys.take("training_method", default="LORA")).upper()
    adapter["algorithm"] = (
        "full" if method == "FINE_TUNE" else take_algorithm(keys, "peft_type", keys.take("peft_type", default="LORA"))
    )
    if method not in ("LORA", "FINE_TUNE"):
        raise InputError(f"Key `training_method` must be LORA or FINE_TUNE, but got `{method}`.")
    rank, alpha = keys.number("lora_rank", default=16), keys.number("lora_alpha", default=1.0)
    if adapter["algorithm"] not in ("full", "lokr"):
        adapter |= {"rank": int(rank), "alpha": float(alpha)}
    if adapter["algorithm"] == "lokr":
        set_known(adapter, factor=keys.number("lokr_decompose_factor"))
    if not keys.group("text_encoder").take("train", default=True):
        adapter["preset"] = "unet-attn-mlp"
    set_known(
        training,
        epochs=keys.number("epochs"),
        batch_size=keys.number("batch_size"),
        gradient_accumulation_steps=keys.number("gradient_accumulation_steps"),
        learning_rate=keys.number("learning_rate"),
        clip_norm=keys.number("clip_grad_norm", default=1.0) or None,
        noise_offset=keys.number("offset_noise_weight"),
        zero_terminal_snr=keys.take("rescale_noise_scheduler_to_zero_terminal_snr"),
        mask="file" if keys.take("masked_training", default=False) else None,
    )
    warmup = keys.number("learning_rate_warmup_steps")
    if isinstance(warmup, float) and 0 < warmup < 1:
        keys.drop("learning_rate_warmup_steps", warmup, "a fraction of the steps; set `warmup_steps`", to_decide=True)
        warmup = 0
    set_known(training, warmup_steps=None if warmup is None else int(warmup))
    if str(keys.take("loss_weight_fn", default="CONSTANT")).upper() == "MIN_SNR_GAMMA":
        training["min_snr"] = float(keys.number("loss_weight_strength", default=5.0))
    if str(keys.take("ema", default="OFF")).upper() != "OFF":
        set_known(training, ema_decay=keys.number("ema_decay", default=0.999))
    take_schedule(keys, "learning_rate_scheduler", keys.take("learning_rate_scheduler"), training)
    optimizer = keys.group("optimizer")
    take_optimizer(optimizer, "optimizer", optimizer.take("optimizer"), training)
    set_known(training, weight_decay=optimizer.number("weight_decay"))
    first, second = optimizer.number("beta1"), optimizer.number("beta2")
    if first is not None and second is not None:
        training["betas"] = [first, second]
