"""The evaluation graph of every flow: references, base, and adapter -> images -> features -> scores."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from prefect.futures import PrefectFuture

from flows.steps.futures import BaseFutures, EvaluationFutures, TrainingFutures, submit
from flows.steps.grid import base_prompts
from lycoris.metrics import METRICS
from lycoris.metrics.resize_modes import label_with_mode, metrics_in_mode
from tasks.artifacts import (
    Artifact,
    CaptionedConcept,
    EvaluationModels,
    ImageSet,
    ModelRef,
    Prompts,
    RunContext,
    SamplingSettings,
)
from tasks.encode import extract_features
from tasks.generate import generate_images
from tasks.score import compute_scores
from tasks.trainings import TrainedAdapter


@dataclass(frozen=True)
class EvaluationSetup:
    """How candidates are evaluated.

    Attributes:
        base: model that adapters belong to.
        models: that turn images into features.
        resize_modes: how images of the dataset are brought to an encoder's size; scores are computed in each.
        metrics: names; None for those that are computed by default.
        look_alikes: images of other things that look like the concept, for the metric that needs them.
    """

    context: RunContext
    base: ModelRef
    sampling: SamplingSettings
    models: EvaluationModels
    resize_modes: tuple[str, ...] = ("resize",)
    metrics: tuple[str, ...] | None = None
    look_alikes: ImageSet | None = None


@dataclass(frozen=True)
class BasePart:
    """Prompts of the base that are generated as one stage, which candidates with equal parts share."""

    label: str
    prompts: Prompts

    @property
    def key(self) -> Hashable:
        """Equal for equal parts."""
        return self.label, tuple((kind, tuple(prompts)) for kind, prompts in self.prompts.items())


def base_parts(prompts: Prompts, concept: str, strategy: str) -> tuple[BasePart, ...]:
    """What the base generates: prompts that no strategy changes, and training captions, which each strategy changes."""
    shared, own = base_prompts(prompts)
    parts = (BasePart(f"{concept} · base", shared), BasePart(f"{concept} · base · {strategy}", own))
    return tuple(part for part in parts if part.prompts)


@dataclass(frozen=True)
class Candidate:
    """An adapter, or images from elsewhere, to be evaluated beside the base.

    Attributes:
        references: the dataset's images, with a label; candidates with equal ones share their features.
        base_label: shown for the features of the base's images; candidates with equal parts share them.
        base_parts: what the base generates.
        adapter: a training of this flow, or a finished adapter; None with `images`.
        checkpoint: of the training; None for its end.
        images: made elsewhere.
        is_scored: whether scores are computed, beside features.
    """

    label: str
    concept: CaptionedConcept
    references: tuple[str, ImageSet]
    prompts: Prompts
    base_label: str
    base_parts: tuple[BasePart, ...]
    adapter: TrainingFutures | TrainedAdapter | None = None
    checkpoint: int | None = None
    images: PrefectFuture[Artifact] | None = None
    is_scored: bool = True

    @classmethod
    def of_concept(
        cls,
        label: str,
        concept: CaptionedConcept,
        strategy: str,
        references: tuple[str, ImageSet],
        adapter: TrainingFutures | TrainedAdapter | None = None,
        checkpoint: int | None = None,
    ) -> Candidate:
        """An adapter with the prompts of its concept under a caption strategy.

        The base generates images for the prompts that no strategy changes once, and for training captions once more for
        each strategy.
        """
        prompts, base_label = concept.prompts[strategy], f"{concept.name} · base · {strategy}"
        parts = base_parts(prompts, concept.name, strategy)
        return cls(label, concept, references, prompts, base_label, parts, adapter, checkpoint)

    @property
    def references_key(self) -> Hashable:
        """Equal for candidates that share features of references."""
        label, images = self.references
        return self.concept.name, label, images.digest

    @property
    def base_key(self) -> Hashable:
        """Equal for candidates that share features of the base's images."""
        return self.concept.name, self.base_label, tuple(part.key for part in self.base_parts)


def evaluate(setup: EvaluationSetup, candidates: Sequence[Candidate]) -> list[EvaluationFutures]:
    """Submit the steps that evaluate candidates; each step waits only for those it needs.

    What candidates share, features of references and images and features of the base, is submitted once.
    """
    graph = _EvaluationGraph(setup)
    shared = [(graph.references(candidate), graph.base(candidate)) for candidate in candidates]
    return [
        graph.evaluate(candidate, references, base)
        for candidate, (references, base) in zip(candidates, shared, strict=True)
    ]


