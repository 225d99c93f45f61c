"""Prompts to the hidden states of one text encoder."""

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

    Longer prompts are truncated with a `TruncatedPromptWarning`.

    Args:
        module: a text model of transformers.
        tokenizer: the tokenizer that goes with it.
        length: tokens to read, start and end included.
    """

    def __init__(self, module: nn.Module, tokenizer: Any, length: int) -> None:
        self.module: Any = module
        self.tokenizer, self.length = tokenizer, length
        self._tokens = PromptTokenizer(tokenizer, length)

    def last_hidden_states(self, prompts: Sequence[str]) -> Float[Tensor, "batch tokens width"]:
        """The last layer's states, normalized as the encoder does it."""
        return torch.cat([self.module(ids).last_hidden_state for ids in self._token_batches(prompts)])

    def masked_hidden_states(self, prompts: Sequence[str]) -> Float[Tensor, "batch tokens width"]:
        """The last layer's states where padding is not attended to, and zeros in place of the padding's own."""
        ids, mask = (tensor.to(self.module.device) for tensor in self._tokens.with_mask(prompts))
        batches = zip(ids.split(PROMPT_BATCH_SIZE), mask.split(PROMPT_BATCH_SIZE), strict=True)
        states = [self.module(rows, attention_mask=rows_mask).last_hidden_state for rows, rows_mask in batches]
        return torch.cat(states) * mask[..., None]

    def penultimate_hidden_states(self, prompts: Sequence[str]) -> Float[Tensor, "batch tokens width"]:
        """The penultimate layer's states, not normalized."""
        outputs = [self.module(ids, output_hidden_states=True) for ids in self._token_batches(prompts)]
        return torch.cat([output.hidden_states[-2] for output in outputs])

    def penultimate_and_pooled(
        self, prompts: Sequence[str]
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch pooled"]]:
        """The penultimate layer's states, and the projection of the last layer's state at the end of the prompt."""
        outputs = [self.module(ids, output_hidden_states=True) for ids in self._token_batches(prompts)]
        states = torch.cat([output.hidden_states[-2] for output in outputs])
        return states, torch.cat([output.text_embeds for output in outputs])

    def _token_batches(self, prompts: Sequence[str]) -> tuple[Tensor, ...]:
        return self._tokens(prompts).to(self.module.device).split(PROMPT_BATCH_SIZE)


def max_prompt_length(tokenizer: Any, module: Any) -> int:
    """Tokens that a CLIP text encoder reads: the most that both tokenizer and encoder allow."""
    return min(tokenizer.model_max_length, module.config.max_position_embeddings)
