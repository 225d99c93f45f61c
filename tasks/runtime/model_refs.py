"""Which networks a run uses, by the hash of their files, before any of them is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import task

from tasks.artifacts import TaggerRef


@dataclass(frozen=True)
class ModelRefs:
    """Source -> SHA-256 of its files.

    Attributes:
        base: source and digest.
        encoders: one entry an image encoder.
        style_encoder: source and digest.
        tagger: how it is opened, and its digest.
        captioner: source and digest; None when no strategy asks for sentences.
    """

    base: tuple[str, str]
    encoders: dict[str, str]
    style_encoder: tuple[str, str]
    tagger: TaggerRef
    captioner: tuple[str, str] | None = None


@task(name="models")
def resolve_models(
    base: str,
    encoders: Sequence[str],
    style_encoder: str,
    tagger: str,
    *,
    thresholds: Mapping[str, float] | None = None,
    vocabulary: Path | None = None,
    captioner: str | None = None,
) -> ModelRefs:
    """Find every network of a run and hash its files.

    Raises:
        InputError: one is not there, or the base lacks a part.
    """
    from lycoris import bases
    from lycoris.captions import captioner_digest, tagger_digest
    from lycoris.encoders.model_sources import model_digest, resolve_source

    return ModelRefs(
        base=(base, bases.digest(base)),
        encoders={name: model_digest(resolve_source(name)[1]) for name in encoders},
        style_encoder=(style_encoder, model_digest(resolve_source(style_encoder)[1])),
        tagger=TaggerRef(
            tagger, tagger_digest(tagger, thresholds, vocabulary), tuple(sorted((thresholds or {}).items())), vocabulary
        ),
        captioner=None if captioner is None else (captioner, captioner_digest(captioner)),
    )
