"""Score a folder of generated images against reference images, with intervals.

    python examples/score_images.py generated/ references/ --prompt "a bear on a beach"

`lycoris score` does more: it reads captions beside the images and generates the base's images for comparison.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lycoris
from lycoris.data.images import ImageFiles, list_images
from lycoris.metrics import GeneratedImages, PromptSpec


def main() -> None:
    parser = argparse.ArgumentParser(description="Score a folder of generated images.")
    parser.add_argument("generated", type=Path, help="a folder of generated images")
    parser.add_argument("references", type=Path, help="a folder of images of the concept")
    parser.add_argument("--prompt", required=True, help="their prompt, with a description in place of the trigger")
    parser.add_argument("--encoders", default="clip,dinov2", help="short names, folders or hub names")
    arguments = parser.parse_args()

    encoders = [lycoris.open_encoder(name) for name in arguments.encoders.split(",")]
    files = list_images(arguments.generated)
    prompts = [PromptSpec(arguments.prompt, arguments.prompt, seed=1000 + index) for index in range(len(files))]
    images = {"trigger": GeneratedImages("trigger", ImageFiles(files), prompts)}

    references = lycoris.encode_references(ImageFiles(list_images(arguments.references)), encoders, category="objects")
    features = lycoris.encode(images, encoders, category="objects")
    for score in lycoris.compare(references, features, category="objects"):
        interval = "" if score.low is None else f" [{score.low:.3f}, {score.high:.3f}]"
        value = "none" if score.value is None else f"{score.value:.3f}"
        print(f"{score.name:45} {value}{interval}")


if __name__ == "__main__":
    main()
