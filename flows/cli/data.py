"""`lycoris data`: what changed between versions of the data, bytes to and from a DVC remote, and what may go."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from lycoris.errors import InputError
from lycoris.safety.redaction import printable

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
REVISION_HELP = "a git revision whose data.dvc says which version, or a version's own hash"


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    data = commands.add_parser("data", help="versions of the data: diff, push, pull, remove")
    actions = data.add_subparsers(required=True, metavar="ACTION")

    diff = actions.add_parser("diff", help="which pictures and captions came, went, moved or changed")
    diff.add_argument("first", metavar="REV1", help=REVISION_HELP)
    diff.add_argument("second", metavar="REV2", nargs="?", help="by default the data folder as it lies")
    diff.add_argument("--json", action="store_true", help="print the result as one JSON object, last line of stdout")
    diff.set_defaults(command=_diff)

    push = actions.add_parser("push", help="copy versions to a DVC remote")
    push.add_argument("revisions", metavar="REV", nargs="*", help="by default what data.dvc records")
    push.set_defaults(command=_push)

    pull = actions.add_parser(
        "pull", help="copy versions from a DVC remote; without REV also make data/ what data.dvc says"
    )
    pull.add_argument("revisions", metavar="REV", nargs="*", help="only into the cache; data/ stays as it is")
    pull.set_defaults(command=_pull)

    remove = actions.add_parser("remove", help="take versions out of DVC's cache, unless a champion stands on them")
    remove.add_argument("revisions", metavar="REV", nargs="+", help=REVISION_HELP)
    remove.add_argument("--output", type=Path, default=Path("runs"), help="the runs whose registry is asked")
    remove.set_defaults(command=_remove)

    for action in (push, pull):
        action.add_argument("--remote", help="its name in DVC's configuration; by default DVC's default remote")
    for action in (diff, push, pull, remove):
        action.add_argument("--data", type=Path, default=Path("data"), help="the data folder; default: data")


def _locate_project(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """The data folder and the project that versions it."""
    from tasks.data_versions.checkout import find_project

    project = find_project(arguments.data, PROJECT_ROOT)
    own = project / "data"
    data = own if arguments.data == Path("data") and not arguments.data.is_dir() else arguments.data
    return data, project


def _diff(arguments: argparse.Namespace) -> int:
    from tasks.data_versions.diff import diff_manifests, file_kind
    from tasks.data_versions.revisions import list_version

    data, project = _locate_project(arguments)
    (first, before), (second, after) = (
        list_version(name, data, project) for name in (arguments.first, arguments.second)
    )
    found = diff_manifests(before, after)
    for mark, paths in (("+", found.added), ("-", found.removed), ("*", found.changed)):
        for path in paths:
            print(printable(f"{mark} {file_kind(path):<9}{path}"))
    for source, target in found.moved:
        print(printable(f"> {file_kind(target):<9}{source} -> {target}"))
    names = {"came": found.added, "went": found.removed, "changed": found.changed, "moved": found.moved}
    count = ", ".join(f"{len(paths)} {name}" for name, paths in names.items())
    print(f"{first} -> {second}: {count}", flush=True)
    if arguments.json:
        kinds = {
            path: file_kind(path)
            for path in (*found.added, *found.removed, *found.changed, *(t for _, t in found.moved))
        }
        print(json.dumps({"first": first, "second": second, **names, "kinds": kinds}))
    return 0


def _push(arguments: argparse.Namespace) -> int:
    from tasks.data_versions import dvc
    from tasks.data_versions.checkout import ensure_version
    from tasks.data_versions.manifest import read_pointer
    from tasks.data_versions.revisions import resolve_revision

    data, project = _locate_project(arguments)
    if not arguments.revisions:
        version = ensure_version(data, project)  # the folder as it is
        if version.state == "outside":
            raise InputError(f"`{data}` is not versioned by `{project}`: name the revisions to push.")
    names = [resolve_revision(name, project) for name in arguments.revisions] or [read_pointer(project / "data.dvc")]
    count = dvc.push(names, project, arguments.remote)
    print(f"{count} files of data version {', '.join(names)} were pushed.")
    return 0


def _pull(arguments: argparse.Namespace) -> int:
    from tasks.data_versions import dvc
    from tasks.data_versions.manifest import read_pointer
    from tasks.data_versions.revisions import resolve_revision, sync_to_pointer

    _, project = _locate_project(arguments)
    names = [resolve_revision(name, project) for name in arguments.revisions] or [read_pointer(project / "data.dvc")]
    count = dvc.fetch(names, project, arguments.remote)
    print(f"{count} files of data version {', '.join(names)} were pulled.")
    if not arguments.revisions:
        sync_to_pointer(project)
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from tasks.data_versions import dvc
    from tasks.data_versions.revisions import resolve_revision
    from tasks.tracking import registry
    from tasks.tracking.client import existing_server

    _, project = _locate_project(arguments)
    names = [resolve_revision(name, project) for name in arguments.revisions]
    for name in names:
        needed = registry.champions_trained_on(existing_server(arguments.output), name)
        if needed:
            raise InputError(f"Data version {name} cannot be removed: {', '.join(needed)} stand on it.")
    for name in names:
        count = dvc.remove(name, project)
        shutil.rmtree(arguments.output / "data" / name.removesuffix(".dir"), ignore_errors=True)
        print(f"Data version {name} was removed: {count} files that no other version has.")
    return 0
