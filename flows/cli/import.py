"""`lycoris import`: turn the configuration of another trainer into an experiment."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from flows.cli.options import add_json
from flows.cli.output import print_json, print_lines, print_message

HELP = "turn the configuration of another trainer into an experiment"
DESCRIPTION = """\
Read the configuration of another trainer, write experiment.yaml and concepts.yaml for `lycoris run`, and name every
key that could not be carried over. Images and captions stay where they are.

  kohya's sd-scripts   the TOML of a training, of a dataset, or both
  OneTrainer           config.json, and concepts.json if the former does not name it
  ai-toolkit           the YAML or JSON of a job
  SimpleTuner          config.json, and multidatabackend.json if the former does not name it

  lycoris import dataset.toml training.toml --out my-dog
  lycoris run my-dog/experiment.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("configs", metavar="CONFIG", nargs="+", type=Path, help="the files of one training")
    parser.add_argument("--out", type=Path, default=Path("imported"), help="folder to write to (default: imported)")
    parser.add_argument("--base", help="the base model, in place of that of the files")
    parser.add_argument("--trigger", help="the trigger of the concept, where there is one concept")
    parser.add_argument("--class-noun", help="what kind of thing the concept is")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Import the files."""
    from flows.config.imports.experiment_files import import_config

    result = import_config(
        arguments.configs,
        arguments.out,
        trigger=arguments.trigger,
        class_noun=arguments.class_noun,
        base=arguments.base,
    )
    for text, reason in result.left_over.items():
        print_message(f"not carried over  {text}" + (f"  ({reason})" if reason else ""))
    for note in result.notes:
        print_message(f"note              {note}")
    print_lines([result.experiment])
    if arguments.json:
        print_json(asdict(result))
    return 0
