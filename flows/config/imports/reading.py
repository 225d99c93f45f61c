"""Read the configuration files of other trainers: TOML, JSON or YAML."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from lycoris.data.text_files import read_text
from lycoris.errors import InputError, missing_path_error
from lycoris.safety.yaml_loading import read_yaml


def read_config(file: Path) -> Any:
    """Read a file by its suffix: ``.toml``, ``.json``, ``.yaml`` or ``.yml``.

    Raises:
        InputError: the file does not exist, or is not in its format.
    """
    if not file.is_file():
        raise missing_path_error("configuration file", file)
    text, suffix = read_text(file), file.suffix.casefold()
    try:
        if suffix == ".toml":
            return tomllib.loads(text)
        if suffix == ".json":
            return json.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise InputError(f"Configuration file `{file}` is not {suffix[1:].upper()}: {error}") from error
    if suffix in (".yaml", ".yml"):
        return read_yaml(text, f"The configuration file `{file}`")
    raise InputError(f"Configuration file `{file}` must be TOML, JSON or YAML, by its suffix.")
