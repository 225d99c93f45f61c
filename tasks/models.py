"""Find the models of a run and hash their files, before any of them is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import task

from tasks.artifacts import EvaluationModels, ModelRef, TaggerRef


@dataclass(frozen=True)
class ModelRefs:
    """The models of a run; `captioner` is None where no caption strategy needs sentences."""

    base: ModelRef
    encoders: Mapping[str, str]
    style_encoder: ModelRef
    tagger: TaggerRef
    captioner: ModelRef | None = None

    def for_evaluation(self, quality_predictors: Sequence[str] = (), resize_mode: str = "resize") -> EvaluationModels:
        """Those that turn images into features."""
        return EvaluationModels(self.encoders, self.style_encoder, self.tagger, tuple(quality_predictors), resize_mode)


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
    """Find every model of a run and hash its files.

    Raises:
        InputError: a model does not exist, or the base lacks a part.
    """
    from lycoris import bases
    from lycoris.captions import captioner_digest, tagger_digest
    from lycoris.encoders.model_sources import model_digest, resolve_source

    def encoder_digest(source: str) -> str:
        return model_digest(resolve_source(source)[1])

    return ModelRefs(
        base=ModelRef(base, bases.digest(base)),
        encoders={source: encoder_digest(source) for source in encoders},
        style_encoder=ModelRef(style_encoder, encoder_digest(style_encoder)),
        tagger=TaggerRef(
            tagger, tagger_digest(tagger, thresholds, vocabulary), tuple(sorted((thresholds or {}).items())), vocabulary
        ),
        captioner=None if captioner is None else ModelRef(captioner, captioner_digest(captioner)),
    )
