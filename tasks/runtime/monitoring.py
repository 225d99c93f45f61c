"""What is looked at while an adapter is trained: a loss on held-out pictures, and samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lycoris.bases import Base
    from lycoris.training import Callback, Example


def split_examples(examples: list[Example], watch: Mapping[str, Any]) -> tuple[list[Example], list[Example]]:
    """Examples to train on, and those kept for the validation loss, if there is to be one."""
    from lycoris.training import split_examples

    return split_examples(examples, watch["validation"]["hold_out"]) if watch.get("validation") else (examples, [])


def build_callbacks(
    base: Base, held_out: Sequence[Example], watch: Mapping[str, Any], folder: Path, cache: Path
) -> list[Callback]:
    """The looks that are asked for, as `tasks.train.adapter` is told them.

    Args:
        base: with the network attached.
        held_out: pictures that training does not see.
        watch: what to look at.
        folder: for samples.
        cache: for latents.
    """
    from lycoris.training import CallbackSchedule, ImageCallback, ValidationCallback

    found: list[Callback] = []
    if asked := watch.get("validation"):
        found.append(
            ValidationCallback(
                base,
                held_out,
                CallbackSchedule(every=asked["every"]),
                noise_levels=asked["noise_levels"],
                cache_folder=cache,
            )
        )
    if asked := watch.get("samples"):
        when = CallbackSchedule(every=asked["every"])
        found.append(ImageCallback(base, folder, when, asked["prompts"], asked["seeds"], asked["drawing"]))
    return found
