"""`lycoris captions`: review the captions of a folder of images."""

from __future__ import annotations

import argparse
from pathlib import Path

from flows.cli.options import add_json, add_overrides, override
from flows.cli.output import print_json, print_lines, print_message

HELP = "review and correct the captions of a folder of images"
DESCRIPTION = """\
Tag every image in a folder, write its caption under each strategy, and show them on one page: the tags that belong to
the concept are crossed out, with the counts behind that decision, followed by statistics for each class.

These options of `lycoris run` apply (--set): tagger, thresholds, vocabulary, captioner, captions, concepts,
concepts_file, base, templates, output.

  lycoris captions my-photos
  lycoris captions my-photos --set tagger=SmilingWolf/wd-vit-tagger-v3 --set captions=all,adjusted,sentence --write
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("data", type=Path, help="a folder <category>/<class>/[<subclass>/]image")
    parser.add_argument("--out", type=Path, help="the page to write (default: runs/captions/<folder>.html)")
    parser.add_argument("--write", action="store_true", help="write a tag file beside each image that has none")
    add_overrides(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Caption the folder and write the page."""
    from flows.config.loading import load_experiment
    from flows.steps.caption_page import write_caption_page

    experiment = load_experiment(None, (*arguments.overrides, override("data", arguments.data)))
    out = arguments.out or experiment.output / "captions" / f"{arguments.data.resolve().name}.html"
    result = write_caption_page(experiment, out, write_tags=arguments.write)
    for note in result["notes"]:
        print_message(f"note      {note}")
    if arguments.write:
        print_message(f"{len(result['written'])} text files written")
    print_lines([result["page"]])
    if arguments.json:
        print_json(result)
    return 0
