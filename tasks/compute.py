"""What a process does before its first heavy step: threads, device, and the base it keeps open."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tasks.records import Place


def prepare(place: Place) -> None:
    """Set this process's CPU threads; call it before the first tensor."""
    import torch

    if torch.get_num_threads() != place.threads:
        torch.set_num_threads(place.threads)


@lru_cache(maxsize=1)
def base(source: str, device: str) -> Any:
    """The base of a study, opened once a process and untouched between tasks."""
    from lycoris.bases import open_base

    return open_base(source, device=device)


@lru_cache(maxsize=8)
def encoder(source: str, device: str) -> Any:
    """A metric's image encoder, opened once a process."""
    from lycoris.encoders import open_encoder

    return open_encoder(source, device=device)


@lru_cache(maxsize=1)
def style_encoder(source: str, device: str) -> Any:
    """The style loss's encoder, opened once a process."""
    from lycoris.encoders import open_style_encoder

    return open_style_encoder(source, device=device)


@lru_cache(maxsize=1)
def tagger(source: str, device: str) -> Any:
    """The tagger, opened once a process."""
    from lycoris.captions import open_tagger

    return open_tagger(source, device=device)


@lru_cache(maxsize=1)
def tokenizer(source: str) -> Any:
    """The tokenizer of a base, without the base."""
    from lycoris.bases import tokenizer_of

    return tokenizer_of(source)
