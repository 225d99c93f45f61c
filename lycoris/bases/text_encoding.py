"""Prompts to the hidden states of one text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.tokenization import PromptTokenizer, split_into_windows
from lycoris.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn

PROMPT_BATCH_SIZE = 64


class TextEncoder:
    """A text encoder with its tokenizer; differentiable where the encoder is adapted.

    Each window of a prompt goes through the encoder on its own, and their states are concatenated: those of every start
    and end stay, as in ComfyUI and A1111 (kohya's sd-scripts leave out the inner ones). The pooled state is the first
    window's, as in all three. Prompts of one call have equally many windows. Longer prompts are truncated with a
    `TruncatedPromptWarning`.

    Args:
        module: a text model of transformers.
        tokenizer: the tokenizer that goes with it.
        length: tokens of a window, start and end included.
        max_windows: the most windows of a prompt.
    """

    def __init__(self, module: nn.Module, tokenizer: Any, length: int, max_windows: int = 1) -> None:
        self.module: Any = module
        self.tokenizer, self.length = tokenizer, length
        self._tokens = PromptTokenizer(tokenizer, length, max_windows)

    def last_hidden_states(self, prompts: Sequence[str]) -> Float[Tensor, "batch tokens width"]:
        """The last layer's states, normalized as the encoder does it."""
        outputs = [self.module(ids) for ids in self._token_batches(prompts)]
        return _join_windows([output.last_hidden_state for output in outputs], len(prompts))

    def masked_hidden_states(self, prompts: Sequence[str]) -> Float[Tensor, "batch tokens width"]:
        """The last layer's states where padding is not attended to, and zeros in place of the padding's own."""
        ids, mask = (tensor.to(self.module.device) for tensor in self._tokens.with_mask(prompts))
        batches = zip(ids.split(PROMPT_BATCH_SIZE), mask.split(PROMPT_BATCH_SIZE), strict=True)
        states = [self.module(rows, attention_mask=rows_mask).last_hidden_state for rows, rows_mask in batches]
        return _join_windows([torch.cat(states) * mask[..., None]], len(prompts))

    def penultimate_hidden_states(self, prompts: Sequence[str]) -> Float[Tensor, "batch tokens width"]:
        """The penultimate layer's states, not normalized."""
        outputs = [self.module(ids, output_hidden_states=True) for ids in self._token_batches(prompts)]
        return _join_windows([output.hidden_states[-2] for output in outputs], len(prompts))

    def penultimate_and_pooled(
        self, prompts: Sequence[str]
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch pooled"]]:
        """The penultimate layer's states, and the projection of the last layer's state at the first window's end."""
        outputs = [self.module(ids, output_hidden_states=True) for ids in self._token_batches(prompts)]
        states = _join_windows([output.hidden_states[-2] for output in outputs], len(prompts))
        pooled = torch.cat([output.text_embeds for output in outputs])
        return states, pooled[:: len(pooled) // len(prompts)]

    def _token_batches(self, prompts: Sequence[str]) -> tuple[Tensor, ...]:
        return self._tokens(prompts).to(self.module.device).split(PROMPT_BATCH_SIZE)


def max_prompt_length(tokenizer: Any, module: Any) -> int:
    """Tokens that a CLIP text encoder reads at once: the most that both tokenizer and encoder allow."""
    return min(tokenizer.model_max_length, module.config.max_position_embeddings)


def build_window_tokenizer(tokenizer: Any, module: Any, max_token_length: int | None) -> PromptTokenizer:
    """Build the tokenizer that counts the windows of prompts.

    Args:
        tokenizer: the first text encoder's tokenizer.
        module: the first text encoder, with or without weights.
        max_token_length: as for `lycoris.bases.open_base`.

    Raises:
        InputError: the text encoder is no CLIP model, or `max_token_length` is no multiple of what it reads at once.
    """
    if max_token_length is None:
        return PromptTokenizer(tokenizer, tokenizer.model_max_length)
    if not is_clip(module):
        raise InputError(
            f"Argument `max_token_length` is for CLIP text encoders, but this base has a {type(module).__name__}; got "
            f"{max_token_length}."
        )
    length = max_prompt_length(tokenizer, module)
    return PromptTokenizer(tokenizer, length, split_into_windows(max_token_length, length))


def is_clip(module: Any) -> bool:
    """Whether a text encoder is a CLIP model, which reads longer prompts in windows."""
    return type(module).__name__.startswith("CLIP")


def _join_windows(
    batches: Sequence[Float[Tensor, "_ window width"]], count: int
) -> Float[Tensor, "batch tokens width"]:
    """Concatenate the states of each prompt's windows."""
    states = torch.cat(list(batches))
    return states.reshape(count, -1, states.shape[-1])
