"""Validation loss of adapters on quantised bases, beside those on the float32 base.

    python -m benchmarks.quantized_bases --steps 60

Prints a table: validation loss before and after the training, and the mean of the training's losses.
"""

from __future__ import annotations

import argparse

import lycoris
from lycoris import pocket
from lycoris.bases import open_base
from lycoris.training import CallbackSchedule, Example, TrainingJob, TrainingSettings, ValidationCallback, train

ALGORITHMS = {
    "lora": {"rank": 8, "alpha": 4.0},
    "loha": {"rank": 4},
    "lokr": {"factor": 8},
    "t-lora": {"rank": 8, "alpha": 4.0},
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--precisions", nargs="*", default=["fp32", "nf4", "int8"])
    parser.add_argument("--algorithms", nargs="*", default=list(ALGORITHMS))
    arguments = parser.parse_args()
    images = sorted((pocket.IMAGES / "movie_characters" / "grumble").glob("*.png"))
    examples = [Example(file, "ohw creature") for file in images]
    schedule = CallbackSchedule(every=arguments.steps)
    settings = TrainingSettings(steps=arguments.steps, batch_size=2, learning_rate=1e-3, caption_dropout=0.0)
    print("| precision | algorithm | before | after | mean training loss |\n|---|---|---|---|---|")
    for precision in arguments.precisions:
        base = open_base("pocket", device="cpu", precision=precision)
        validate = ValidationCallback(base, examples, schedule, noise_levels=2)
        for algorithm in arguments.algorithms:
            network = lycoris.attach(base.parts, algorithm, seed=0, preset="attn-mlp", **ALGORITHMS[algorithm])
            before = validate(network)["validation"]
            losses = train(base, TrainingJob(network, examples, settings, 0)).losses
            after = validate(network)["validation"]
            network.detach()
            mean = sum(losses) / len(losses)
            print(f"| {precision} | {algorithm} | {before:.5f} | {after:.5f} | {mean:.5f} |", flush=True)


if __name__ == "__main__":
    main()
