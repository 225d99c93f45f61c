"""`lycoris init`: make a project."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

from flows.cli.options import JSON, PATH, Arguments, argument, option
from flows.cli.output import print_json, print_lines

DESCRIPTION = """\
Make a project in a folder: data/ with concepts.yaml, experiment.yaml, prefect.yaml. Files that are there stay as they
are. Without --from, data/ is the folder's own, or the images of the pocket.

  lycoris init my-bear --from photos                photos/ may be <category>/<class>/, <class>/ or images alone
  lycoris init --git --dvc                          here, with repositories that store the versions of data/
"""
PARAMETERS = (
    argument("folder", required=False, type=PATH, default=Path("."), help="the folder (default: this one)"),
    option("--from", "source", type=PATH, metavar="FOLDER", help="copy images, and the captions beside them, to data/"),
    option("--git", is_flag=True, help="make a git repository, unless the folder is in one"),
    option("--dvc", is_flag=True, help="make a DVC repository, unless the folder is in one, and store data/ in it"),
    JSON,
)


def run(arguments: Arguments) -> int:
    """Make the project and print what was created and what was there."""
    from flows.config.new_project import create_project

    project = create_project(arguments.folder, arguments.source, git=arguments.git, dvc=arguments.dvc)
    print_lines([*(f"created   {name}" for name in project.created), *(f"unchanged {name}" for name in project.kept)])
    folder = "" if project.folder == Path.cwd() else f"cd {shlex.quote(str(arguments.folder))} && "
    print_lines([f"data/ is version {project.data_version}.", f"Next: {folder}lycoris run experiment.yaml"])
    if arguments.json:
        print_json(asdict(project))
    return 0
