"""Captions as conditions: encoded once when the text encoder is frozen, at every step when it is adapted."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lycoris.bases.conditioning import TextConditioning
from lycoris.bases.tokenization import TruncatedPromptWarning
from lycoris.cache.keys import source_hash
from lycoris.training.data.latent_cache import TensorCache, content_key

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from lycoris.bases import Base

MAX_RECENT = 512
"""So many varied captions' conditions are held: about 120 MB for Stable Diffusion 1.x."""
TEXT_SOURCES = ("bases",)


def text_parameter_positions(base: Base, parameters: Sequence[Parameter]) -> set[int]:
    """Positions of the parameters that a text's encoding depends on.

    The graph is asked and not the parameters' names, so any algorithm is understood however it is attached.
    """
    with torch.enable_grad():
        outputs = [tensor.sum() for tensor in base.encode_text([""]).tensors if tensor.requires_grad]
    if not outputs:
        return set()
    gradients = torch.autograd.grad(outputs, list(parameters), allow_unused=True)
    return {position for position, gradient in enumerate(gradients) if gradient is not None}


class CaptionEncoder:
    """Conditions of captions, and of the empty one.

    Args:
        base: encodes them.
        captions: one a picture.
        adapted: whether the text encoder is being trained; then every step encodes its captions.
        varied: whether each step varies the captions; then they are encoded as they come up.
        cached: whether conditions are kept at all, else each step encodes its captions.
        cache: a folder for the captions' conditions, shared by all runs; without one they are held in memory.

    Attributes:
        captions: as given.
    """

    def __init__(
        self,
        base: Base,
        captions: Sequence[str],
        *,
        trainable: bool,
        augmented: bool = False,
        use_cache: bool = True,
        cache_folder: Path | None = None,
    ) -> None:
        self.captions = list(captions)
        self._base, self._trainable, self._augmented = base, trainable, augmented
        self._max_recent = MAX_RECENT if use_cache else 0
        self._cache = TensorCache(cache_folder)
        self._cached_texts: set[str] = set()
        self._warned = False
        self._recent: OrderedDict[str, TextConditioning] = OrderedDict()
        if not trainable and use_cache:
            for text in dict.fromkeys([""] if augmented else ["", *captions]):
                self._cache_text(text)

    def __call__(self, texts: Sequence[str]) -> TextConditioning:
        """Conditions of some texts."""
        if not self._trainable:
            return _to_device(self._base.device, TextConditioning.cat([self._lookup(text) for text in texts]))
        used = list(dict.fromkeys(texts))
        return self._encode_now(used)[[used.index(text) for text in texts]]

    def _cache_text(self, text: str) -> None:
        """Encode a text once for all runs, by itself, so that nothing hangs on which others were encoded with it.

        A warning that it was cut short is kept with it, and told to each.
        """
        self._cached_texts.add(text)
        note = self._cache.note(self._cache_key(text))
        if note:
            warnings.warn(note, TruncatedPromptWarning, stacklevel=2)
        if note is not None:
            return
        with torch.no_grad():
            conditions, cut = self._encode([text])
        for message in cut:
            warnings.warn(message, stacklevel=2)
        self._cache.write(self._cache_key(text), _tensor_fields(conditions), note=" ".join(map(str, cut)))

    def _lookup(self, text: str) -> TextConditioning:
        if text in self._cached_texts:
            return TextConditioning(**self._cache.read(self._cache_key(text)))
        if text not in self._recent:
            with torch.no_grad():
                self._recent[text] = _to_device("cpu", self._encode_now([text]))
        self._recent.move_to_end(text)
        conditions = self._recent[text]
        if len(self._recent) > self._max_recent:
            self._recent.popitem(last=False)
        return conditions

    def _encode_now(self, texts: Sequence[str]) -> TextConditioning:
        """Conditions of texts as they come up; of all the orders of captions that are cut short one is told."""
        conditions, cut = self._encode(texts)
        for message in cut[: 0 if self._warned else 1] if self._augmented else cut:
            warnings.warn(message, stacklevel=2)
        self._warned = self._warned or bool(cut)
        return conditions

    def _encode(self, texts: Sequence[str]) -> tuple[TextConditioning, list[TruncatedPromptWarning]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            conditions = self._base.encode_text(texts)
        cut = []
        for warning in caught:
            if isinstance(warning.message, TruncatedPromptWarning):
                cut.append(warning.message)
            else:
                warnings.warn(warning.message, stacklevel=2)
        return conditions, cut

    def _cache_key(self, text: str) -> str:
        return content_key("text", self._base.digest, self._base.dtype, source_hash(*TEXT_SOURCES), text)


def _tensor_fields(conditions: TextConditioning) -> dict[str, Tensor]:
    return {part.name: value for part in fields(conditions) if (value := getattr(conditions, part.name)) is not None}


def _to_device(device: torch.device | str, conditions: TextConditioning) -> TextConditioning:
    return TextConditioning(**{name: part.to(device) for name, part in _tensor_fields(conditions).items()})
