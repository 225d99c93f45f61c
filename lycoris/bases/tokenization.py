"""Prompts to token ids in windows of one length, with a warning for each prompt that is truncated.

A CLIP text encoder reads one window, 77 tokens with start and end. Longer prompts are divided into windows that are
encoded one by one, as kohya's `max_token_length`, ComfyUI and A1111 do.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from lycoris.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor


class TruncatedPromptWarning(UserWarning):
    """A prompt is longer than the text encoder reads; its end has no effect."""


class PromptTokenizer:
    """Token ids of prompts in windows, padded to the encoder's length; each prompt is tokenized once.

    Args:
        tokenizer: a tokenizer of the CLIP kind.
        length: tokens of a window, start and end included.
        max_windows: the most windows that a prompt is divided into; a prompt has as many as it needs.
    """

    def __init__(self, tokenizer: Any, length: int, max_windows: int = 1) -> None:
        self.tokenizer = tokenizer
        self.length, self.max_windows = length, max_windows
        self._cache: dict[str, tuple[list[list[int]], list[list[int]]]] = {}

    def __call__(self, prompts: Sequence[str]) -> Int[Tensor, "windows tokens"]:
        """Tokenize prompts, the windows of the first before those of the second; warns once for each truncated one."""
        return self.with_mask(prompts)[0]

    def with_mask(self, prompts: Sequence[str]) -> tuple[Int[Tensor, "windows tokens"], Int[Tensor, "windows tokens"]]:
        """Tokenize prompts, with the tokenizer's attention mask: 1 for a prompt's own tokens, 0 for padding."""
        for prompt in prompts:
            if prompt not in self._cache:
                self._cache[prompt] = self._tokenize(prompt)
        windows = [self._cache[prompt] for prompt in prompts]
        ids, mask = ([row for own in column for row in own] for column in zip(*windows, strict=True))
        return torch.tensor(ids), torch.tensor(mask)

    def count_windows(self, prompt: str) -> int:
        """The number of windows of a prompt, at least one."""
        if self.max_windows == 1:
            return 1
        tokens = len(self.tokenizer(prompt, verbose=False).input_ids)
        return min(self.max_windows, max(1, -(-(tokens - 2) // (self.length - 2))))

    def _tokenize(self, prompt: str) -> tuple[list[list[int]], list[list[int]]]:
        ids = self.tokenizer(prompt, verbose=False).input_ids
        limit = self.length + (self.max_windows - 1) * (self.length - 2)
        if len(ids) > limit:
            lost = self.tokenizer.decode(ids[limit - 1 : -1]).strip()
            warnings.warn(
                f"The prompt has {len(ids)} tokens and the text encoder reads {limit}; "
                f"truncated at its end: {lost!r}. The prompt: {prompt!r}.",
                TruncatedPromptWarning,
                stacklevel=5,
            )
        if self.max_windows == 1 or len(ids) <= self.length:
            settings = {"padding": "max_length", "truncation": True, "max_length": self.length}
            padded = self.tokenizer(prompt, **settings)
            return [padded.input_ids], [padded.attention_mask]
        own, content = self.length - 2, ids[1:-1][: limit - 2]
        windows = [[ids[0], *content[start : start + own], ids[-1]] for start in range(0, len(content), own)]
        padded = self.tokenizer.pad({"input_ids": windows}, padding="max_length", max_length=self.length, verbose=False)
        return padded.input_ids, padded.attention_mask


def split_into_windows(max_token_length: int | None, length: int) -> int:
    """Return how many windows a prompt of at most some tokens has.

    Args:
        max_token_length: tokens of a prompt, start and end excluded; None means one window.
        length: tokens of a window, start and end included.

    Raises:
        InputError: the prompt's tokens are no multiple of a window's.
    """
    own = length - 2
    if max_token_length is None:
        return 1
    if max_token_length < own or max_token_length % own:
        raise InputError(
            f"Argument `max_token_length` must be a multiple of {own}, the tokens in one window of this base's text "
            f"encoder, but got {max_token_length}."
        )
    return max_token_length // own
