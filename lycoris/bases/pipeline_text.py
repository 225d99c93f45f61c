"""Text conditioning by the `encode_prompt` of a family's own diffusers pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.conditioning import TextConditioning
from lycoris.bases.tokenization import TruncatedPromptWarning
from lycoris.errors import InputError

if TYPE_CHECKING:
    from lycoris.bases.families.family import Components

PROMPTS_AT_ONCE = 8
"""The text encoders are language models of billions of parameters, with up to 512 tokens a prompt."""


class PipelineText:
    """Encodes prompts as a family's diffusers pipeline does, with its templates, layers and masks.

    What a tokenizer cuts off is a `TruncatedPromptWarning`. Gradients flow where a text encoder is adapted.

    Args:
        components: the opened parts.
        collect: what `encode_prompt` returns → the conditioning.
        collect_negative: what it returns → the conditioning of the negative prompts, in families that encode them in
            another way, such as without a system prompt; the empty prompt is encoded in that way too.
        arguments: further arguments of `encode_prompt`.

    Raises:
        InputError: `max_token_length` is set.
    """

    def __init__(
        self,
        components: Components,
        collect: Callable[[Any], TextConditioning],
        collect_negative: Callable[[Any], TextConditioning] | None = None,
        **arguments: Any,
    ) -> None:
        if components.max_token_length is not None:
            raise InputError(
                f"Argument `max_token_length` must be None for base `{components.source}`, whose text encoders read a "
                f"prompt at once, but got {components.max_token_length}."
            )
        watched = {name: _WatchedTokenizer(tokenizer) for name, tokenizer in components.tokenizers.items()}
        self._pipeline = components.build_pipeline(scheduler=None, tokenizers=watched)
        self._device = components.device
        self._collect, self._collect_negative, self._arguments = collect, collect_negative, arguments

    def __call__(self, prompts: Sequence[str]) -> TextConditioning:
        """Encode prompts; each text encoder sees a few of them at a time."""
        if self._collect_negative is None or all(prompts):
            return self._encode(prompts, negative=False)
        order = sorted(range(len(prompts)), key=lambda row: prompts[row] == "")
        count = sum(prompt != "" for prompt in prompts)
        parts = [self._encode([""] * (len(prompts) - count), negative=True)]
        if count:
            parts.insert(0, self._encode([prompts[row] for row in order[:count]], negative=False))
        places = {row: place for place, row in enumerate(order)}
        return TextConditioning.cat(parts)[[places[row] for row in range(len(prompts))]]

    def negative(self, prompts: Sequence[str]) -> TextConditioning:
        """Encode negative prompts."""
        return self._encode(prompts, negative=self._collect_negative is not None)

    def _encode(self, prompts: Sequence[str], *, negative: bool) -> TextConditioning:
        parts = []
        for start in range(0, len(prompts), PROMPTS_AT_ONCE):
            texts = list(prompts[start : start + PROMPTS_AT_ONCE])
            arguments = dict(self._arguments)
            if self._collect_negative is not None:
                arguments["do_classifier_free_guidance"] = negative
            if negative:
                arguments["negative_prompt"] = list(texts)
            collect = self._collect_negative if negative and self._collect_negative is not None else self._collect
            parts.append(collect(self._pipeline.encode_prompt(texts, device=self._device, **arguments)))
        return TextConditioning.cat(parts).to(torch.float32)


class _WatchedTokenizer:
    """A tokenizer that warns of what it truncates; in all else the one that it wraps."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, text: Any, *arguments: Any, **settings: Any) -> Any:
        if settings.get("truncation"):
            self._warn([text] if isinstance(text, str) else text, settings)
        return self._tokenizer(text, *arguments, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def apply_chat_template(self, messages: Any, *arguments: Any, **settings: Any) -> Any:
        if settings.get("truncation") and settings.get("tokenize", True):
            plain = {"add_generation_prompt": settings.get("add_generation_prompt", False), "tokenize": False}
            batch = messages if messages and isinstance(messages[0], list) else [messages]
            self._warn([self._tokenizer.apply_chat_template(each, **plain) for each in batch], settings)
        return self._tokenizer.apply_chat_template(messages, *arguments, **settings)

    def _warn(self, texts: Sequence[str], settings: Mapping[str, Any]) -> None:
        length = settings.get("max_length") or self._tokenizer.model_max_length
        special = settings.get("add_special_tokens", True)
        for text in texts:
            tokens = self._tokenizer(text, add_special_tokens=special, verbose=False).input_ids
            if len(tokens) > length:
                lost = self._tokenizer.decode(tokens[length - 1 :], skip_special_tokens=True).strip()
                warnings.warn(
                    f"The prompt has {len(tokens)} tokens with its template and the text encoder reads {length}; "
                    f"truncated at its end: {lost!r}. The prompt: {text!r}.",
                    TruncatedPromptWarning,
                    stacklevel=2,
                )
