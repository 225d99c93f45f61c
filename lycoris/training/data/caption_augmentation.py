"""What a picture's caption says at one step: its tags in another order, some of them left out."""

from __future__ import annotations

import torch

from lycoris.training.config import TrainingSettings


def augment_caption(caption: str, settings: TrainingSettings, generator: torch.Generator) -> str:
    """A caption with the tags behind the kept ones left out by chance, then shuffled.

    Args:
        caption: tags between commas.
        settings: `tag_dropout`, `shuffle_tags`, `keep_tokens`.
        draws: randomness of the step; nothing is drawn where the settings ask for neither.

    Returns:
        The caption as it was where the settings ask for neither.
    """
    if not settings.augments_captions:
        return caption
    tags = [tag.strip() for tag in caption.split(",")]
    kept, free = tags[: settings.keep_tokens], tags[settings.keep_tokens :]
    if settings.tag_dropout:
        chances = torch.rand(len(free), generator=generator).tolist()
        free = [tag for tag, chance in zip(free, chances, strict=True) if chance >= settings.tag_dropout]
    if settings.shuffle_tags:
        free = [free[place] for place in torch.randperm(len(free), generator=generator).tolist()]
    return ", ".join([*kept, *free])
