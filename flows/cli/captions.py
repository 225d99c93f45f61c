"""`lycoris captions`: look at the captions of a folder of pictures, and correct them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lycoris.safety.redaction import printable

DESCRIPTION = """\
Tag every picture of a folder, write its caption under each strategy, and show them on one page: tags that belong to
a class struck out, with the counts that decided, and the numbers of each class. Options of `lycoris run` count here,
too: tagger, thresholds, vocabulary, captioner, captions, concepts, concepts_file, base, templates, output.

  lycoris captions my-photos
  lycoris captions my-photos --set tagger=SmilingWolf/wd-vit-tagger-v3 --set captions=all,adjusted,sentence --write
"""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    captions = commands.add_parser(
        "captions",
        help="look at the captions of a folder of pictures, and correct them",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    captions.add_argument("data", type=Path, help="folder <category>/<class>/[<subclass>/]image")
    captions.add_argument("--out", type=Path, help="the page; default: runs/captions/<folder>.html")
    captions.add_argument("--write", action="store_true", help="write the tags beside pictures that have none there")
    captions.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of `lycoris run`")
    captions.add_argument("--json", action="store_true", help="print everything as one JSON object, last line")
    captions.set_defaults(command=_captions)


def _captions(arguments: argparse.Namespace) -> int:
    from flows.cli.caption_page import caption_folder
    from flows.config.experiment import load_experiment

    experiment = load_experiment(None, (*arguments.set, f"data={json.dumps(str(arguments.data))}"))
    out = arguments.out or experiment.output / "captions" / f"{arguments.data.resolve().name}.html"
    names = None if experiment.concepts == ("all",) else experiment.concepts
    found = caption_folder(experiment, out, names=names, write_tags=arguments.write)
    for note in found["notes"]:
        print(printable(f"note      {note}"), file=sys.stderr)
    if arguments.write:
        print(f"{len(found['written'])} text files written", file=sys.stderr)
    print(found["page"], flush=True)
    if arguments.json:
        print(json.dumps(found, allow_nan=False))
    return 0
