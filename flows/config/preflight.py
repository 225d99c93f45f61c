"""Validation of an experiment or a scoring request before any server or worker is started or a model is opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.config.concepts import select_concepts
from flows.config.experiment import Experiment
from flows.config.gpus import training_processes
from flows.config.preflight_training import adapter_inputs, validate_adapters, validate_image_counts
from flows.config.project import project_root
from flows.config.scoring import ScoringConfig, ScoringTarget, concepts_by_name, resolve_target
from lycoris.cache.remembered import remember
from lycoris.errors import InputError, missing_path_error
from lycoris.terms import SENTENCE_STRATEGIES

if TYPE_CHECKING:
    from lycoris.data.concepts import Concept


def validate_experiment(experiment: Experiment) -> None:
    """Check everything that can be known to fail of an experiment.

    Raises:
        InputError: The data, the base or another model is missing or invalid; a name is unknown; a package or the
            hardware for a setting is missing; or a setting fits neither the base nor the number of images.
    """
    _validate_data(experiment)
    _check_sentence_options(experiment)
    _validate_models(experiment)
    training_processes(experiment)
    remember(experiment.output / "store", "adapters", adapter_inputs(experiment), lambda: validate_adapters(experiment))


def validate_scoring(request: ScoringConfig) -> None:
    """Check everything that can be known to fail of a scoring request.

    Raises:
        InputError: As for `validate_experiment`; or a file cannot be read, its concept is unknown, or a quality
            predictor is not available.
    """
    from lycoris.encoders import check_encoder
    from lycoris.metrics.quality_predictors import check_quality_predictors

    concepts = concepts_by_name(request)
    targets = [resolve_target(file, request, concepts) for file in request.files]
    _validate_models(request.experiment.with_captions(tuple(dict.fromkeys(target.strategy for target in targets))))
    encoders = dict(check_encoder(name) for name in request.experiment.encoders)
    check_quality_predictors(request.quality_predictors, encoders)
    validate_look_alikes(request, {target.concept for target in targets})
    if request.protocol is not None:
        validate_protocol(request, targets)


def validate_protocol(request: ScoringConfig, targets: Sequence[ScoringTarget]) -> None:
    """Check that a protocol can be read, has the files' concepts, and chooses the prompts.

    Raises:
        InputError: it cannot or does not, prompts are given as well, or a target is a folder of images.
    """
    from lycoris.data.protocols import protocol_prompts

    assert request.protocol is not None
    if request.prompts is not None:
        raise InputError("A protocol chooses the prompts: leave out `--prompts` or `--protocol`.")
    for target in targets:
        if target.file.is_dir():
            raise InputError(f"A protocol chooses the prompts of adapters, but `{target.file}` holds finished images.")
        protocol_prompts(*request.protocol, target.concept)


def validate_look_alikes(request: ScoringConfig, concepts: set[str]) -> None:
    """Check that look-alikes are used, and belong to one concept.

    Raises:
        InputError: the folder holds no images, the files show several concepts, or only one of folder and metric is
            named.
    """
    from lycoris.data.images import list_images

    wanted = "retrieval_precision" in (request.metrics or ())
    if request.look_alikes is None:
        if wanted:
            raise InputError("Metric `retrieval_precision` needs images of look-alikes: add `--look-alikes DIR`.")
        return
    if request.metrics is not None and not wanted:
        raise InputError("Look-alikes are for the metric `retrieval_precision`, which `--metrics` does not name.")
    if len(concepts) > 1:
        raise InputError(f"Look-alikes belong to one concept, but the files show {', '.join(sorted(concepts))}.")
    if not list_images(request.look_alikes, recursive=True):
        raise InputError(f"The folder of look-alikes `{request.look_alikes}` holds no images.")


def _validate_models(experiment: Experiment) -> None:
    """Check what trainings, images and scores need of models, prompts and the artifact store."""
    from lycoris import bases
    from lycoris.cache.remote import RemoteStore
    from lycoris.captions import read_templates, templates_for_base
    from lycoris.encoders import check_encoder
    from lycoris.encoders.model_sources import resolve_source
    from tasks.tracking.trackers import check_trackers

    options = experiment.base_options()
    bases.digest(experiment.base, **options.for_base)
    bases.log_unused(experiment.base, **options.for_parts)
    _validate_annotators(experiment)
    if experiment.templates is not None:
        read_templates(experiment.templates, templates_for_base(experiment.base))
    names = [check_encoder(source)[0] for source in experiment.encoders]
    if len(set(names)) < len(names):
        raise InputError(f"Option `encoders` must have distinct short names, but they are {', '.join(names)}.")
    resolve_source(experiment.style_encoder)
    _check_scheduler(experiment)
    check_trackers(experiment.trackers)
    if experiment.artifact_store is not None:
        RemoteStore(experiment.artifact_store).check()


def _check_scheduler(experiment: Experiment) -> None:
    from lycoris.bases import load_scheduler_config
    from lycoris.bases.schedulers import build_scheduler

    config = load_scheduler_config(experiment.base, **experiment.base_options().for_tokenizer)
    name = experiment.sampling_settings().scheduler

    def check() -> None:
        build_scheduler(config, name)

    remember(experiment.output / "store", "scheduler is valid", {"config": dict(config), "name": name}, check)


def validate_caption_models(experiment: Experiment) -> None:
    """Check the tagger and the captioner of an experiment, and that their options have an effect.

    Raises:
        InputError: One is missing or invalid, or an option has no effect.
    """
    _check_sentence_options(experiment)
    _validate_annotators(experiment)


def _check_sentence_options(experiment: Experiment) -> None:
    for name in ("captioner", "instruction") if not SENTENCE_STRATEGIES.intersection(experiment.strategies) else ():
        if getattr(experiment, name) is not None:
            raise InputError(
                f"Option `{name}` has no effect without the strategy `sentence`: add it to `captions`, which are "
                f"{', '.join(experiment.strategies)}."
            )


def _validate_annotators(experiment: Experiment) -> None:
    from lycoris.captions import check_captioner, tagger_digest

    sources = experiment.model_sources()
    if sources["tagger"] is not None:
        tagger_digest(sources["tagger"], experiment.thresholds, experiment.vocabulary)
    elif experiment.thresholds or experiment.vocabulary:
        raise InputError("Options `thresholds` and `vocabulary` have no effect without a `tagger`.")
    if sources["captioner"] is not None:
        check_captioner(sources["captioner"], sources["instruction"])
    elif sources["instruction"] is not None:
        raise InputError("Option `instruction` has no effect without a `captioner`.")


def _validate_data(experiment: Experiment) -> None:
    from tasks.data_versions.revisions import resolve_revision, versioned_project

    project = versioned_project(experiment.data, project_root())
    if not experiment.data.is_dir() and project is None and experiment.data != Experiment.model_fields["data"].default:
        raise missing_path_error("data folder", experiment.data)
    if experiment.data_rev is not None:
        resolve_revision(experiment.data_rev, project)
    elif experiment.data.is_dir():
        selected = select_concepts(experiment, experiment.data).selected
        _validate_captions(experiment, selected)
        validate_image_counts(experiment, selected)


def _validate_captions(experiment: Experiment, concepts: Sequence[Concept]) -> None:
    from lycoris.captions import read_templates, templates_for_base
    from lycoris.captions.coverage import check_coverage
    from lycoris.captions.prior import prior_captions
    from lycoris.captions.sidecar import Sidecars

    images = [image for concept in concepts for image in concept.images]
    sidecars = Sidecars.read([image.path for image in images], images[0].root)
    sources, templates = experiment.model_sources(), templates_for_base(experiment.base)
    if experiment.templates is not None:
        templates = read_templates(experiment.templates, templates)
    for concept in concepts:
        prior_captions(concept, templates)
        check_coverage(
            concept.name,
            [image.path for image in concept.images],
            sidecars,
            experiment.strategies,
            tagger=sources["tagger"],
            captioner=sources["captioner"],
        )
