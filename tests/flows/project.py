"""A user's own project: git, DVC and a data folder whose versions are commits."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tasks.data_versions import dvc


def git(project: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    subprocess.run(["git", "-C", str(project), *identity, *arguments], check=True, capture_output=True)


def start(project: Path) -> None:
    """Make a folder that holds ``data/`` a project."""
    from dvc.repo import Repo

    git(project, "init", "-q")
    Repo.init(str(project)).close()


def commit(project: Path, tag: str) -> str:
    """Record ``data/`` as a version, commit it under a tag, and tell its hash."""
    found = dvc.version(project / "data", project)
    git(project, "add", "data.dvc", ".dvc/config")
    git(project, "commit", "-qm", tag)
    git(project, "tag", tag)
    return found.hash
