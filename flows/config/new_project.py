"""A new project: its data layout, its files, and on request its git and DVC repositories; no file is replaced."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from flows.config.project import resource
from lycoris.cache.atomic import atomic_write_text
from lycoris.data.class_folders import infer_entries
from lycoris.data.concepts import CONCEPTS_FILE, load_concepts
from lycoris.data.folders import walk_folders
from lycoris.errors import InputError
from lycoris.safety.yaml_loading import read_yaml

DATA = "data"
IGNORED = ("/runs/", "/.venv/")
_COPIED = ("experiment.yaml", "prefect.yaml")
_REAL_BASE = """\
# For photographs, a real base with encoders that fit them, and `captions: [none]` or a tagger (docs/captions.md):
# base: FOLDER_OR_HUB_NAME
# encoders: [openai/clip-vit-large-patch14, facebook/dinov2-large]
# captions: [none]
"""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass
class NewProject:
    """What `create_project` did.

    Attributes:
        folder: of the project, absolute.
        created: paths in it, relative; a copied folder of images counts as one.
        kept: paths that were there and are unchanged.
        data_version: DVC's hash of ``data/``.
    """

    folder: Path
    created: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    data_version: str | None = None

    def note(self, name: str, *, created: bool) -> None:
        """Record a path."""
        (self.created if created else self.kept).append(name)


def create_project(folder: Path, source: Path | None = None, *, git: bool = False, dvc: bool = False) -> NewProject:
    """Create a project in a folder, which may have files already.

    Args:
        folder: created when absent.
        source: a folder of images to copy to ``data/``, in any layout that `lycoris run` reads. None uses the folder's
            own ``data/``, else the images of the pocket.
        git: whether the folder becomes a git repository, unless it is in one.
        dvc: whether the folder becomes a DVC repository, with ``data/`` as its first version.

    Raises:
        InputError: `source` has no images or ``data/`` exists as well; the folder cannot be written; git or DVC fails.
    """
    project = NewProject(folder.resolve())
    data = project.folder / DATA
    if source is not None and data.exists():
        raise InputError(f"Option `--from` fills `{data}`, which exists already: leave the option out to use it.")
    if source is not None:
        load_concepts(source)  # what cannot be read is an error before anything is written
    try:
        project.folder.mkdir(parents=True, exist_ok=True)
        if git:
            _create_git(project)
        if source is not None:
            copy_images(source, data)
        own_images = data.is_dir()
        if own_images:
            project.note(f"{DATA}/", created=source is not None)
            if source is not None and (data / CONCEPTS_FILE).is_file():
                project.note(f"{DATA}/{CONCEPTS_FILE}", created=True)
            _write(project, f"{DATA}/{CONCEPTS_FILE}", lambda: _concepts_text(infer_entries(data)))
        for name in _COPIED:
            _write(project, name, partial(_resource_text, name, project.folder.name if own_images else None))
        if dvc:
            _write(project, "dvc.yaml", lambda: _stages_text(project.folder / "experiment.yaml"))
    except OSError as error:
        raise InputError(f"`{error.filename or project.folder}` cannot be written: {error.strerror}.") from error
    _record_data(project, dvc=dvc)
    return project


def copy_images(source: Path, data: Path) -> None:
    """Copy a folder of images, with the files beside them, as ``<category>/<class>/`` and a concepts file.

    A folder with a concepts file keeps its layout, and so does one with the folder names of kohya's trainers.
    """
    entries = {} if (source / CONCEPTS_FILE).is_file() else infer_entries(source)
    if not all(list(entry["folders"].values()) == [1] for entry in entries.values()) or not entries:
        _copy_tree(source, data)
    else:
        for name, entry in entries.items():
            (folder,) = entry["folders"]
            entry["folders"] = {f"{entry['category']}/{name}": 1}
            _copy_tree(source / folder, data / entry["category"] / name)
    if entries:
        atomic_write_text(data / CONCEPTS_FILE, _concepts_text(entries))


def _copy_tree(source: Path, target: Path) -> None:
    for folder in walk_folders(source):
        for file in sorted(folder.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                copy = target / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


def _concepts_text(entries: dict[str, dict[str, Any]]) -> str:
    """Return the entries as a concepts file, without fields that have their default."""
    for name, entry in entries.items():
        if entry["folders"] == {f"{entry['category']}/{name}": 1}:
            del entry["folders"]
    shown = {name: {field: value for field, value in entry.items() if value} for name, entry in entries.items()}
    return yaml.safe_dump({"concepts": shown}, sort_keys=False, allow_unicode=True)


def _resource_text(name: str, project: str | None) -> str:
    """Return a carried file; the experiment is named after a project with images of its own."""
    text = resource(name).read_text(encoding="utf-8")
    if name == "experiment.yaml" and project is not None and _NAME.fullmatch(project):
        text = re.sub(r"^name: .*$", f"name: {project}", text, count=1, flags=re.MULTILINE)
        text = re.sub(r"^base: .*\n", lambda line: line[0] + _REAL_BASE, text, count=1, flags=re.MULTILINE)
    return text


def _stages_text(experiment: Path) -> str:
    """Return the stages for `dvc repro`, whose result is that of the project's experiment."""
    settings = read_yaml(experiment.read_text(encoding="utf-8"), f"`{experiment}`")
    name = settings.get("name") if isinstance(settings, dict) else None
    text = resource("dvc.yaml").read_text(encoding="utf-8")
    return text if name is None else text.replace("runs/pocket/", f"runs/{name}/")


def _write(project: NewProject, name: str, text: Callable[[], str]) -> None:
    """Write a file unless it is there; `text` returns its content."""
    path = project.folder / name
    if not path.exists():
        atomic_write_text(path, text())
        project.note(name, created=True)
    elif name not in project.created:
        project.note(name, created=False)


def _create_git(project: NewProject) -> None:
    inside = ["git", "-C", str(project.folder), "rev-parse", "--is-inside-work-tree"]
    try:
        known = subprocess.run(inside, capture_output=True, check=False).returncode == 0
        if not known:
            command = ["git", "init", "--quiet", str(project.folder)]
            subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise InputError("Option `--git` needs git, which is not installed.") from error
    except subprocess.CalledProcessError as error:
        raise InputError(f"git refused for `{project.folder}`: {error.stderr.strip()}") from error
    project.note(".git/", created=not known)
    ignore = project.folder / ".gitignore"
    present = ignore.read_text(encoding="utf-8").splitlines() if ignore.exists() else []
    if missing := [line for line in IGNORED if line not in present]:
        atomic_write_text(ignore, "".join(f"{line}\n" for line in [*present, *missing]))
        project.note(".gitignore" if not present else ".gitignore (lines added)", created=True)


def _record_data(project: NewProject, *, dvc: bool) -> None:
    from tasks.data_versions.checkout import ensure_version
    from tasks.data_versions.dvc import add_to_cache, create_repository, dvc_dir

    if dvc:
        known = dvc_dir(project.folder) is not None
        if not known:
            create_repository(project.folder)
        project.note(".dvc/", created=not known)
    had_data, had_pointer = (project.folder / DATA).exists(), (project.folder / "data.dvc").exists()
    version = ensure_version(project.folder / DATA, project.folder)
    if dvc:
        add_to_cache(project.folder)
    project.data_version = version.hash
    if not had_data:
        project.note(f"{DATA}/", created=True)
    if (project.folder / "data.dvc").exists():
        project.note("data.dvc", created=not had_pointer)
