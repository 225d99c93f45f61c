"""SimpleTuner: ``config.json`` and the ``multidatabackend.json`` that it names.

Source of the keys: github.com/bghira/SimpleTuner, documentation/OPTIONS.md and documentation/DATALOADER.md.
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


def is_simpletuner(values: Any) -> bool:
    """Whether a file is SimpleTuner's configuration."""
    return isinstance(values, Mapping) and any(str(name).lstrip("-") == "data_backend_config" for name in values)


def is_backends(values: Any) -> bool:
    """Whether a file is SimpleTuner's list of data backends."""
    return isinstance(values, list) and any(isinstance(one, Mapping) and "instance_data_dir" in one for one in values)


def import_simpletuner(files: Mapping[Path, Any]) -> Imported:
    """Import a configuration with its data backends.

    Raises:
        InputError: a folder or a file does not exist.
    """
    imported = Imported("SimpleTuner", training={"batch_size": 4, "caption_dropout": 0.0, "warmup_steps": 0})
    beside = [file.parent for file in files]
    backends = [values for values in files.values() if is_backends(values)]
    for values in files.values():
        if is_backends(values):
            continue
        keys = Keys({str(name).lstrip("-"): value for name, value in values.items()})
        imported.keys.append(keys)
        if (name := keys.take("data_backend_config")) is not None and not backends:
            around = [*beside, *(folder.parent for folder in beside)]
            content = read_config(find_file(keys, "data_backend_config", name, around))
            if not is_backends(content):
                raise InputError(f"Key `data_backend_config` names `{name}`, which must be a list of data backends.")
            backends.append(content)
        _take_training(keys, imported)
    for entries in backends:
        holder = Keys({"backends": entries})
        imported.keys.append(holder)
        prior: list[tuple[Path, str]] = []
        for backend in holder.groups("backends"):
            _take_backend(backend, imported, prior, beside)
        for folder, words in prior:
            imported.add_prior(folder, words)
    return imported


def _take_backend(keys: Keys, imported: Imported, prior: list[tuple[Path, str]], beside: Sequence[Path]) -> None:
    label, kind = keys.take("id", default=""), keys.take("dataset_type", default="image")
    if kind != "image":
        keys.drop_group("dataset_type", kind, f"backend `{label}` holds no images to train on and is left out")
        return
    if keys.take("disabled", "disable", default=False):
        keys.drop_group("disabled", True, f"backend `{label}` is switched off and left out")
        return
    if (place := keys.take("type", default="local")) != "local":
        keys.drop_group("type", place, f"backend `{label}` is not on this machine and is left out")
        return
    around = [*beside, *(folder.parent for folder in beside)]
    folder = find_folder(keys, "instance_data_dir", keys.take("instance_data_dir"), around)
    source = keys.take("caption_strategy", default="filename")
    words = str(keys.take("instance_prompt", default=""))
    if source == "textfile":
        words = ""
    elif source != "instanceprompt":
        keys.drop("caption_strategy", source, "captions are read from a file beside each image only", to_decide=True)
    repeats = int(keys.number("repeats", default=0)) + 1  # SimpleTuner counts the further times
    if keys.take("is_regularisation_data", "is_regularization_data", default=False):
        prior.append((folder, words))
    else:
        imported.add(words, str(label) or folder.name, folder, repeats)


def _take_training(keys: Keys, imported: Imported) -> None:
    training, adapter = imported.training, imported.adapter
    imported.base = str(keys.take("pretrained_model_name_or_path", default=""))
    imported.seed = int(keys.number("seed", default=0))
    kind = keys.take("lora_type", default="standard")
    full = keys.take("model_type", default="lora") == "full"
    adapter["algorithm"] = "full" if full else "lora"
    if kind == "lycoris":
        options = keys.take("lycoris_config", default={})
        if isinstance(options, Mapping):
            options = dict(options)
            adapter["algorithm"] = take_algorithm(keys, "lycoris_config.algo", options.pop("algo", "lora"))
            set_known(adapter, rank=options.pop("linear_dim", None), alpha=options.pop("linear_alpha", None))
            set_known(adapter, factor=options.pop("factor", None))
            for name, value in options.items():
                keys.drop(f"lycoris_config.{name}", value, "")
        else:
            keys.drop("lycoris_config", options, "a file of its own; set `algorithms`", to_decide=True)
    elif not full:
        rank = int(keys.number("lora_rank", default=16))
        adapter |= {"rank": rank, "alpha": float(keys.number("lora_alpha", default=rank))}
    if not keys.take("train_text_encoder", default=False):
        adapter["preset"] = "unet-attn-mlp"
    epochs, steps = keys.number("num_train_epochs"), keys.number("max_train_steps")
    set_known(training, epochs=epochs or None, steps=None if epochs else steps or 1000)
    set_known(
        training,
        batch_size=keys.number("train_batch_size"),
        gradient_accumulation_steps=keys.number("gradient_accumulation_steps"),
        learning_rate=keys.number("learning_rate"),
        text_encoder_learning_rate=keys.number("text_encoder_lr"),
        warmup_steps=keys.number("lr_warmup_steps"),
        caption_dropout=keys.number("caption_dropout_probability"),
        clip_norm=keys.number("max_grad_norm"),
        min_snr=keys.number("snr_gamma"),
        noise_offset=keys.number("noise_offset") if keys.take("offset_noise", default=False) else None,
        zero_terminal_snr=keys.take("rescale_betas_zero_snr"),
        gradient_checkpointing=keys.take("gradient_checkpointing"),
    )
    if keys.take("use_ema", default=False):
        training["ema_decay"] = float(keys.number("ema_decay", default=0.995))
    take_schedule(keys, "lr_scheduler", keys.take("lr_scheduler"), training)
    take_optimizer(keys, "optimizer", keys.take("optimizer"), training)
