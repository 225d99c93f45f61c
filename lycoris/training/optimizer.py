"""The optimiser, with a rate of its own for the text encoder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch.nn import Parameter

    from lycoris.training.settings import TrainingSettings


def adamw(
    parameters: Sequence[Parameter], of_text: Collection[int], settings: TrainingSettings
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter, "Decoupled Weight Decay Regularization"), one group a rate.

    Args:
        parameters: all that is trained.
        of_text: positions of those that belong to the text encoder.
        settings: rates, decay and betas.

    Returns:
        The optimiser; each group keeps its rate at the top of the schedule under ``"top"``.
    """
    text_rate = settings.text_encoder_learning_rate
    rates = {False: settings.learning_rate, True: settings.learning_rate if text_rate is None else text_rate}
    groups = [
        {
            "params": [p for place, p in enumerate(parameters) if (place in of_text) == text],
            "lr": rate,
            "top": rate,
        }
        for text, rate in rates.items()
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )
