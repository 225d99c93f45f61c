"""The request of a scoring run: which files are scored, against what, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from flows.config.experiment import Experiment
from flows.config.record import ConfigRecord
from lycoris.adapters.files.metadata import MAX_TOKENS_KEY
from lycoris.analysis.text.formatting import counted
from lycoris.data.concepts import Concept, load_concepts
from lycoris.data.prompt_spec import PromptSpec, prompts_are_known
from lycoris.errors import InputError, unknown_name_error
from lycoris.terms import TAG_STRATEGIES, CaptionStrategy, ResizeMode


class ScoringConfig(ConfigRecord):
    """Adapter files or folders of images, and how they are scored."""

    files: tuple[Path, ...] = Field(min_length=1, description="adapter files or folders of images")
    experiment: Experiment = Field(description="data, base model, encoders and prompts")
    concept: str | None = Field(None, description="concept of the files; default: what the file says")
    captions: CaptionStrategy | None = Field(None, description="strategy of the prompt type train")
    protocol: tuple[str, Path] | None = Field(None, description="name of a published protocol, and its data")
    prompts: Path | None = Field(None, description="file of prompts to use instead of the default ones")
    images_per_prompt: int = Field(4, ge=1, description="images for each prompt of that file or protocol")
    quality_predictors: tuple[str, ...] = Field((), description="learned quality metrics to compute")
    look_alikes: Path | None = Field(None, description="folder of images of other things that look like the concept")
    metrics: tuple[str, ...] | None = Field(None, description="names; default: all that are computed by default")
    resize_mode: ResizeMode = Field("resize", description="how reference images are resized for an encoder")


@dataclass(frozen=True, eq=False)
class ScoringTarget:
    """One file or folder to score.

    Attributes:
        name: Its name in the report.
        concept: The concept that it shows.
        strategy: The caption strategy of prompts of the type ``train``.
        header: The metadata of an adapter file; empty for a folder.
    """

    name: str
    file: Path
    concept: str
    strategy: str
    header: Mapping[str, str]


def resolve_target(file: Path, request: ScoringConfig, concepts: Mapping[str, Concept]) -> ScoringTarget:
    """Determine the concept and the caption strategy of a file from the request and the file's metadata.

    Raises:
        InputError: The file cannot be read, or its concept is unknown or ambiguous.
    """
    from lycoris.adapters.files.checkpoint_reader import read_metadata

    header = {} if file.is_dir() else read_metadata(file)
    name = request.concept or header.get("concept")
    if name is None or (request.concept is None and name not in concepts):
        if len(concepts) != 1:
            raise InputError(f"`{file}` does not name its concept: add `--concept`, one of {', '.join(concepts)}.")
        name = next(iter(concepts))
    if name not in concepts:
        raise unknown_name_error("concept", name, concepts)
    trained_with = header.get("captions", "")
    strategy = request.captions or (trained_with if trained_with in TAG_STRATEGIES else "none")
    return ScoringTarget(file.stem or file.name, file, name, strategy, header)


def token_length_note(target: ScoringTarget, max_token_length: int | None) -> str | None:
    """Say so if an adapter was trained with captions of another length than its prompts have in the scores.

    Args:
        target: an adapter file, of this project or of kohya's sd-scripts.
        max_token_length: of the experiment.
    """
    trained_with = target.header.get(MAX_TOKENS_KEY, "None")
    if not target.header or trained_with == str(max_token_length):
        return None
    described = "None: one window" if trained_with == "None" else trained_with
    return (
        f"`{target.file}` was trained with `max_token_length` {described}, and is scored with {max_token_length}: "
        f"`--set max_token_length={'null' if trained_with == 'None' else trained_with}` is what it learned with."
    )


def concepts_by_name(request: ScoringConfig) -> dict[str, Concept]:
    """Return the concepts of the data folder by name."""
    concepts = load_concepts(request.experiment.data, request.experiment.concepts_file)
    return {concept.name: concept for concept in concepts}


def metrics_without_prompts(
    request: ScoringConfig, category: str, prompts: Mapping[str, Sequence[PromptSpec]]
) -> list[str]:
    """Return the requested metrics that are undefined for images of unknown prompts, as ``<metric>/<prompt type>``.

    Args:
        category: the concept's category.
        prompts: prompt type -> the prompts of the images.
    """
    from lycoris.metrics import METRICS

    predicted = {name.partition("=")[0] for name in request.quality_predictors}
    wanted = request.metrics or [
        name
        for name, metric in METRICS.items()
        if metric.by_default and (metric.feature_kind != "prediction" or name in predicted)
    ]
    return [
        f"{name}/{kind}"
        for name in wanted
        for kind, some in prompts.items()
        if not prompts_are_known(some)
        and METRICS[name].applies_to(kind, category)
        and METRICS[name].needs_prompts(kind)
    ]


def missing_prompts_note(
    target: ScoringTarget, prompts: Mapping[str, Sequence[PromptSpec]], left_out: Sequence[str]
) -> str | None:
    """Say which images of a folder lack captions, and what is not computed for that reason; None if none lacks any.

    Args:
        prompts: prompt type -> the prompts of the images.
        left_out: of :func:`metrics_without_prompts`.
    """
    counts = [
        f"{counted(len(some), 'image')} of {kind}" for kind, some in prompts.items() if not prompts_are_known(some)
    ]
    if not counts:
        return None
    return (
        f"`{target.file}`: there are images without captions, so that the prompts of {', '.join(counts)} count as "
        f"unknown. The base generates no images beside them. Not computed: {', '.join(left_out) or 'nothing'}."
    )
