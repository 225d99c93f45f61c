"""Prompts to the states of one text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.tokenization import PromptTokenizer

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

PROMPT_BATCH_SIZE = 64


class TextEncoder:
    """A text encoder with its tokenizer; differentiable where the encoder is adapted.

    What a prompt has too much is cut off with a `TruncatedPrompt` warning.

    Args:
        module: a text model of transformers.
        tokenizer: of the same family.
        length: tokens that are read, start and end included.
    """

    def __init__(self, module: nn.Module, tokenizer: Any, length: int) -> None:
        self.module: Any = module
        self.tokenizer, self.length = tokenizer, length
        self._tokens = PromptTokenizer(tokenizer, length)

    def last_hidden_states(self, prompts: Sequence[str]) -> Float[Tensor, "batch tokens width"]:
        """The states of the last layer, normalised as the encoder does it."""
        return torch.cat([self.module(some).last_hidden_state for some in self._token_batches(prompts)])

    def penultimate_hidden_states(self, prompts: Sequence[str]) -> Float[Tensor, "batch tokens width"]:
        """The states of the layer before the last, as they are."""
        outputs = [self.module(some, output_hidden_states=True) for some in self._token_batches(prompts)]
        return torch.cat([output.hidden_states[-2] for output in outputs])

    def penultimate_and_pooled(
        self, prompts: Sequence[str]
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch pooled"]]:
        """The states of the layer before the last, and the projection of the last one's at the prompt's end."""
        outputs = [self.module(some, output_hidden_states=True) for some in self._token_batches(prompts)]
        states = torch.cat([output.hidden_states[-2] for output in outputs])
        return states, torch.cat([output.text_embeds for output in outputs])

    def _token_batches(self, prompts: Sequence[str]) -> tuple[Tensor, ...]:
        return self._tokens(prompts).to(self.module.device).split(PROMPT_BATCH_SIZE)


def max_prompt_length(tokenizer: Any, module: Any) -> int:
    """Tokens that a CLIP text encoder reads: as many as tokenizer and encoder both allow."""
    return min(tokenizer.model_max_length, module.config.max_position_embeddings)
