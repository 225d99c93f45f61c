"""A training to kill: one adapter, or two on one base, with every callback and a checkpoint at every step."""

from __future__ import annotations

import json
from pathlib import Path

from lycoris.training import Example

STEPS = 10


def go(base: Path, images: list[Example], folder: Path, count: int) -> None:
    """Train `count` adapters and write all that comes of it below a folder, steps done into ``progress``."""
    import torch

    import lycoris
    from lycoris.bases import open_base
    from lycoris.bases.sampling import GenerationSettings
    from lycoris.training import (
        CallbackSchedule,
        CheckpointCallback,
        ImageCallback,
        TrainingJob,
        TrainingSettings,
        ValidationCallback,
        co_train,
        train,
    )

    torch.set_num_threads(1)
    opened = open_base(base, device="cpu")
    settings = TrainingSettings(steps=STEPS, batch_size=3, learning_rate=1e-2, warmup_steps=2, schedule="cosine")
    networks = [
        lycoris.attach(opened.parts, algorithm=name, seed=1, **options)
        for name, options in [("lora", {"dropout": 0.2}), ("lokr", {"factor": 4})][:count]
    ]
    jobs = []
    for number, network in enumerate(networks):
        own = folder / str(number)
        looks = (
            ValidationCallback(opened, images[:2], CallbackSchedule(every=3)),
            ImageCallback(
                opened, own / "samples", CallbackSchedule(every=4), ["a sks cat"], [5], GenerationSettings(steps=2)
            ),
            CheckpointCallback(own / "checkpoints", CallbackSchedule(at=(2, 5, 9))),
        )
        jobs.append(TrainingJob(network, images[2:], settings, number, own / "state.safetensors", looks))

    def tell(number: int, done: int, steps: int, loss: float) -> None:
        with open(folder / "progress", "a") as stream:
            stream.write(f"{number} {done}\n")

    if count == 1:
        results = [train(opened, jobs[0], checkpoint_seconds=0, progress=lambda *now: tell(0, *now))]
    else:
        results = co_train(opened, jobs, progress=tell, checkpoint_seconds=0)
    for number, (network, result) in enumerate(zip(networks, results, strict=True)):
        (folder / str(number) / "curves.json").write_text(
            json.dumps([result.losses, result.binned_losses, result.callback_records])
        )
        network.save(folder / str(number) / "adapter.safetensors", metadata={"seed": str(number)})
