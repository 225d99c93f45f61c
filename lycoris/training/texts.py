"""Captions as conditions: encoded once when the text encoder is frozen, at every step when it is adapted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch.nn import Parameter

    from lycoris.bases import Base, Conditions


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
    """Conditions of the training captions and of the empty one.

    Args:
        base: encodes them.
        captions: one a picture.
        adapted: whether the text encoder is being trained.
    """

    def __init__(self, base: Base, captions: Sequence[str], *, adapted: bool) -> None:
        self._base = base
        self._distinct = list(dict.fromkeys(["", *captions]))
        places = {caption: place for place, caption in enumerate(self._distinct)}
        self._places = [places[caption] for caption in captions]
        self._known: Conditions | None = None
        if not adapted:
            with torch.no_grad():
                self._known = base.encode_text(self._distinct)

    def __call__(self, rows: Sequence[int], dropped: Sequence[bool]) -> Conditions:
        """Conditions of some pictures' captions, the empty one where the caption is dropped."""
        places = [0 if empty else self._places[row] for row, empty in zip(rows, dropped, strict=True)]
        if self._known is not None:
            return self._known[places]
        used = list(dict.fromkeys(places))
        conditions = self._base.encode_text([self._distinct[place] for place in used])
        return conditions[[used.index(place) for place in places]]
