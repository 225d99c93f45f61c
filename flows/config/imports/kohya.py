"""Kohya's sd-scripts: the TOML of a dataset, the TOML of a training, or both.

Source of the keys: the documents of github.com/kohya-ss/sd-scripts, `config_README-en.md` and `train_network.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.config.imports.imported import (
    Imported,
    find_file,
    find_folder,
    report_mask_folder,
    set_known,
    take_algorithm,
    take_optimizer,
    take_schedule,
)
from flows.config.imports.keys import Keys
from flows.config.imports.reading import read_config
from lycoris.data.images import list_images
from lycoris.data.kohya_folders import KohyaFolder
from lycoris.errors import InputError

CAPTION_KEYS = ("shuffle_caption", "keep_tokens", "caption_dropout_rate", "caption_tag_dropout_rate", "flip_aug")
"""Keys of captions and images, which a training, a dataset or a subset may have."""


def is_dataset(values: Mapping[str, Any]) -> bool:
    """Whether a file is the configuration of a dataset."""
    return isinstance(values.get("datasets"), list)


def import_kohya(files: Mapping[Path, Mapping[str, Any]]) -> Imported:
    """Import a dataset, a training, or both.

    Raises:
        InputError: a folder or a file does not exist, or there are no images.
    """
    imported = Imported("kohya's sd-scripts", training={"batch_size": 1, "caption_dropout": 0.0, "warmup_steps": 0})
    beside = [file.parent for file in files]
    datasets = {file: values for file, values in files.items() if is_dataset(values)}
    trainings = [values for values in files.values() if not is_dataset(values)]
    folders: list[tuple[Path, bool]] = []
    for values in trainings:
        keys = Keys(_flatten(values))
        imported.keys.append(keys)
        if (dataset := keys.take("dataset_config")) is not None:
            file = find_file(keys, "dataset_config", dataset, beside)
            datasets[file] = read_config(file)
        for name, is_prior in (("train_data_dir", False), ("reg_data_dir", True)):
            if (folder := keys.take(name)) is not None:
                folders.append((find_folder(keys, name, folder, beside), is_prior))
        _take_training(keys, imported)
    for file, values in datasets.items():
        _take_datasets(Keys(values), imported, [file.parent, *beside])
    for folder, is_prior in () if datasets else folders:
        _take_numbered(folder, imported, is_prior=is_prior)
    if datasets and folders:
        imported.notes.append("`train_data_dir` and `reg_data_dir` are not used where there is a dataset's file.")
    return imported


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Join the sections of a training's file, which sd-scripts ignores."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= value if isinstance(value, Mapping) else {name: value}
    return flat


def _take_numbered(root: Path, imported: Imported, *, is_prior: bool) -> None:
    """Take the folders ``10_sks dog`` of a data folder."""
    found = False
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        parsed = KohyaFolder.parse(folder)
        if parsed is None or not list_images(folder):
            imported.notes.append(f"Folder `{folder}` is not named <repeats>_<words>, or has no images: not used.")
            continue
        found = True
        if is_prior:
            imported.add_prior(folder, parsed.words)
        else:
            imported.add(parsed.words, folder.name, folder, parsed.repeats)
    if not found:
        raise InputError(f"Folder `{root}` has no folders of images named <repeats>_<words>, such as `10_sks dog`.")


def _take_datasets(keys: Keys, imported: Imported, beside: Sequence[Path]) -> None:
    imported.keys.append(keys)
    scoped = (*CAPTION_KEYS, "batch_size", "num_repeats")
    general = _take_all(keys.group("general"), scoped, {})
    found: dict[str, list[Any]] = {name: [] for name in scoped}
    prior = []
    for dataset in keys.groups("datasets"):
        of_dataset = _take_all(dataset, scoped, general)
        for subset in dataset.groups("subsets"):
            values = _take_all(subset, scoped, of_dataset)
            folder = find_folder(subset, "image_dir", subset.take("image_dir"), beside)
            report_mask_folder(subset, "conditioning_data_dir")
            words = str(subset.take("class_tokens", default=""))
            if subset.take("is_reg", default=False):
                prior.append((folder, KohyaFolder.named(folder, words).words if words else ""))
                continue
            imported.add(words, folder.name, folder, int(values["num_repeats"] or 1))
            for name, value in values.items():
                found[name].append(value)
    for folder, words in prior:
        imported.add_prior(folder, words)
    set_known(imported.training, batch_size=found["batch_size"][-1] if found["batch_size"] else None)
    for name in CAPTION_KEYS:
        if len(set(found[name])) > 1:
            keys.drop(name, " and ".join(map(str, found[name])), "it differs between subsets; the last one is used")
        _take_caption_key(name, found[name][-1] if found[name] else None, imported)


def _take_all(keys: Keys, names: Sequence[str], outer: Mapping[str, Any]) -> dict[str, Any]:
    """The values of some keys in a scope, or else in the one around it."""
    return {name: keys.take(name, default=outer.get(name)) for name in names}


def _take_caption_key(name: str, value: Any, imported: Imported) -> None:
    names = {
        "shuffle_caption": "shuffle_tags",
        "keep_tokens": "keep_tokens",
        "caption_dropout_rate": "caption_dropout",
        "caption_tag_dropout_rate": "tag_dropout",
        "flip_aug": "horizontal_flip",
    }
    set_known(imported.training, **{names[name]: value})


def _take_training(keys: Keys, imported: Imported) -> None:
    training, adapter = imported.training, imported.adapter
    imported.base = str(keys.take("pretrained_model_name_or_path", default=imported.base))
    imported.name = str(keys.take("output_name", default=imported.name))
    imported.seed = int(keys.number("seed", default=imported.seed))
    _take_network(keys, adapter)
    epochs, steps = keys.number("max_train_epochs"), keys.number("max_train_steps")
    if epochs is not None and steps is not None:
        keys.drop("max_train_steps", steps, "`max_train_epochs` takes precedence")
    set_known(training, epochs=epochs, steps=None if epochs is not None else steps or 1600)
    set_known(
        training,
        batch_size=keys.number("train_batch_size"),
        gradient_accumulation_steps=keys.number("gradient_accumulation_steps"),
        learning_rate=keys.number("unet_lr", "learning_rate"),
        text_encoder_learning_rate=_one_rate(keys),
        clip_norm=keys.number("max_grad_norm", default=1.0) or None,
        noise_offset=keys.number("noise_offset"),
        min_snr=keys.number("min_snr_gamma"),
        zero_terminal_snr=keys.take("zero_terminal_snr"),
        cycles=keys.number("lr_scheduler_num_cycles"),
        gradient_checkpointing=keys.take("gradient_checkpointing"),
        prior_weight=keys.number("prior_loss_weight"),
    )
    report_mask_folder(keys, "conditioning_data_dir")
    if keys.take("alpha_mask", default=False):
        keys.take("masked_loss")
        training["mask"] = "alpha"
    elif masked := keys.take("masked_loss", default=False):
        keys.drop(
            "masked_loss",
            masked,
            "copy each mask as `name.mask.png` beside its image and set `training.mask: file`",
            to_decide=True,
        )
    set_known(imported.options, max_token_length=keys.number("max_token_length"))
    warmup = keys.number("lr_warmup_steps", default=0)
    if isinstance(warmup, float) and warmup < 1:
        keys.drop("lr_warmup_steps", warmup, "a fraction of the steps; set `warmup_steps`", to_decide=True)
    else:
        training["warmup_steps"] = int(warmup)
    take_schedule(keys, "lr_scheduler", keys.take("lr_scheduler"), training)
    take_optimizer(keys, "optimizer_type", keys.take("optimizer_type"), training)
    for name in CAPTION_KEYS:
        _take_caption_key(name, keys.take(name), imported)


def _one_rate(keys: Keys) -> Any:
    """The rate of the text encoder, which may be a list with one for each."""
    rate = keys.take("text_encoder_lr")
    if isinstance(rate, list):
        if len(set(rate)) > 1:
            keys.drop("text_encoder_lr", rate, "one rate for each text encoder; the first one is used for all")
        rate = rate[0] if rate else None
    return rate


def _take_network(keys: Keys, adapter: dict[str, Any]) -> None:
    arguments = dict(str(argument).partition("=")[::2] for argument in keys.take("network_args", default=[]) or [])
    module = str(keys.take("network_module", default="networks.lora"))
    algorithm = arguments.pop("algo", "lora") if module == "lycoris.kohya" else module.rpartition(".")[2].split("_")[0]
    adapter["algorithm"] = take_algorithm(keys, "network_module", algorithm)
    rank, alpha = keys.number("network_dim"), keys.number("network_alpha")
    if adapter["algorithm"] == "lokr":
        set_known(adapter, factor=int(arguments.pop("factor", -1)))
        keys.drop("network_dim", rank, "LoKr takes a factor here") if rank is not None else None
    else:
        set_known(adapter, rank=rank)
    set_known(adapter, alpha=float(alpha or 1) if rank is not None and adapter["algorithm"] != "full" else None)
    if keys.take("network_train_unet_only", default=False):
        adapter["preset"] = "unet-attn-mlp"
    for name, value in arguments.items():
        keys.drop(f"network_args.{name}", value, "")
