"""`lycoris import`: turn the configuration of another trainer into an experiment."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

from flows.cli.options import JSON, PATH, Arguments, argument, option
from flows.cli.output import print_json, print_lines, print_message

DESCRIPTION = """\
Read the configuration of another trainer, write experiment.yaml and concepts.yaml for `lycoris run`, and name every
key that could not be carried over: those to decide, those that are set otherwise here, and those without effect here.
Images and captions stay where they are.

  kohya's sd-scripts   the TOML of a training, of a dataset, or both
  OneTrainer           config.json, and concepts.json if the former does not name it
  ai-toolkit           the YAML or JSON of a job
  SimpleTuner          config.json, and multidatabackend.json if the former does not name it

  lycoris import dataset.toml training.toml --out my-dog
  lycoris run my-dog/experiment.yaml
"""


PARAMETERS = (
    argument("configs", metavar="CONFIG...", nargs=-1, required=True, type=PATH, help="the files of one training"),
    option("--out", type=PATH, default=Path("imported"), help="folder to write to (default: imported)"),
    option("--base", help="the base model, in place of that of the files"),
    option("--trigger", help="the trigger of the concept, where there is one concept"),
    option("--class-noun", help="what kind of thing the concept is"),
    JSON,
)


def run(arguments: Arguments) -> int:
    """Import the files."""
    from flows.config.imports.experiment_files import import_config

    result = import_config(
        arguments.configs,
        arguments.out,
        trigger=arguments.trigger,
        class_noun=arguments.class_noun,
        base=arguments.base,
    )
    command = f"lycoris run {shlex.quote(str(result.experiment))}"
    lines = [
        *(("not yet ready", text) for text in result.blocking),
        *result.left.lines(),
        *(("note", text) for text in result.notes),
        ("next", f"{command}   (it refuses until that is done)" if result.blocking else command),
    ]
    for label, text in lines:
        print_message(f"{label:<16}{text}")
    print_lines([result.experiment])
    if arguments.json:
        print_json({**asdict(result), "left_over": result.left_over})
    return 0
