"""A project of a user: git, DVC, and a data folder whose versions are commits."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tasks.data_versions.checkout import ensure_version


def run_git(project: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    subprocess.run(["git", "-C", str(project), *identity, *arguments], check=True, capture_output=True)


def init_project(project: Path) -> None:
    """Turn a folder that contains ``data/`` into a project."""
    from dvc.repo import Repo

    run_git(project, "init", "-q")
    Repo.init(str(project)).close()


def commit_data(project: Path, tag: str) -> str:
    """Version ``data/``, commit and tag it, and return its hash."""
    version = ensure_version(project / "data", project)
    run_git(project, "add", "data.dvc", ".dvc/config")
    run_git(project, "commit", "-qm", tag)
    run_git(project, "tag", tag)
    return version.hash
