"""ai-toolkit: the YAML or JSON of a job with one process.

Source of the keys: github.com/ostris/ai-toolkit, config/examples and toolkit/config_modules.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.config.imports.imported import (
    Imported,
    find_folder,
    report_mask_folder,
    set_known,
    take_algorithm,
    take_optimizer,
    take_schedule,
)
from flows.config.imports.keys import Keys
from lycoris.errors import InputError


def is_ai_toolkit(values: Any) -> bool:
    """Whether a file is the configuration of an ai-toolkit job."""
    return isinstance(values, Mapping) and isinstance(values.get("config"), Mapping) and "process" in values["config"]


def import_ai_toolkit(file: Path, values: Mapping[str, Any]) -> Imported:
    """Import a job.

    Raises:
        InputError: the job has several processes, or a folder does not exist.
    """
    imported = Imported("ai-toolkit", training={"batch_size": 1, "caption_dropout": 0.0, "warmup_steps": 0})
    keys = Keys(values)
    imported.keys.append(keys)
    keys.take("job")
    config = keys.group("config")
    imported.name = str(config.take("name", default=""))
    processes = config.groups("process")
    if len(processes) != 1:
        raise InputError(f"Configuration file `{file}` must have one `process`, but has {len(processes)}.")
    (process,) = processes
    process.take("type")
    trigger = str(process.take("trigger_word", default=""))
    _take_network(process.group("network"), imported)
    _take_training(process.group("train"), imported)
    imported.base = str(process.group("model").take("name_or_path", default=""))
    prior = []
    for dataset in process.groups("datasets"):
        folder = find_folder(dataset, "folder_path", dataset.take("folder_path", "dataset_path"), [file.parent])
        caption = str(dataset.take("default_caption", default=""))
        words = caption.replace("[trigger]", trigger)
        dataset.take("caption_ext", "caption_type")  # captions are found in every form
        repeats = int(dataset.number("num_repeats", default=1))
        if dataset.take("is_reg", default=False):
            prior.append((folder, words))
        else:
            imported.add(words or trigger, folder.name, folder, repeats)
        set_known(
            imported.training,
            caption_dropout=dataset.number("caption_dropout_rate"),
            tag_dropout=dataset.number("token_dropout_rate"),
            shuffle_tags=dataset.take("shuffle_tokens"),
            horizontal_flip=dataset.take("flip_x"),
            mask="alpha" if dataset.take("alpha_mask", default=False) else None,
        )
        report_mask_folder(dataset, "mask_path")
    for folder, words in prior:
        imported.add_prior(folder, words)
    return imported


def _take_network(keys: Keys, imported: Imported) -> None:
    adapter = imported.adapter
    adapter["algorithm"] = take_algorithm(keys, "type", keys.take("type", default="lora"))
    rank = keys.number("linear", "rank", default=16)
    alpha = keys.number("linear_alpha", "alpha", default=rank)
    if adapter["algorithm"] == "lokr":
        set_known(adapter, factor=keys.number("lokr_factor"))
    elif adapter["algorithm"] != "full":
        adapter |= {"rank": int(rank), "alpha": float(alpha)}


def _take_training(keys: Keys, imported: Imported) -> None:
    training = imported.training
    set_known(
        training,
        steps=int(keys.number("steps", default=1000)),
        batch_size=keys.number("batch_size"),
        gradient_accumulation_steps=keys.number("gradient_accumulation_steps", "gradient_accumulation"),
        learning_rate=keys.number("lr", "unet_lr", default=1e-6),
        text_encoder_learning_rate=keys.number("text_encoder_lr"),
        clip_norm=keys.number("max_grad_norm"),
        min_snr=keys.number("min_snr_gamma"),
        noise_offset=keys.number("noise_offset"),
        gradient_checkpointing=keys.take("gradient_checkpointing"),
        prior_weight=keys.number("reg_weight"),
    )
    if not keys.take("train_text_encoder", default=False):
        imported.adapter["preset"] = "unet-attn-mlp"
    if not keys.take("train_unet", default=True):
        imported.adapter["preset"] = "text-encoder"
    take_optimizer(keys, "optimizer", keys.take("optimizer"), training)
    take_schedule(keys, "lr_scheduler", keys.take("lr_scheduler"), training)
    options = keys.group("optimizer_params")
    set_known(training, weight_decay=options.number("weight_decay"))
    average = keys.group("ema_config")
    if average.take("use_ema", default=False):
        training["ema_decay"] = float(average.number("ema_decay", default=0.999))
