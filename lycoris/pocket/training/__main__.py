"""Train the embedded models: `python -m lycoris.pocket.training vae --minutes 30 --work DIR`.

Every part goes on from its checkpoint in DIR. Two processor cores share a part with
`torchrun --nproc-per-node 2 -m lycoris.pocket.training ...`.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
from pathlib import Path

from lycoris.pocket.training.trainer import TimeBudget, init_distributed

PART_FUNCTIONS = {
    "vae": ("vae", "train_vae"),
    "decoder": ("vae", "train_decoder"),
    "latents": ("latents", "encode_latents"),
    "unet": ("unet", "train_unet"),
    "clip": ("clip", "train_clip"),
    "judge": ("classifiers", "train_judge"),
    "tagger": ("classifiers", "train_tagger"),
    "convnextv2": ("classifiers", "train_convnextv2"),
    "dinov2": ("classifiers", "train_dinov2"),
    "vgg": ("classifiers", "train_vgg"),
    "export": ("export", "export"),
    "report": ("evaluation", "evaluate_weights"),
}
"""Part: module and function, called with the work folder and a time budget."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="+", choices=list(PART_FUNCTIONS), metavar="part", help=", ".join(PART_FUNCTIONS)
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="time of each part")
    parser.add_argument("--cpu-time", action="store_true", help="count processor time instead of wall time")
    parser.add_argument("--work", type=Path, required=True, help="folder of stocks, checkpoints and parts")
    parser.add_argument("--rate", type=float, help="learning rate, of parts that let it be set")
    parser.add_argument("--batch", type=int, help="pictures a step of each process, of parts that let it be set")
    options = parser.parse_args()
    dials = {name: getattr(options, name) for name in ("rate", "batch") if getattr(options, name) is not None}
    init_distributed()
    for part in options.parts:
        module, name = PART_FUNCTIONS[part]
        function = getattr(importlib.import_module(f"lycoris.pocket.training.{module}"), name)
        if unknown := set(dials) - set(inspect.signature(function).parameters):
            parser.error(f"part {part} has no --{unknown.pop()}")
        function(options.work, TimeBudget(options.minutes, options.cpu_time), **dials)


if __name__ == "__main__":
    main()
