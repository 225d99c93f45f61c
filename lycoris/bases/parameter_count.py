"""Count the parameters that an adapter would train on a base, without opening the base's weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

import lycoris
from lycoris.adapters.peft_methods.methods import PREFIX
from lycoris.bases.families import BASES
from lycoris.bases.family_matching import resolve_family
from lycoris.bases.files.diffusers_folder import find_base, read_json
from lycoris.bases.files.hub import download_snapshot, is_hub_name
from lycoris.bases.files.model_files import DiffusersFolder
from lycoris.bases.files.model_loading import import_class
from lycoris.errors import InputError
from lycoris.pocket import EMBEDDED_BASES

ADAPTABLE_PARTS = tuple(
    dict.fromkeys(
        [*(family.denoiser for family in BASES.values()), *(p for f in BASES.values() for p in f.text_encoders)]
    )
)
"""The parts that can be adapted, by their names in a pipeline."""
CONFIG_FILES = ("model_index.json", "*/config.json", "scheduler/scheduler_config.json")
"""What a base's shapes are known from."""
ATTACH_OPTIONS = ("preset", "rank", "alpha", "factor")


def meta_parts(
    source: str | Path,
    *,
    tokenizer: str | Path | None = None,
    components: str | Path | None = None,
    prediction_type: str | None = None,
    vae: str | Path | None = None,
) -> dict[str, nn.Module]:
    """Build the parts of a base that can be adapted on the meta device: shapes without values.

    Of a hub model that is not in the cache, only the configurations are fetched.

    Args:
        source, tokenizer, components, prediction_type, vae: as for `lycoris.bases.open_base`.

    Raises:
        InputError: there is no such base, or a part's configuration cannot be read.
    """
    path = find_configs(source)
    if not path.is_dir():
        files, family = resolve_family(path, tokenizer, prediction_type, vae, components)
        classes = family.part_classes(files)
        return {
            part: files.empty_module(part, import_class(classes[part]))
            for part in (family.denoiser, *family.text_encoders)
        }
    files = DiffusersFolder(path)
    matching = next((each for each in BASES.values() if each.matches(files)), None)
    adaptable = ADAPTABLE_PARTS if matching is None else (matching.denoiser, *matching.text_encoders)
    parts = {}
    for name, entry in read_json(path / "model_index.json").items():
        if name not in adaptable or not isinstance(entry, list) or not all(entry):
            continue
        library, class_name = entry
        parts[name] = files.empty_module(name, import_class(f"{library}.{class_name}"))
    if not parts:
        raise InputError(
            f"`{path / 'model_index.json'}` must name a part that can be adapted, of {', '.join(ADAPTABLE_PARTS)}."
        )
    return parts


def count_parameters(parts: Mapping[str, nn.Module], settings: Mapping[str, Any]) -> int:
    """Count the parameters that an adapter trains.

    Args:
        parts: from `meta_parts`.
        settings: ``{"algorithm", "preset", "rank", "alpha", "factor", "options"}``; None is the algorithm's default.

    Raises:
        InputError: a setting does not fit some layer.
    """
    options = {name: settings[name] for name in ATTACH_OPTIONS if settings.get(name) is not None}
    network = attach_to_meta(parts, algorithm=settings["algorithm"], **options, **settings.get("options", {}))
    try:
        return sum(parameter.numel() for parameter in network.parameters())
    finally:
        network.detach()


def attach_to_meta(parts: Mapping[str, nn.Module], *, algorithm: str, **options: Any) -> lycoris.Network:
    """Attach an adapter to parts without values.

    A method of PEFT that begins with a decomposition of the weights is attached to copies with random values.

    Args:
        parts: from `meta_parts`.
        algorithm, options: as for `lycoris.attach`.

    Raises:
        InputError: a setting does not fit some layer.
    """
    try:
        return lycoris.attach(dict(parts), algorithm=algorithm, **options)
    except InputError as error:
        if not algorithm.startswith(PREFIX) or "meta" not in str(error):
            raise
    copies = {name: copy.deepcopy(part).to_empty(device="cpu") for name, part in parts.items()}
    for part in copies.values():
        for parameter in part.parameters():
            nn.init.normal_(parameter)
    return lycoris.attach(copies, algorithm=algorithm, **options)


def find_configs(source: str | Path) -> Path:
    """Locate a folder with the base's configurations, or its single file; of a hub model only they are fetched.

    Raises:
        InputError: there is no such base.
    """
    if str(source) in EMBEDDED_BASES or Path(source).expanduser().exists() or not is_hub_name(str(source)):
        return find_base(source)
    failure = f"Base `{source}` is not on this machine."
    return download_snapshot(str(source), CONFIG_FILES, failure)
