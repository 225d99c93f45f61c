"""Prompts to token ids of one length, with a warning for each prompt that is truncated."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor


class TruncatedPromptWarning(UserWarning):
    """A prompt is longer than the text encoder reads; its end has no effect."""


class PromptTokenizer:
    """Token ids of prompts, padded to the encoder's length; each prompt is tokenized once.

    Args:
        tokenizer: a tokenizer of the CLIP kind.
        length: tokens that the encoder reads, start and end included.
    """

    def __init__(self, tokenizer: Any, length: int) -> None:
        self.tokenizer = tokenizer
        self.length = length
        self._cache: dict[str, tuple[list[int], list[int]]] = {}

    def __call__(self, prompts: Sequence[str]) -> Int[Tensor, "batch tokens"]:
        """Tokenize prompts; warns once for each prompt that is truncated."""
        return self.with_mask(prompts)[0]

    def with_mask(self, prompts: Sequence[str]) -> tuple[Int[Tensor, "batch tokens"], Int[Tensor, "batch tokens"]]:
        """Tokenize prompts, with the tokenizer's attention mask: 1 for a prompt's own tokens, 0 for padding."""
        for prompt in prompts:
            if prompt not in self._cache:
                self._cache[prompt] = self._tokenize(prompt)
        ids, mask = zip(*(self._cache[prompt] for prompt in prompts), strict=True)
        return torch.tensor(ids), torch.tensor(mask)

    def _tokenize(self, prompt: str) -> tuple[list[int], list[int]]:
        settings = {"padding": "max_length", "truncation": True, "max_length": self.length}
        padded = self.tokenizer(prompt, **settings)
        untruncated = self.tokenizer(prompt, verbose=False).input_ids
        if len(untruncated) > self.length:
            lost = self.tokenizer.decode(untruncated[self.length - 1 : -1]).strip()
            warnings.warn(
                f"The prompt has {len(untruncated)} tokens and the text encoder reads {self.length}; "
                f"truncated at its end: {lost!r}. The prompt: {prompt!r}.",
                TruncatedPromptWarning,
                stacklevel=5,
            )
        return padded.input_ids, padded.attention_mask
