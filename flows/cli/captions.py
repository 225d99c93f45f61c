"""`lycoris captions`: review the captions of a folder of images."""

from __future__ import annotations

from flows.cli.options import JSON, PATH, Arguments, argument, option, override, overrides
from flows.cli.output import print_json, print_lines, print_message

DESCRIPTION = """\
Tag every image in a folder, write its caption under each strategy, and show them on one page: the tags that belong to
the concept are crossed out, with the counts behind that decision, followed by statistics for each class.

These options of `lycoris run` apply (--set): tagger, thresholds, vocabulary, captioner, instruction, captions,
concepts, concepts_file, base, templates, output.

  lycoris captions my-photos
  lycoris captions my-photos --set tagger=SmilingWolf/wd-vit-tagger-v3 --set captions=all,adjusted,sentence --write
  lycoris captions my-photos --set captions=sentence --set captioner=Qwen/Qwen3-VL-4B-Instruct
"""


PARAMETERS = (
    argument("data", type=PATH, help="a folder <category>/<class>/[<subclass>/]image"),
    option("--out", type=PATH, help="the page to write (default: runs/captions/<folder>.html)"),
    option("--write", is_flag=True, help="write a tag file beside each image that has none"),
    overrides(),
    JSON,
)


def run(arguments: Arguments) -> int:
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
