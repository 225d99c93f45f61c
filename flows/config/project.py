"""The folder of the user's project, and the files of the repository's top level, which a wheel carries as data."""

from __future__ import annotations

from pathlib import Path

CODE_ROOT = Path(__file__).resolve().parents[2]
"""The folder of the packages: a checkout of the repository, or `site-packages`."""
PROJECT_FILE = "experiment.yaml"
"""The file that makes a folder a project of its own; `lycoris init` writes it."""
_CARRIED = CODE_ROOT / "flows" / "resources"
"""Where a wheel has the files of the top level; absent in a checkout (see `pyproject.toml`)."""


def is_checkout() -> bool:
    """Return whether the code runs from a checkout of the repository."""
    return not _CARRIED.is_dir()


def resource(name: str) -> Path:
    """Return a file or folder of the repository's top level, such as ``"studies"``."""
    return (CODE_ROOT if is_checkout() else _CARRIED) / name


def project_root() -> Path:
    """Return the folder whose ``data/`` is versioned and in which deployments run.

    It is the working folder if that has an ``experiment.yaml`` or the code is installed, else the checkout.
    """
    here = Path.cwd()
    return CODE_ROOT if is_checkout() and not (here / PROJECT_FILE).is_file() else here


def deployment_file() -> Path:
    """Return the project's ``prefect.yaml``, else the one that the package carries."""
    own = project_root() / "prefect.yaml"
    return own if own.is_file() else resource("prefect.yaml")
