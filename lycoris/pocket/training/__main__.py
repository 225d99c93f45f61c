"""Train the embedded models: `python -m lycoris.pocket.training vae --minutes 30 --work DIR`.

Every part continues from its checkpoint in DIR. To train a part on two CPU cores, run
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
    "flow": ("flow", "train_flow"),
    "clip": ("clip", "train_clip"),
    "judge": ("classifiers", "train_judge"),
    "tagger": ("classifiers", "train_tagger"),
    "convnextv2": ("classifiers", "train_convnextv2"),
    "dinov2": ("classifiers", "train_dinov2"),
    "vgg": ("classifiers", "train_vgg"),
    "vqa": ("questions", "train_questions"),
    "export": ("export", "export"),
    "report": ("evaluation", "evaluate_weights"),
    "report-flow": ("flow_evaluation", "evaluate_flow"),
}
"""Module and function of each part; the function takes the work folder and a time budget."""


def main() -> None:
    """Run the parts named on the command line, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="+", choices=list(PART_FUNCTIONS), metavar="part", help=", ".join(PART_FUNCTIONS)
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="time limit of each part")
    parser.add_argument("--cpu-time", action="store_true", help="limit CPU time instead of wall time")
    parser.add_argument("--work", type=Path, required=True, help="folder of datasets, checkpoints and trained parts")
    parser.add_argument("--learning-rate", type=float, help="peak learning rate, for parts that accept one")
    parser.add_argument("--batch-size", type=int, help="images per step and process, for parts that accept it")
    options = parser.parse_args()
    hyperparameters = {
        name: getattr(options, name) for name in ("learning_rate", "batch_size") if getattr(options, name) is not None
    }
    init_distributed()
    for part in options.parts:
        module, name = PART_FUNCTIONS[part]
        function = getattr(importlib.import_module(f"lycoris.pocket.training.{module}"), name)
        if unknown := set(hyperparameters) - set(inspect.signature(function).parameters):
            parser.error(f"part {part} does not accept --{unknown.pop().replace('_', '-')}")
        function(options.work, TimeBudget(options.minutes, options.cpu_time), **hyperparameters)


if __name__ == "__main__":
    main()
