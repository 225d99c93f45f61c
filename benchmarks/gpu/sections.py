"""What is measured beside step times, each in a process of its own; every function returns rows for one table."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import lycoris
from lycoris import pocket
from lycoris.bases import Base, open_base
from lycoris.bases.sampling import GenerationSettings, generate
from lycoris.training import Example, TrainingJob, TrainingResult, TrainingSettings, train

Row = dict[str, Any]
STEPS = 20


def _examples() -> list[Example]:
    images = sorted((pocket.IMAGES / "movie_characters" / "grumble").glob("*.png"))
    return [Example(file, "ohw creature") for file in images]


def _settings(**options: Any) -> TrainingSettings:
    return TrainingSettings(**{"steps": STEPS, "batch_size": 4, "learning_rate": 1e-3, **options})


def _train(
    base: Base, settings: TrainingSettings, algorithm: str = "lora", checkpoint: Path | None = None, **options: Any
) -> TrainingResult:
    network = lycoris.attach(base.parts, algorithm, seed=0, preset="attn-mlp")
    try:
        return train(base, TrainingJob(network, _examples(), settings, seed=0, checkpoint=checkpoint), **options)
    finally:
        network.detach()


def quantized_bases() -> list[Row]:
    """Losses of the same training on the pocket in several precisions, and the bytes of the base's weights."""
    rows = []
    for precision in ("fp32", "bf16", "nf4", "int8", "fp8"):
        for algorithm in ("lora", "loha", "lokr"):
            try:
                base = open_base("pocket", precision=precision)
                result = _train(base, _settings(), algorithm)
            except lycoris.InputError as error:
                rows.append({"precision": precision, "algorithm": algorithm, "error": str(error)})
                continue
            rows.append({"precision": precision, "algorithm": algorithm, "loss": sum(result.losses[-5:]) / 5})
    return rows


def generation() -> list[Row]:
    """Images per second of the pocket and the seconds of scoring them with its encoders."""
    from lycoris.encoders import open_encoder

    base = open_base("pocket")
    rows = []
    images: list[Any] = []
    for count in (1, 32):
        started = time.perf_counter()
        images = generate(base, ["a red cat"] * count, list(range(count)), GenerationSettings())
        rows.append({"work": f"generate {count} at once", "images_per_s": count / (time.perf_counter() - started)})
    encoder = open_encoder("clip", device=base.device)
    started = time.perf_counter()
    encoder.image_features(images)
    rows.append({"work": "encode with clip", "images_per_s": len(images) / (time.perf_counter() - started)})
    return rows


def half_precision() -> list[Row]:
    """The last losses of a training whose base is in float32, bfloat16 and float16, the latter with scaled losses."""
    rows = []
    for dtype in ("float32", "bfloat16", "float16"):
        result = _train(open_base("pocket", dtype=dtype), _settings())
        rows.append({"dtype": dtype, "loss": sum(result.losses[-5:]) / 5, "seconds": result.seconds})
    return rows


def optimizers() -> list[Row]:
    """The last losses with AdamW and with the 8-bit AdamW of bitsandbytes."""
    base, rows = open_base("pocket"), []
    for optimizer in ("adamw", "adamw-8bit"):
        try:
            result = _train(base, _settings(optimizer=optimizer))
        except lycoris.InputError as error:
            rows.append({"optimizer": optimizer, "error": str(error)})
            continue
        rows.append({"optimizer": optimizer, "loss": sum(result.losses[-5:]) / 5, "seconds": result.seconds})
    return rows


class _InterruptionError(Exception):
    """Ends a training from outside."""


def resume() -> list[Row]:
    """Whether a training that is interrupted half way ends with the same bits as one that is not."""
    base, states = open_base("pocket", dtype="float32"), []
    for interrupted in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder, "state.safetensors")
            if interrupted:
                with suppress(_InterruptionError):
                    _train(base, _settings(), checkpoint=checkpoint, progress=_interrupt, checkpoint_seconds=0.0)
            states.append(_train(base, _settings(), checkpoint=checkpoint).losses)
    difference = max(abs(one - other) for one, other in zip(*states, strict=True))
    return [{"training": "stopped at half and resumed", "largest_difference_of_losses": difference}]


def _interrupt(steps_done: int, steps: int, loss: float) -> None:
    if steps_done == steps // 2:
        raise _InterruptionError


def packages() -> list[Row]:
    """Versions, and which optional packages are there."""
    names = ("diffusers", "transformers", "peft", "bitsandbytes", "torchao", "triton")
    row: Row = {"torch": torch.__version__, "device": "cpu"}
    if torch.cuda.is_available():
        row["device"] = torch.cuda.get_device_name()
        row["memory_gib"] = torch.cuda.get_device_properties(0).total_memory / 2**30
    return [{**row, **{name: importlib.util.find_spec(name) is not None for name in names}}]


SECTIONS: dict[str, Callable[[], list[Row]]] = {
    "packages": packages,
    "generation": generation,
    "half precision": half_precision,
    "optimizers": optimizers,
    "quantized bases": quantized_bases,
    "resume": resume,
}
