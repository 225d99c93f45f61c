"""Where DVC's configuration puts its cache, and whether it names a remote; read without DVC."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

import platformdirs

from lycoris.errors import InputError


def cache_dir(project: Path) -> Path:
    """The folder in which DVC keeps the files of a project by their MD5."""
    folder = project / ".dvc"
    return folder / _read_config(project).get("cache", "dir", fallback="cache") / "files" / "md5"


def cached_file(cache: Path, md5: str) -> Path:
    """The path of a file, or of a manifest, in the cache."""
    return cache / md5[:2] / md5[2:]


def has_remote(project: Path) -> bool:
    """Whether a DVC remote is configured."""
    return any("remote" in name for name in _read_config(project).sections())


def _read_config(project: Path) -> configparser.ConfigParser:
    """The DVC configuration: that of the system, the user, the project and ``config.local``; later ones win."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read([*_shared_configs(), project / ".dvc" / "config", project / ".dvc" / "config.local"], "utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise InputError(f"The DVC configuration in `{project / '.dvc'}` cannot be read: {error}") from error
    return parser


def _shared_configs() -> list[Path]:
    """The files of the system's and the user's configuration, where DVC looks for them."""
    system = os.getenv("DVC_SYSTEM_CONFIG_DIR") or platformdirs.site_config_dir("dvc", "iterative")
    user = os.getenv("DVC_GLOBAL_CONFIG_DIR") or platformdirs.user_config_dir("dvc", "iterative")
    return [Path(system) / "config", Path(user) / "config"]
