"""The estimate of a run before its first model is opened: adapters, steps, time and storage, if nothing is cached."""

from __future__ import annotations

import logging
from pathlib import Path

from flows.config.concepts import select_concepts
from flows.config.defaults import recipe_note
from flows.config.experiment import Experiment
from flows.studies.plan import count_work, format_cost, step_count
from flows.studies.timing import timings_from_cache
from lycoris import bases
from lycoris.analysis.text.formatting import counted

logger = logging.getLogger("lycoris.flows.estimate")


def log_estimate(experiment: Experiment, data: Path) -> None:
    """Log what a run will do, with the times that its store has recorded; no benchmark is run and no model opened.

    Args:
        data: The folder with the version of the data that the run uses.

    Raises:
        InputError: The folder or the base is invalid.
    """
    for line in describe_estimate(experiment, data):
        logger.info("%s", line, extra={"topic": "plan"})


def describe_estimate(experiment: Experiment, data: Path) -> list[str]:
    """Describe the whole work of an experiment, cached or not, in lines; see `log_estimate`."""
    concepts = select_concepts(experiment, data).selected
    work = count_work(experiment, len(concepts))
    mean_images = sum(len(concept.images) for concept in concepts) / len(concepts)
    steps = sum(
        step_count(experiment, adapter, mean_images) * work.remaining[adapter.label]
        for adapter in experiment.algorithms
    )
    timings = timings_from_cache(experiment, bases.digest(experiment.base, **experiment.base_options().for_base))
    lines = [
        f"{counted(work.adapters, 'adapter')}, {steps} training steps, {work.images} images; less if some are cached"
    ]
    note = recipe_note(experiment.base, experiment.components)
    return [*([] if note is None else [note]), *lines, *format_cost(experiment, work, mean_images, timings)]
