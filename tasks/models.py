"""Find the models of a run and hash their files, before any of them is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import task

from lycoris.safety.redaction import redacting_errors
from tasks.artifacts import BaseOptions, CaptionerRef, EvaluationModels, ModelRef, TaggerRef


@dataclass(frozen=True)
class ModelRefs:
    """The models of a run.

    `tagger` is None where captions are those that the user has; `captioner` also where no strategy needs sentences.
    """

    base: ModelRef
    encoders: Mapping[str, str]
    style_encoder: ModelRef
    tagger: TaggerRef | None
    captioner: CaptionerRef | None = None

    def for_evaluation(self, quality_predictors: Sequence[str] = (), resize_mode: str = "resize") -> EvaluationModels:
        """Those that turn images into features."""
        return EvaluationModels(self.encoders, self.style_encoder, self.tagger, tuple(quality_predictors), resize_mode)


@task(name="models", task_run_name="models")
@redacting_errors
def resolve_models(
    base: str,
    encoders: Sequence[str],
    style_encoder: str,
    tagger: str | None,
    *,
    thresholds: Mapping[str, float] | None = None,
    vocabulary: Path | None = None,
    captioner: str | None = None,
    instruction: str | None = None,
    base_options: BaseOptions = BaseOptions(),  # noqa: B008 - frozen
) -> ModelRefs:
    """Find every model of a run and hash its files.

    Raises:
        InputError: a model does not exist, or the base lacks a part.
    """
    from lycoris import bases
    from lycoris.encoders.model_sources import model_digest, resolve_source

    def encoder_digest(source: str) -> str:
        return model_digest(resolve_source(source)[1])

    return ModelRefs(
        base=ModelRef(base, bases.digest(base, **base_options.for_base), base_options),
        encoders={source: encoder_digest(source) for source in encoders},
        style_encoder=ModelRef(style_encoder, encoder_digest(style_encoder)),
        tagger=None if tagger is None else resolve_tagger(tagger, thresholds, vocabulary),
        captioner=resolve_captioner(captioner, instruction),
    )


def resolve_tagger(source: str, thresholds: Mapping[str, float] | None, vocabulary: Path | None) -> TaggerRef:
    """Find a tagger and hash its files and options."""
    from lycoris.captions import tagger_digest

    digest = tagger_digest(source, thresholds, vocabulary)
    return TaggerRef(source, digest, tuple(sorted((thresholds or {}).items())), vocabulary)


def resolve_captioner(source: str | None, instruction: str | None = None) -> CaptionerRef | None:
    """Find a captioner and hash its files and what it is asked for; None for None."""
    from lycoris.captions import captioner_digest, captioner_prompt

    if source is None:
        return None
    return CaptionerRef(
        source, captioner_digest(source, instruction), instruction, captioner_prompt(source, instruction)
    )
