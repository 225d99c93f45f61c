"""Load an adapter file into a diffusers pipeline, scale it, and remove it again.

    python examples/load_into_diffusers.py grumble.safetensors "a ohw bear in a forest"

The file may be in any common format: LyCORIS or kohya, PEFT, diffusers. See docs/adapters.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

import lycoris
from lycoris.pocket import BASE


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate images at several scales of an adapter.")
    parser.add_argument("file", type=Path, help="an adapter file, or a folder written by PEFT")
    parser.add_argument("prompt")
    parser.add_argument("--pipeline", default=str(BASE), help="a diffusers folder or a hub name; default: the pocket")
    parser.add_argument("--steps", type=int, default=14, help="sampling steps")
    parser.add_argument("--out", type=Path, default=Path("scales.png"), help="one image per scale, side by side")
    arguments = parser.parse_args()

    pipeline = DiffusionPipeline.from_pretrained(arguments.pipeline).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    network = lycoris.load(arguments.file, pipeline)
    print(f"{network.algorithm}, {sum(parameter.numel() for parameter in network.parameters()):,} parameters")

    images = []
    for scale in (0.0, 0.5, 1.0):
        network.scale = scale
        generator = torch.Generator().manual_seed(1000)
        images += pipeline(arguments.prompt, num_inference_steps=arguments.steps, generator=generator).images
    network.detach()  # the pipeline is the unmodified base again

    row = images[0].copy().resize((images[0].width * len(images), images[0].height))
    for index, image in enumerate(images):
        row.paste(image, (index * image.width, 0))
    row.save(arguments.out)
    print(f"wrote {arguments.out}: scale 0, 0.5 and 1")


if __name__ == "__main__":
    main()
