"""Files of PEFT's methods: a PEFT folder, or one file with the configurations in its header."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from lycoris.adapters.files.formats import PRECISIONS, cast_tensor, check_suffix
from lycoris.adapters.files.metadata import read_json_entry
from lycoris.adapters.files.peft.config import CONFIG_FILE, CONFIG_KEY, read_config_file
from lycoris.adapters.files.peft.layout import output_files, tensor_files
from lycoris.adapters.files.safetensors_io import atomic_write_bytes, read_header, read_tensors, write_tensors
from lycoris.adapters.peft_methods.methods import METHODS, PREFIX, config_class, without_projection_warning
from lycoris.errors import InputError, unknown_name_error

OWN_TYPES = ("LORA", "LOHA", "LOKR", "IA3")
"""Types whose files this library reads as algorithms of its own, unless their header says otherwise."""


@dataclass(frozen=True)
class PeftPart:
    """One part of a file.

    Attributes:
        config: PEFT's configuration.
        tensors: PEFT's name → values.
    """

    config: Any
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class PeftMethodFile:
    """A file of a method of PEFT.

    Attributes:
        algorithm: `peft:` and the name of the method.
        settings: arguments that the network was created with; empty for files of PEFT.
        metadata: the header's strings.
        parts: name of a part, ``""`` where the file does not tell → its configuration and tensors.
    """

    algorithm: str
    settings: dict[str, Any]
    metadata: Mapping[str, str]
    parts: Mapping[str, PeftPart]


def write_peft_parts(
    path: str | PathLike[str],
    algorithm: str,
    settings: Mapping[str, Any],
    parts: Mapping[str, PeftPart],
    *,
    metadata: Mapping[str, str],
    dtype: str,
) -> None:
    """Write a PEFT folder, or a file with the configurations in its header.

    Args:
        path: of the file where it ends in `.safetensors`, else of the folder.
        algorithm, settings: for the header.
        parts: name of a part → configuration and tensors.
        metadata: further strings for the header.
        dtype: of the tensors, a name of `PRECISIONS`; whole numbers keep their own.

    Raises:
        InputError: an unknown dtype, or values that overflow.
    """
    check_suffix(path)
    if dtype not in PRECISIONS:
        raise unknown_name_error("dtype", dtype, PRECISIONS)
    header = {"format": "pt", "lycoris.algorithm": algorithm, "lycoris.settings": json.dumps(settings, sort_keys=True)}
    if settings.get("preset") is not None:
        header["lycoris.preset"] = str(settings["preset"])
    configs = {part: config_values(each.config) for part, each in parts.items()}
    cast = {
        part: {
            name: cast_tensor(name, values.detach(), dtype).contiguous().clone()
            for name, values in each.tensors.items()
        }
        for part, each in parts.items()
    }
    if Path(path).suffix == ".safetensors":
        header[CONFIG_KEY] = json.dumps(configs, sort_keys=True)
        tensors = {f"{part}.{name}": values for part, own in cast.items() for name, values in own.items()}
        write_tensors(path, tensors, {**header, **metadata})
        return
    for part, file in output_files(path, list(parts))[0].items():
        write_tensors(file, cast[part], {**header, **metadata})
        text = json.dumps(configs[part], indent=2, sort_keys=True)
        atomic_write_bytes(file.parent / CONFIG_FILE, [text.encode() + b"\n"])


def config_values(config: Any) -> dict[str, Any]:
    """Return the content of `adapter_config.json`, in an order that does not depend on the process."""
    return {name: _plain(value) for name, value in config.to_dict().items()} | {"base_model_name_or_path": None}


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(value)
    return value


def read_method_file(path: str | PathLike[str]) -> PeftMethodFile | None:
    """Read a file of a method of PEFT; None for the algorithms of this library, which read PEFT's files of their own.

    Raises:
        InputError: it is not an adapter, its method does not work here, or its configuration is not one of PEFT.
    """
    files = tensor_files(path)
    metadata = read_header(next(iter(files.values())))[0]
    if not Path(path).is_dir() and not (metadata.get("lycoris.algorithm") or "").startswith(PREFIX):
        beside = Path(path).parent / CONFIG_FILE
        if Path(path).name != "adapter_model.safetensors" or not beside.is_file():
            return None
    configs = _read_configs(path, files, metadata)
    types = {str(values.get("peft_type", "")).upper() for values in configs.values()}
    if len(types) != 1:
        return None
    (peft_type,) = types
    declared = metadata.get("lycoris.algorithm", "")
    if not declared.startswith(PREFIX) and (peft_type in ("", *OWN_TYPES) or declared):
        return None
    name = peft_type.lower()
    if name not in METHODS or not METHODS[name].layers:
        reason = METHODS[name].note if name in METHODS else "this library does not know it"
        raise InputError(f"File `{path}` is of PEFT's method {peft_type}, which does not work here: {reason}.")
    tensors = _read_parts(path, files, list(configs))
    parts = {part: PeftPart(_parse_config(path, name, values), tensors[part]) for part, values in configs.items()}
    settings = read_json_entry(path, metadata, "lycoris.settings")
    return PeftMethodFile(f"{PREFIX}{name}", settings, metadata, parts)


def _read_configs(
    path: str | PathLike[str], files: Mapping[str, Path], metadata: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    if CONFIG_KEY in metadata and (metadata.get("lycoris.algorithm") or "").startswith(PREFIX):
        configs = read_json_entry(path, metadata, CONFIG_KEY)
    else:
        configs = {part: read_config_file(file.parent / CONFIG_FILE) or {} for part, file in files.items()}
    if not configs or not all(isinstance(values, dict) for values in configs.values()):
        raise InputError(f"File `{path}` has no configuration of PEFT for each of its parts.")
    return configs


def _read_parts(path: str | PathLike[str], files: Mapping[str, Path], parts: list[str]) -> dict[str, dict[str, Tensor]]:
    if set(files) == set(parts):
        return {part: read_tensors(file)[1] for part, file in files.items()}
    tensors = read_tensors(next(iter(files.values())))[1]
    split: dict[str, dict[str, Tensor]] = {part: {} for part in parts}
    for key, values in tensors.items():
        part, _, name = key.partition(".")
        if part not in split:
            raise InputError(f"File `{path}`: tensor `{key}` is of no part in its configuration.")
        split[part][name] = values
    return split


def _parse_config(path: str | PathLike[str], name: str, values: Mapping[str, Any]) -> Any:
    """Return a configuration with the fields of a file, all of which the installed version must have."""
    cls = config_class(name)
    fields = {each.name: each for each in dataclasses.fields(cls)}
    unknown = sorted(field for field, value in values.items() if field not in fields and value not in (None, False))
    if unknown:
        raise unknown_name_error(f"field of `{path}`, a configuration of `{PREFIX}{name}`,", unknown[0], fields)
    own = {
        field: value
        for field, value in values.items()
        if field in fields and fields[field].init and field not in ("peft_type", "auto_mapping", "peft_version")
    }
    try:
        with without_projection_warning():
            return cls(**own)
    except (ValueError, TypeError, AssertionError) as error:
        raise InputError(f"File `{path}` has a configuration that PEFT refuses: {error}") from error
