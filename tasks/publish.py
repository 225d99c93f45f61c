"""Publish an adapter of the registry: files that people load, images, a model card and sidecars."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lycoris.errors import InputError
from lycoris.pocket import EMBEDDED_BASES
from lycoris.publishing.adapter_files import convert_for_diffusers, publish_tensors
from lycoris.publishing.card import build_card
from lycoris.publishing.folder import check_shareable, check_target, replace_publication, write_manifest
from lycoris.publishing.hub import HUB_NAME, check_repository, open_hub, upload
from lycoris.publishing.record import (
    CARD,
    DIFFUSERS_FILE,
    SCORES_FILE,
    BaseModel,
    Publication,
    SampleImage,
    Strength,
)
from lycoris.publishing.sidecars import sidecar_texts
from lycoris.safety.file_names import safe_file_name
from lycoris.safety.machine_paths import find_machine_path
from tasks.tracking import registry
from tasks.tracking.client import TrackingServer
from tasks.tracking.registry import ModelVersion
from tasks.tracking.run_tables import read_run_table

if TYPE_CHECKING:
    from lycoris.bases import Base
    from lycoris.metrics.score import ScoreRecord

HUB_PREFIX = "hub:"
FIRST_SEED = 1000
BASE_VERSION_KEY = "ss_base_model_version"


@dataclass(frozen=True)
class PublishOptions:
    """What the publisher decides.

    Attributes:
        images: number of images to generate, in so many `steps` of the sampler.
        strength: recommended; None for the measured one, or 1 where none was measured.
        trigger: where the registry does not have it.
        base: source of the base, where it is elsewhere than at training.
        base_model: ``USER/NAME`` of the base on the hub, where the source does not say it.
        license: of the adapter; `base_license` of the base.
        public: whether everybody can see a new repository.
    """

    images: int = 4
    steps: int = 25
    strength: float | None = None
    trigger: str | None = None
    base: str | None = None
    base_model: str | None = None
    license: str | None = None
    base_license: str | None = None
    public: bool = False


@dataclass(frozen=True)
class Published:
    """What was published: the version, where it is, its files, and what was left out for paths or secrets."""

    version: ModelVersion
    address: str
    files: tuple[str, ...]
    left_out: tuple[str, ...]


def publish(server: TrackingServer, name: str, to: str, options: PublishOptions) -> Published:
    """Publish a version of the registry into a folder or a repository of the hub.

    Args:
        name: as for `tasks.tracking.registry.get_version`.
        to: a folder, or ``hub:USER/NAME``.

    Raises:
        InputError: there is no such version, the target has other files, or the hub refuses.
    """
    _check_options(options)
    version = registry.get_version(server, name)
    repository = to.removeprefix(HUB_PREFIX) if to.startswith(HUB_PREFIX) else None
    hub = None if repository is None else open_hub(repository)
    if hub is None or repository is None:
        check_target(Path(to), version.concept)  # before minutes of work
    else:
        check_repository(hub, repository, version.concept)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "publication"
        folder.mkdir()
        left_out = _fill(folder, server, version, options)
        check_shareable(folder)
        write_manifest(folder, version.concept, version.version)
        files = tuple(sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()))
        if hub is None or repository is None:
            replace_publication(folder, Path(to), version.concept)
            return Published(version, to, files, left_out)
        message = f"{version.concept}, version {version.version}"
        address = upload(hub, repository, folder, version.concept, message, public=options.public)
        return Published(version, address, files, left_out)


def _check_options(options: PublishOptions) -> None:
    if options.images < 0:
        raise InputError(f"Option `--images` must be at least 0, but got {options.images}.")
    if options.steps < 1:
        raise InputError(f"Option `--steps` must be at least 1, but got {options.steps}.")
    if options.strength is not None and not 0 < options.strength <= 2:
        raise InputError(f"Option `--strength` must be in (0, 2], but got {options.strength:g}.")
    if options.base_model is not None and not HUB_NAME.fullmatch(options.base_model):
        raise InputError(f"Option `--base-model` must be `USER/NAME` of the hub, but got `{options.base_model}`.")


def _fill(folder: Path, server: TrackingServer, version: ModelVersion, options: PublishOptions) -> tuple[str, ...]:
    """Write all files but the manifest; return what was left out for paths or secrets."""
    from lycoris import open_base, read_metadata
    from lycoris.cache.integrity import file_digest

    stem = safe_file_name(version.concept)
    file = folder / f"{stem}.safetensors"
    trigger = options.trigger or version.trigger
    with tempfile.TemporaryDirectory() as temporary:
        _, registered = registry.pull(server, f"{version.concept}@{version.version}", Path(temporary) / file.name)
        left_out = publish_tensors(registered, file, trigger)
    settings, private = _training_options(version)
    source = options.base or version.base
    base = None
    if source is not None and (options.images or options.base is not None):
        base = open_base(source)
    publication = Publication(
        name=stem,
        concept=version.concept,
        version=version.version,
        algorithm=version.algorithm or "not recorded",
        strategy=version.strategy or "not recorded",
        seed=version.seed,
        settings=settings,
        base=_base_model(version, options, read_metadata(file).get(BASE_VERSION_KEY)),
        trigger=trigger,
        strength=_strength(version, options.strength),
        data_version=version.data_version,
        license=options.license,
        scores=_scores(server, version),
        diffusers_note=convert_for_diffusers(file, folder / DIFFUSERS_FILE, None if base is None else base.parts),
        sha256=file_digest(file),
    )
    if options.images:
        if base is None:
            raise InputError(f"Version {version.version} of `{version.concept}` has no base: name it with `--base`.")
        prompts = _prompts(server, version, trigger)
        publication = replace(publication, images=_generate(folder, publication, base, prompts, options))
    _write_texts(folder, publication)
    return (*left_out, *(f"settings.{name}" for name in private))


def _strength(version: ModelVersion, stated: float | None) -> Strength:
    """The publisher's strength, else the measured one, else 1."""
    if stated is not None:
        return Strength(stated, "stated by the publisher")
    if not version.strength:
        return Strength()
    return Strength(float(version.strength["value"]), f"measured: {version.strength['origin']}")