def count_steps(setup: EvaluationSetup, candidates: Sequence[Candidate]) -> int:
    """How many steps `evaluate` submits."""
    modes = len(setup.resize_modes)
    references = {candidate.references_key for candidate in candidates}
    base_images = {part.key for candidate in candidates for part in candidate.base_parts}
    base_features = {candidate.base_key for candidate in candidates}
    own = sum((candidate.images is None) + 1 + modes * candidate.is_scored for candidate in candidates)
    return len(references) * modes + len(base_images) + len(base_features) + own


@dataclass(frozen=True)
class _EvaluationGraph:
    """The steps submitted so far."""

    setup: EvaluationSetup
    _references: dict[Hashable, Mapping[str, PrefectFuture[Artifact]]] = field(default_factory=dict)
    _base_images: dict[Hashable, PrefectFuture[Artifact]] = field(default_factory=dict)
    _base: dict[Hashable, BaseFutures] = field(default_factory=dict)

    def references(self, candidate: Candidate) -> Mapping[str, PrefectFuture[Artifact]]:
        """Features of the dataset's images in every resize mode."""
        key, (label, images) = candidate.references_key, candidate.references
        predictors = tuple(
            name
            for name in self.setup.models.quality_predictors
            if "references" in METRICS[name.partition("=")[0]].inputs
        )
        if key not in self._references:
            self._references[key] = {
                mode: submit(
                    extract_features,
                    self.setup.context,
                    label_with_mode(label, mode, self.setup.resize_modes),
                    images,
                    candidate.concept,
                    replace(self.setup.models, resize_mode=mode, quality_predictors=predictors),
                    self.setup.look_alikes,
                )
                for mode in self.setup.resize_modes
            }
        return self._references[key]

    def base(self, candidate: Candidate) -> BaseFutures:
        """Images and features of the base."""
        for part in candidate.base_parts:
            if part.key not in self._base_images:
                self._base_images[part.key] = self._generate(part.label, None, None, part.prompts)
        key = candidate.base_key
        if key not in self._base:
            images = tuple(self._base_images[part.key] for part in candidate.base_parts)
            features = self._features(candidate.base_label, images, candidate.concept)
            self._base[key] = BaseFutures(images, features)
        return self._base[key]

    def evaluate(
        self, candidate: Candidate, references: Mapping[str, PrefectFuture[Artifact]], base: BaseFutures
    ) -> EvaluationFutures:
        """Images, features and scores of a candidate."""
        training = candidate.adapter if isinstance(candidate.adapter, TrainingFutures) else None
        adapter = candidate.adapter.adapter if isinstance(candidate.adapter, TrainingFutures) else candidate.adapter
        images = candidate.images
        if images is None:
            images = self._generate(candidate.label, adapter, candidate.checkpoint, candidate.prompts)
        features = self._features(candidate.label, (images,), candidate.concept)
        scores = {
            mode: submit(
                compute_scores,
                self.setup.context,
                label_with_mode(candidate.label, mode, self.setup.resize_modes),
                references=references[mode],
                generated=features,
                base=base.features,
                category=candidate.concept.category,
                metrics=self.setup.metrics or metrics_in_mode(mode, self.setup.resize_modes),
            )
            for mode in (self.setup.resize_modes if candidate.is_scored else ())
        }
        return EvaluationFutures(references, base, training, images, features, scores)

    def _generate(
        self,
        label: str,
        adapter: PrefectFuture[TrainedAdapter] | TrainedAdapter | None,
        checkpoint: int | None,
        prompts: Prompts,
    ) -> PrefectFuture[Artifact]:
        setup = self.setup
        return submit(
            generate_images,
            setup.context,
            label,
            base=setup.base,
            adapter=adapter,
            checkpoint=checkpoint,
            prompts=prompts,
            sampling=setup.sampling,
        )

    def _features(
        self, label: str, images: Sequence[PrefectFuture[Artifact]], concept: CaptionedConcept
    ) -> PrefectFuture[Artifact]:
        return submit(extract_features, self.setup.context, label, list(images), concept, self.setup.models)
