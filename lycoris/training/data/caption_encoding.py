"""Captions as conditions: encoded once when the text encoder is frozen, at every step when it is adapted."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lycoris.bases.conditioning import Conditions
from lycoris.bases.tokenization import TruncatedPrompt
from lycoris.cache.store import code_version
from lycoris.training.data.latent_cache import Kept, content_key

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from lycoris.bases import Base

RECENT = 512
"""So many varied captions' conditions are held: about 120 MB for Stable Diffusion 1.x."""
CODE = ("bases",)


def text_parameters(base: Base, parameters: Sequence[Parameter]) -> set[int]:
    """Positions of the parameters that a text's encoding depends on.

    The graph is asked and not the parameters' names, so any algorithm is understood however it is attached.
    """
    with torch.enable_grad():
        outputs = [tensor.sum() for tensor in base.encode_text([""]).tensors if tensor.requires_grad]
    if not outputs:
        return set()
    gradients = torch.autograd.grad(outputs, list(parameters), allow_unused=True)
    return {position for position, gradient in enumerate(gradients) if gradient is not None}


class Texts:
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
        adapted: bool,
        varied: bool = False,
        cached: bool = True,
        cache: Path | None = None,
    ) -> None:
        self.captions = list(captions)
        self._base, self._adapted, self._varied = base, adapted, varied
        self._most = RECENT if cached else 0
        self._kept = Kept(cache)
        self._known: set[str] = set()
        self._told = False
        self._recent: OrderedDict[str, Conditions] = OrderedDict()
        if not adapted and cached:
            for text in dict.fromkeys([""] if varied else ["", *captions]):
                self._keep(text)

    def __call__(self, texts: Sequence[str]) -> Conditions:
        """Conditions of some texts."""
        if not self._adapted:
            return _on(self._base.device, Conditions.cat([self._known_or_recent(text) for text in texts]))
        used = list(dict.fromkeys(texts))
        return self._encoded(used)[[used.index(text) for text in texts]]

    def _keep(self, text: str) -> None:
        """Encode a text once for all runs, by itself, so that nothing hangs on which others were encoded with it.

        A warning that it was cut short is kept with it, and told to each.
        """
        self._known.add(text)
        note = self._kept.note(self._key(text))
        if note:
            warnings.warn(note, TruncatedPrompt, stacklevel=2)
        if note is not None:
            return
        with torch.no_grad():
            conditions, cut = self._encode([text])
        for message in cut:
            warnings.warn(message, stacklevel=2)
        self._kept.write(self._key(text), _parts(conditions), note=" ".join(map(str, cut)))

    def _known_or_recent(self, text: str) -> Conditions:
        if text in self._known:
            return Conditions(**self._kept.read(self._key(text)))
        if text not in self._recent:
            with torch.no_grad():
                self._recent[text] = _on("cpu", self._encoded([text]))
        self._recent.move_to_end(text)
        conditions = self._recent[text]
        if len(self._recent) > self._most:
            self._recent.popitem(last=False)
        return conditions

    def _encoded(self, texts: Sequence[str]) -> Conditions:
        """Conditions of texts as they come up; of all the orders of captions that are cut short one is told."""
        conditions, cut = self._encode(texts)
        for message in cut[: 0 if self._told else 1] if self._varied else cut:
            warnings.warn(message, stacklevel=2)
        self._told = self._told or bool(cut)
        return conditions

    def _encode(self, texts: Sequence[str]) -> tuple[Conditions, list[TruncatedPrompt]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            conditions = self._base.encode_text(texts)
        cut = []
        for warning in caught:
            if isinstance(warning.message, TruncatedPrompt):
                cut.append(warning.message)
            else:
                warnings.warn(warning.message, stacklevel=2)
        return conditions, cut

    def _key(self, text: str) -> str:
        return content_key("text", self._base.digest, self._base.dtype, code_version(*CODE), text)


def _parts(conditions: Conditions) -> dict[str, Tensor]:
    return {part.name: value for part in fields(conditions) if (value := getattr(conditions, part.name)) is not None}


def _on(device: torch.device | str, conditions: Conditions) -> Conditions:
    return Conditions(**{name: part.to(device) for name, part in _parts(conditions).items()})