def _write_texts(folder: Path, publication: Publication) -> None:
    texts = {CARD: build_card(publication), **sidecar_texts(publication, folder / publication.file)}
    if publication.scores:
        texts[SCORES_FILE] = f"{json.dumps(list(publication.scores), indent=2)}\n"
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _generate(
    folder: Path, publication: Publication, base: Base, prompts: Sequence[str], options: PublishOptions
) -> list[SampleImage]:
    """Generate images at the recommended strength; the first is the preview."""
    import lycoris

    seeds = [FIRST_SEED + number for number in range(options.images)]
    texts = [prompts[number % len(prompts)] for number in range(options.images)]
    network = lycoris.load(folder / publication.file, base.parts)
    network.scale = publication.strength.value
    samples = []
    (folder / "images").mkdir()
    settings = lycoris.GenerationSettings(steps=options.steps)
    for number, image in enumerate(lycoris.generate(base, texts, seeds, settings)):
        sample = SampleImage(f"images/{number + 1:02}.png", texts[number], seeds[number])
        image.save(folder / sample.path)
        samples.append(sample)
    shutil.copyfile(folder / samples[0].path, folder / f"{publication.name}.preview.png")
    return samples


def _prompts(server: TrackingServer, version: ModelVersion, trigger: str | None) -> Sequence[str]:
    """Prompts that the version was scored with; of versions without them its captions, or the trigger."""
    if version.prompts:
        return version.prompts
    captions = [str(row["caption"]) for row in read_run_table(server, version.run_id, "captions.json")]
    prompts = [caption for caption in dict.fromkeys(captions) if caption] or [trigger or ""]
    if not prompts[0]:
        raise InputError(
            f"Version {version.version} of `{version.concept}` has no captions and no trigger: give `--trigger WORD`, "
            "or `--images 0`."
        )
    return prompts


def _scores(server: TrackingServer, version: ModelVersion) -> list[ScoreRecord]:
    """All scores with their intervals; where the run was deleted, the values in the registry."""
    rows = read_run_table(server, version.run_id, "scores.json")
    if rows:
        return [cast("ScoreRecord", dict(row)) for row in rows]
    return [{"name": name, "value": value} for name, value in version.scores.items()]


def _training_options(version: ModelVersion) -> tuple[dict[str, object], list[str]]:
    """The settings that are set, and the names of those that are left out because they name a path."""
    options = {name: value for name, value in version.settings.items() if value not in (None, {}, [])}
    private = [name for name, value in options.items() if find_machine_path(json.dumps(value)) is not None]
    return {name: value for name, value in options.items() if name not in private}, private


def _base_model(version: ModelVersion, options: PublishOptions, family: str | None) -> BaseModel:
    source = version.base or ""
    is_pocket = source in EMBEDDED_BASES
    is_local = is_pocket or Path(source).is_absolute()
    hub_name = options.base_model or (source if HUB_NAME.fullmatch(source) and not is_local else None)
    description = f"the {source}, the small base embedded in lycoris" if is_pocket else "a model of the publisher's own"
    return BaseModel(hub_name, description, version.base_digest, None if is_pocket else family, options.base_license)
