"""`lycoris data`: compare, push, pull and remove versions of the data."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from flows.cli.options import JSON, PATH, Action, Arguments, argument, option
from flows.cli.output import print_json, print_lines
from flows.config.project import project_root
from lycoris.errors import InputError

REVISION_HELP = "a git revision whose data.dvc names the version, or the hash of a version"


def _revisions(*, required: bool, help: str) -> click.Argument:
    metavar = "REV..." if required else "[REV]..."
    return argument("revisions", nargs=-1, required=required, metavar=metavar, help=help)


def run(arguments: Arguments) -> int:
    """Run the chosen action."""
    arguments.action(arguments)
    return 0


def _locate_project(arguments: Arguments) -> tuple[Path, Path]:
    """Return the data folder and the project that versions it."""
    from tasks.data_versions.checkout import find_project

    project = find_project(arguments.data, project_root())
    if arguments.data == Path("data") and not arguments.data.is_dir():
        return project / "data", project
    return arguments.data, project


def _diff(arguments: Arguments) -> None:
    from tasks.data_versions.diff import diff_manifests, file_kind
    from tasks.data_versions.revisions import list_version

    data, project = _locate_project(arguments)
    first, before = list_version(arguments.first, data, project)
    second, after = list_version(arguments.second, data, project)
    diff = diff_manifests(before, after)
    changes = {"came": diff.added, "went": diff.removed, "changed": diff.changed, "moved": diff.moved}
    for sign, paths in (("+", diff.added), ("-", diff.removed), ("*", diff.changed)):
        print_lines(f"{sign} {file_kind(path):<9}{path}" for path in paths)
    print_lines(f"> {file_kind(target):<9}{source} -> {target}" for source, target in diff.moved)
    counts = ", ".join(f"{len(paths)} {name}" for name, paths in changes.items())
    print_lines([f"{first} -> {second}: {counts}"])
    if arguments.json:
        paths = (*diff.added, *diff.removed, *diff.changed, *(target for _, target in diff.moved))
        kinds = {path: file_kind(path) for path in paths}
        print_json({"first": first, "second": second, **changes, "kinds": kinds})


def _push(arguments: Arguments) -> None:
    from tasks.data_versions import dvc
    from tasks.data_versions.checkout import ensure_version

    data, project = _locate_project(arguments)
    if not arguments.revisions:
        version = ensure_version(data, project)  # the folder as it is
        if version.state == "outside":
            raise InputError(f"`{data}` is not versioned by `{project}`: name the revisions to push.")
    names = _version_hashes(arguments, project)
    count = dvc.push(names, project, arguments.remote)
    print_lines([f"{count} files of data version {', '.join(names)} were pushed."])


def _pull(arguments: Arguments) -> None:
    from tasks.data_versions import dvc
    from tasks.data_versions.revisions import sync_to_pointer

    _, project = _locate_project(arguments)
    names = _version_hashes(arguments, project)
    if not (arguments.revisions or arguments.remote or dvc.has_remote(project)):
        print_lines([f"No DVC remote is configured: data/ is version {sync_to_pointer(project)}, from this machine."])
        return
    count = dvc.fetch(names, project, arguments.remote)
    print_lines([f"{count} files of data version {', '.join(names)} were pulled."])
    if not arguments.revisions:
        sync_to_pointer(project)


def _version_hashes(arguments: Arguments, project: Path) -> list[str]:
    """Return the hashes of the requested revisions; of the version that data.dvc names if there are none."""
    from tasks.data_versions.manifest import read_pointer
    from tasks.data_versions.revisions import resolve_revision

    return [resolve_revision(name, project) for name in arguments.revisions] or [read_pointer(project / "data.dvc")]


def _remove(arguments: Arguments) -> None:
    from tasks.data_versions import dvc
    from tasks.data_versions.revisions import resolve_revision
    from tasks.tracking.client import existing_server
    from tasks.tracking.registry import champions_trained_on

    _, project = _locate_project(arguments)
    names = [resolve_revision(name, project) for name in arguments.revisions]
    for name in names:
        champions = champions_trained_on(existing_server(arguments.output), name)
        if champions:
            raise InputError(f"Data version {name} cannot be removed: {', '.join(champions)} depend on it.")
    for name in names:
        count = dvc.remove(name, project)
        shutil.rmtree(arguments.output / "data" / name.removesuffix(".dir"), ignore_errors=True)
        print_lines([f"Data version {name} was removed: {count} files that no other version contains."])


_DATA = option("--data", type=PATH, default=Path("data"), help="the data folder (default: data)")
_REMOTE = option("--remote", help="name in the DVC configuration; default: the default remote")
ACTIONS = {
    "diff": Action(
        "list the images and captions that were added, removed, moved or changed",
        (
            argument("first", metavar="REV1", help=REVISION_HELP),
            argument("second", metavar="[REV2]", required=False, help="default: the data folder as it is"),
            _DATA,
            JSON,
        ),
        _diff,
    ),
    "push": Action(
        "upload versions to a DVC remote",
        (_revisions(required=False, help="default: the version that data.dvc names"), _REMOTE, _DATA),
        _push,
    ),
    "pull": Action(
        "download versions from a DVC remote; without REV, also check out what data.dvc names",
        (_revisions(required=False, help="download into the cache only; data/ is not changed"), _REMOTE, _DATA),
        _pull,
    ),
    "remove": Action(
        "delete versions from the DVC cache, unless a champion depends on them",
        (
            _revisions(required=True, help=REVISION_HELP),
            option("--output", type=PATH, default=Path("runs"), help="output folder whose registry is checked"),
            _DATA,
        ),
        _remove,
    ),
}
