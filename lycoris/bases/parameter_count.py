"""How many numbers an adapter would train on a base, found without opening the base's weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import lycoris
from lycoris.bases.files.diffusers_folder import find_base, read_json
from lycoris.errors import InputError

ADAPTABLE_PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2")
"""The parts that can be adapted, by their names in a pipeline."""
ATTACH_OPTIONS = ("preset", "rank", "alpha", "factor")


def meta_parts(source: str | Path) -> dict[str, nn.Module]:
    """The parts of a base that can be adapted, on the meta device: shapes without numbers.

    Of a hub name that is not on this machine only the configurations are fetched.

    Args:
        source: as for `lycoris.bases.open_base`.

    Raises:
        InputError: there is no such base, or a part's configuration cannot be read.
    """
    import diffusers
    import transformers

    path = _find_configs(source)
    if not path.is_dir():
        from lycoris.bases import open_base

        return open_base(path, device="meta", dtype="float32").parts
    found = {}
    for name, told in read_json(path / "model_index.json").items():
        if name not in ADAPTABLE_PARTS or not isinstance(told, list) or not all(told):
            continue
        library, kind = told
        config = read_json(path / name / "config.json")
        with torch.device("meta"):
            if library == "diffusers":
                found[name] = getattr(diffusers, kind).from_config(config)
            else:
                made = getattr(transformers, kind)
                found[name] = made(made.config_class.from_dict(config))
    if not found:
        raise InputError(
            f"`{path / 'model_index.json'}` must name a part that can be adapted, of {', '.join(ADAPTABLE_PARTS)}."
        )
    return found


def count_parameters(parts: Mapping[str, nn.Module], settings: Mapping[str, Any]) -> int:
    """The numbers that an adapter trains.

    Args:
        parts: of `shapes_of`.
        settings: ``{"algorithm", "preset", "rank", "alpha", "factor"}``; what is None is the algorithm's default.

    Raises:
        InputError: a setting is not possible on some layer.
    """
    options = {name: settings[name] for name in ATTACH_OPTIONS if settings.get(name) is not None}
    network = lycoris.attach(dict(parts), algorithm=settings["algorithm"], **options)
    try:
        return sum(parameter.numel() for parameter in network.parameters())
    finally:
        network.detach()


def _find_configs(source: str | Path) -> Path:
    """A folder with the base's configurations, or its single file."""
    here = Path(source).expanduser()
    if str(source) == "pocket" or here.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        return find_base(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(source), allow_patterns=["model_index.json", "*/config.json"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"Base `{source}` is not on this machine, and the hub did not answer: {reason}") from error
