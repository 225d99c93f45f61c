"""Caption augmentation: at each step, tags are shuffled and some are dropped."""

from __future__ import annotations

import torch

from lycoris.training.config import TrainingSettings


def augment_caption(caption: str, settings: TrainingSettings, generator: torch.Generator) -> str:
    """Drop tags at random, then shuffle the rest; the first `keep_tokens` stay as they are.

    Args:
        caption: tags separated by commas.
        settings: `tag_dropout`, `shuffle_tags`, `keep_tokens`.
        generator: randomness of the step; not used if the settings require neither.

    Returns:
        The augmented caption; unchanged if the settings require neither.
    """
    if not settings.augments_captions:
        return caption
    tags = [tag.strip() for tag in caption.split(",")]
    fixed, free = tags[: settings.keep_tokens], tags[settings.keep_tokens :]
    if settings.tag_dropout:
        chances = torch.rand(len(free), generator=generator).tolist()
        free = [tag for tag, chance in zip(free, chances, strict=True) if chance >= settings.tag_dropout]
    if settings.shuffle_tags:
        free = [free[position] for position in torch.randperm(len(free), generator=generator).tolist()]
    return ", ".join([*fixed, *free])
