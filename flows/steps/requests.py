"""Turn an experiment into the records that tasks take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.config.concepts import DataConcepts
from flows.config.experiment import Experiment
from flows.config.gpus import training_processes
from flows.runtime.logging import configure_logging
from flows.steps.evaluate import EvaluationSetup
from lycoris.cache.store import Store
from lycoris.data.census import take_census
from lycoris.data.concepts import Concept
from lycoris.data.images import find_mask
from lycoris.terms import TAGGED_STRATEGIES
from tasks.artifacts import CaptionedConcept, CaptionerRef, ImageSet, RunContext, TaggerRef
from tasks.caption import CaptionRequest
from tasks.models import ModelRefs
from tasks.runtime import log_forwarding
from tasks.runtime.progress import progress_dir
from tasks.runtime.transfer import publish_images
from tasks.trainings import PriorSet


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
        processes=training_processes(experiment),
        offload=experiment.offload,
    )


def caption_request(
    experiment: Experiment, concepts: DataConcepts, tagger: TaggerRef | None, captioner: CaptionerRef | None
) -> CaptionRequest:
    """What to caption of a data folder.

    Images are tagged only where a caption strategy has tags. Scores that tag *generated* images have their own tagger
    (`tasks.models.ModelRefs.for_evaluation`).
    """
    return CaptionRequest(
        concepts=concepts.known,
        base=experiment.base,
        base_options=experiment.base_options(),
        tagger=tagger if TAGGED_STRATEGIES.intersection(experiment.strategies) else None,
        strategies=experiment.strategies,
        captioner=captioner,
        names=concepts.names,
        counts=experiment.images.model_dump(),
        seed=experiment.sampling.seed,
        templates_file=experiment.templates,
        on_invalid_image=experiment.on_invalid_image,
    )


def census_messages(experiment: Experiment, data: Path, concepts: Sequence[Concept]) -> list[str]:
    """Name the files of a data folder that the experiment does not use; see `lycoris.data.census`."""
    census = take_census(data, concepts, experiment.concepts_file)
    trainings = [experiment.adapter_settings(adapter).training for adapter in experiment.algorithms]
    messages = census.messages()
    if census.masks:
        messages.append(_mask_message(concepts, [training.get("mask") == "file" for training in trainings]))
    return messages


def _mask_message(concepts: Sequence[Concept], uses_masks: Sequence[bool]) -> str:
    """Say how many images have a mask, and whether the trainings use them."""
    images = [image.path for concept in concepts for image in concept.images]
    message = f"{sum(find_mask(path) is not None for path in images)} of {len(images)} images have a mask beside them"
    if not any(uses_masks):
        return f"{message}, which is not used: set `training.mask: file` to use it."
    others = "" if all(uses_masks) else f" by {sum(uses_masks)} of {len(uses_masks)} trainings"
    return f"{message}, which is used{others}; images without one train unmasked."


def evaluation_setup(context: RunContext, experiment: Experiment, models: ModelRefs) -> EvaluationSetup:
    """How the adapters of an experiment are evaluated."""
    return EvaluationSetup(
        context,
        models.base,
        experiment.sampling_settings(),
        models.for_evaluation(),
        resize_modes=experiment.resize_modes,
    )


def prior_sets(context: RunContext, concepts: Sequence[CaptionedConcept]) -> dict[str, PriorSet]:
    """Concept -> its prior images, if it has any; uploaded like the others."""
    sets = {}
    for concept in concepts:
        if concept.prior_images:
            files, bundle = concept.prior_images, publish_images(context, concept.prior_images)
            sets[concept.name] = PriorSet(ImageSet(files, concept.prior_digest, bundle), concept.prior_captions)
    return sets


def image_sets(context: RunContext, concepts: Sequence[CaptionedConcept]) -> dict[str, ImageSet]:
    """Concept -> its images, uploaded for other machines where they share no disk."""
    return {
        concept.name: ImageSet(concept.images, concept.images_digest, publish_images(context, concept.images))
        for concept in concepts
    }
