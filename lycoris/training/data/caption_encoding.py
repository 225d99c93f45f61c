"""Captions to text conditioning: encoded once if the text encoder is frozen, at every step if it is adapted."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.conditioning import TextConditioning
from lycoris.bases.tokenization import TruncatedPromptWarning
from lycoris.cache.keys import source_hash
from lycoris.training.data.tensor_cache import TensorCache, content_key

if TYPE_CHECKING:
    from torch.nn import Parameter

    from lycoris.bases import Base

MAX_RECENT = 512
"""Augmented captions whose conditioning is held in memory: about 120 MB for Stable Diffusion 1.x."""
TEXT_SOURCES = ("bases",)


def text_parameter_positions(base: Base, parameters: Sequence[Parameter]) -> set[int]:
    """Positions of the parameters that the text conditioning depends on.

    They follow from the autograd graph and not from names, so this holds for any algorithm, however it is attached.
    """
    with torch.enable_grad():
        outputs = [tensor.sum() for tensor in base.encode_text([""]).tensors if tensor.requires_grad]
    if not outputs:
        return set()
    gradients = torch.autograd.grad(outputs, list(parameters), allow_unused=True)
    return {position for position, gradient in enumerate(gradients) if gradient is not None}


class CaptionEncoder:
    """Text conditioning of captions, and of the empty one.

    Args:
        base: encodes the captions.
        captions: one per image.
        alternatives: further captions that occur.
        trainable: whether the text encoder is trained; every step then encodes its captions.
        augmented: whether captions are augmented at each step; they are then encoded as they occur.
        use_cache: whether to cache the conditioning; otherwise each step encodes its captions.
        cache_folder: folder for the conditioning, shared by all runs; None keeps it in memory.

    Attributes:
        captions: the captions.
    """

    def __init__(
        self,
        base: Base,
        captions: Sequence[str],
        *,
        alternatives: Sequence[str] = (),
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
            for text in dict.fromkeys([""] if augmented else ["", *captions, *alternatives]):
                self._cache_text(text)

    def __call__(self, texts: Sequence[str]) -> TextConditioning:
        """The conditioning of some texts."""
        if not self._trainable:
            return TextConditioning.cat([self._lookup(text) for text in texts]).to(self._base.device)
        distinct = list(dict.fromkeys(texts))
        return self._encode_now(distinct)[[distinct.index(text) for text in texts]]

    def count_windows(self, texts: Sequence[str]) -> list[int]:
        """The number of windows in which the base reads each text; those of one number are encoded together."""
        return self._base.count_windows(texts)

    def _cache_text(self, text: str) -> None:
        """Encode a text once for all runs, alone, so that it does not depend on what is encoded with it.

        A truncation warning is cached with it, and issued in each run.
        """
        self._cached_texts.add(text)
        note = self._cache.note(self._cache_key(text))
        if note:
            warnings.warn(note, TruncatedPromptWarning, stacklevel=2)
        if note is not None:
            return
        with torch.no_grad():
            conditioning, truncations = self._encode([text])
        for message in truncations:
            warnings.warn(message, stacklevel=2)
        self._cache.write(self._cache_key(text), conditioning.named, note=" ".join(map(str, truncations)))

    def _lookup(self, text: str) -> TextConditioning:
        if text in self._cached_texts:
            tensors: dict[str, Any] = self._cache.read(self._cache_key(text))
            return TextConditioning(**tensors)
        if text not in self._recent:
            with torch.no_grad():
                self._recent[text] = self._encode_now([text]).to("cpu")
        self._recent.move_to_end(text)
        conditioning = self._recent[text]
        if len(self._recent) > self._max_recent:
            self._recent.popitem(last=False)
        return conditioning

    def _encode_now(self, texts: Sequence[str]) -> TextConditioning:
        """Encode texts without the cache; of all truncated augmented captions, only one is warned about."""
        conditioning, truncations = self._encode(texts)
        limit = int(not self._warned) if self._augmented else len(truncations)
        for message in truncations[:limit]:
            warnings.warn(message, stacklevel=2)
        self._warned = self._warned or bool(truncations)
        return conditioning

    def _encode(self, texts: Sequence[str]) -> tuple[TextConditioning, list[TruncatedPromptWarning]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            conditioning = self._base.encode_text(texts)
        truncations = []
        for warning in caught:
            if isinstance(warning.message, TruncatedPromptWarning):
                truncations.append(warning.message)
            else:
                warnings.warn(warning.message, stacklevel=2)
        return conditioning, truncations

    def _cache_key(self, text: str) -> str:
        return content_key("text", self._base.digest, self._base.dtype, source_hash(*TEXT_SOURCES), text)
