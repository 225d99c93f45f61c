"""Train an adapter in a plain script, without flows, servers or a database.

    python examples/train_adapter.py --steps 120 --out grumble.safetensors

The defaults train a LoRA of the pocket, the small embedded base, on eight images of one of its concepts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lycoris
from lycoris.data.images import list_images

GRUMBLE = Path(lycoris.__file__).parent / "pocket" / "images" / "movie_characters" / "grumble"


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a LoRA on a folder of images.")
    parser.add_argument("--images", type=Path, default=GRUMBLE, help="a folder of images")
    parser.add_argument("--caption", default="a ohw bear", help="the caption of every image, with the trigger")
    parser.add_argument("--base", default="pocket", help="pocket, a folder, a .safetensors file, or a hub name")
    parser.add_argument("--steps", type=int, default=120, help="training steps")
    parser.add_argument("--out", type=Path, default=Path("adapter.safetensors"), help="the adapter file")
    arguments = parser.parse_args()

    base = lycoris.open_base(arguments.base)
    network = lycoris.attach(base.parts, algorithm="lora", preset="full", rank=8, seed=0)
    examples = [lycoris.Example(file, arguments.caption) for file in list_images(arguments.images)[:8]]
    settings = lycoris.TrainingSettings(steps=arguments.steps, batch_size=4, learning_rate=5e-3, schedule="cosine")
    result = lycoris.train(base, lycoris.TrainingJob(network, examples, settings, seed=0))
    print(f"{arguments.steps} steps, last loss {result.losses[-1]:.3f}")

    network.save(arguments.out, metadata={"caption": arguments.caption})
    sampling = lycoris.GenerationSettings(steps=14, scheduler="dpm++-2m")
    [image] = lycoris.generate(base, [f"{arguments.caption} on a beach"], [1000], sampling)
    image.save(arguments.out.with_suffix(".png"))
    print(f"wrote {arguments.out} and {arguments.out.with_suffix('.png')}")


if __name__ == "__main__":
    main()
