"""`lycoris masks`: mask the subject of every image of a folder."""

from __future__ import annotations

from flows.cli.options import JSON, PATH, Arguments, argument, option, override, overrides
from flows.cli.output import print_json, print_lines, print_message

DESCRIPTION = """\
Find the subject of every image that has no mask, and write the masks beside the images as name.mask.png: white where
the loss counts. A training uses them with --set training.mask=file; edit them before, if you like.

A segmenter is a folder or a hub name of a CLIPSeg or SAM 3, which search what a text names (by default the class noun
of each concept), or of a SAM, which takes the object at the centre. Images in which it finds nothing are named, get no
mask, and train unmasked.

These options of `lycoris run` apply (--set): concepts, concepts_file, output.

  lycoris masks my-photos --segmenter CIDAS/clipseg-rd64-refined            # only say what would be masked
  lycoris masks my-photos --segmenter facebook/sam3 --prompt "dog" --write
  lycoris run --set data=my-photos --set training.mask=file
"""


PARAMETERS = (
    argument("data", type=PATH, help="a folder <category>/<class>/[<subclass>/]image"),
    option("--segmenter", required=True, metavar="MODEL", help="a folder or a hub name of a CLIPSeg, SAM or SAM 3"),
    option("--prompt", metavar="TEXT", help="what to search in every image (default: the class noun of each concept)"),
    option("--threshold", type=float, default=0.5, help="minimum probability of a pixel of the subject (0.5)"),
    option("--write", is_flag=True, help="write a mask beside each image that has none"),
    overrides(),
    JSON,
)


def run(arguments: Arguments) -> int:
    """Mask the folder's images."""
    from flows.config.loading import load_experiment
    from flows.steps.mask_files import Segmentation, write_mask_files

    experiment = load_experiment(None, (*arguments.overrides, override("data", arguments.data)))
    options = Segmentation(arguments.segmenter, arguments.prompt, arguments.threshold, arguments.write)
    result = write_mask_files(experiment, options)
    for note in result["notes"]:
        print_message(f"note      {note}")
    if arguments.write:
        print_message(f"{len(result['written'])} masks written")
        print_lines(result["written"])
    if arguments.json:
        print_json(result)
    return 0
