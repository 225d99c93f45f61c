"""Turn an experiment into the records that tasks take."""

from __future__ import annotations

from collections.abc import Sequence

from flows.config.concepts import DataConcepts
from flows.config.experiment import Experiment
from flows.runtime.logging import configure_logging
from flows.steps.evaluate import EvaluationSetup
from lycoris.cache.store import Store
from tasks.artifacts import CaptionedConcept, ImageSet, ModelRef, RunContext, TaggerRef
from tasks.caption import CaptionRequest
from tasks.models import ModelRefs
from tasks.runtime import log_forwarding
from tasks.runtime.progress import progress_dir
from tasks.runtime.transfer import publish_images


def begin_run(experiment: Experiment) -> RunContext:
    """Create the store of a run, remove unfinished work of killed processes, and connect its logging."""
    store = Store(experiment.output / "store")
    store.remove_stale()
    folder = progress_dir(experiment.output)
    configure_logging()
    log_forwarding.connect(folder)
    return RunContext(
        store.root.resolve(),
        folder,
        artifact_store=experiment.artifact_store,
        gpu_limit=experiment.gpu_limit,
    )


def caption_request(
    experiment: Experiment, concepts: DataConcepts, tagger: TaggerRef, captioner: ModelRef | None
) -> CaptionRequest:
    """What to caption of a data folder."""
    return CaptionRequest(
        concepts=concepts.known,
        base=experiment.base,
        tagger=tagger,
        strategies=experiment.strategies,
        captioner=captioner,
        names=concepts.names,
        counts=experiment.images.model_dump(),
        seed=experiment.sampling.seed,
        templates_file=experiment.templates,
        on_invalid_image=experiment.on_invalid_image,
    )


def evaluation_setup(context: RunContext, experiment: Experiment, models: ModelRefs) -> EvaluationSetup:
    """How the adapters of an experiment are evaluated."""
    return EvaluationSetup(
        context,
        models.base,
        experiment.sampling_settings(),
        models.for_evaluation(),
        resize_modes=experiment.resize_modes,
    )


def image_sets(context: RunContext, concepts: Sequence[CaptionedConcept]) -> dict[str, ImageSet]:
    """Concept -> its images, uploaded for other machines where they share no disk."""
    return {
        concept.name: ImageSet(concept.images, concept.images_digest, publish_images(context, concept.images))
        for concept in concepts
    }
