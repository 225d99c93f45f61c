"""The frozen records that tasks pass to each other: names, numbers and paths, never models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris.safety.file_names import safe_file_name

if TYPE_CHECKING:
    from lycoris.bases.sampling import GenerationSettings
    from lycoris.data.prompt_spec import PromptSpec
    from tasks.runtime.progress import ProgressChannel

Prompts = Mapping[str, Sequence["PromptSpec"]]
"""Prompt type -> prompts."""


@dataclass(frozen=True)
class RunContext:
    """Where a run keeps its work, and with which resources it does it.

    Attributes:
        store: root of the finished stages.
        progress: channel through which steps are shown, or None to show nothing.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        threads: CPU threads of each process.
        artifact_store: URL of the store through which machines without a common disk share finished stages.
        gpu_limit: name of the Prefect concurrency limit that a step on a GPU occupies, where the server has it.
        processes: how many processes, one for each GPU, train an adapter together.
        offload: whether the parts of a base, and other models, are on the device only while they work.
    """

    store: Path
    progress: ProgressChannel = None
    device: str = "auto"
    threads: int = 1
    artifact_store: str | None = None
    gpu_limit: str | None = None
    processes: int = 1
    offload: bool = False


@dataclass(frozen=True)
class Artifact:
    """A finished stage: its key and folder, whether it existed before, and how many seconds it took."""

    key: str
    folder: Path
    cached: bool
    seconds: float


@dataclass(frozen=True)
class BaseOptions:
    """How a base's files are read, where the files themselves do not say it; None where they do.

    Attributes:
        tokenizer: folder or hub name of the vocabulary of a single file.
        components: folder or hub name of the other parts of a transformer in one file.
        prediction_type: what the denoiser of a single file predicts.
        vae: folder or file of another VAE.
        resolution: side in pixels of the images that the base was trained on.
        max_token_length: tokens of a prompt that CLIP text encoders read, in windows.
        denoiser_precision: of the denoiser's weights; None for the device's default.
        text_precision: likewise of the text encoders'.
    """

    tokenizer: str | None = None
    prediction_type: str | None = None
    vae: str | None = None
    resolution: int | None = None
    max_token_length: int | None = None
    denoiser_precision: str | None = None
    text_precision: str | None = None
    components: str | None = None

    @property
    def precision(self) -> dict[str, str]:
        """Argument `precision` of `lycoris.bases.open_base`; empty where none is set."""
        named = {"denoiser": self.denoiser_precision, "text_encoders": self.text_precision}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def for_tokenizer(self) -> dict[str, Any]:
        """Arguments of `lycoris.bases.load_tokenizer` and of the functions that read the noise schedule."""
        return {
            "tokenizer": self.tokenizer,
            "components": self.components,
            "prediction_type": self.prediction_type,
        }

    @property
    def for_parts(self) -> dict[str, Any]:
        """Arguments of `lycoris.bases.parameter_count.meta_parts`."""
        return {**self.for_tokenizer, "vae": self.vae}

    @property
    def for_base(self) -> dict[str, Any]:
        """Arguments of `lycoris.bases.open_base` and `lycoris.bases.digest`."""
        return {
            **self.for_parts,
            "resolution": self.resolution,
            "max_token_length": self.max_token_length,
            "precision": self.precision,
        }


@dataclass(frozen=True)
class ModelRef:
    """A model by its source, with the SHA-256 of its files; of a base also how they are read."""

    source: str
    digest: str
    options: BaseOptions = BaseOptions()


@dataclass(frozen=True)
class TaggerRef:
    """A tagger with the options it is opened with.

    Attributes:
        source: as `lycoris.captions.open_tagger` takes it.
        digest: hash of its files, thresholds and vocabulary.
        thresholds: pairs of category and minimum confidence that override the tagger's own.
        vocabulary: a file of tags, for a text-image model.
    """

    source: str
    digest: str
    thresholds: tuple[tuple[str, float], ...] = ()
    vocabulary: Path | None = None


@dataclass(frozen=True)
class CaptionerRef:
    """A captioner with the instruction it is opened with.

    Attributes:
        source: as `lycoris.captions.open_captioner` takes it.
        digest: hash of its files and of what it is asked for.
        instruction: of the user; None for its family's own.
        prompt: what it is asked for, by the user or by its family; None for nothing.
    """

    source: str
    digest: str
    instruction: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class EvaluationModels:
    """The models that turn images into features, and how images reach them.

    Attributes:
        encoders: source -> digest of each image encoder.
        style_encoder: encoder of the style losses.
        tagger: names the content of generated images; None where none is set, so that no metric uses tags.
        quality_predictors: of single metrics, as `lycoris.metrics.quality_predictors` opens them.
        resize_mode: how images are brought to an encoder's size: ``resize``, ``crop`` or ``padding``.
    """

    encoders: Mapping[str, str]
    style_encoder: ModelRef
    tagger: TaggerRef | None
    quality_predictors: tuple[str, ...] = ()
    resize_mode: str = "resize"


@dataclass(frozen=True)
class SamplingSettings:
    """How images are generated; `seed` is that of the first image of each prompt type, None the base's own."""

    scheduler: str | None
    steps: int
    guidance: float | None
    seed: int
    batch_size: int

    @property
    def generation(self) -> GenerationSettings:
        """Everything but the seed, as the library takes it."""
        from lycoris.bases.sampling import GenerationSettings

        options = asdict(self)
        del options["seed"]
        return GenerationSettings(**options)


@dataclass(frozen=True)
class ImageBundle:
    """A concept's images as a finished stage, for machines that do not see the data folder.

    Attributes:
        artifact: the stage whose folder holds them.
        file_names: relative paths in that folder, in order.
    """

    artifact: Artifact
    file_names: tuple[str, ...]

    def subset(self, indices: Sequence[int]) -> ImageBundle:
        """A bundle of some of the images."""
        return ImageBundle(self.artifact, tuple(self.file_names[index] for index in indices))


@dataclass(frozen=True)
class ImageSet:
    """Images of a dataset.

    Attributes:
        files: their paths.
        digest: hash of the bytes of the whole set that they were selected from.
        bundle: the same images, where machines share no disk.
    """

    files: tuple[Path, ...]
    digest: str
    bundle: ImageBundle | None = None

    def subset(self, indices: Sequence[int]) -> ImageSet:
        """Some of the images."""
        bundle = None if self.bundle is None else self.bundle.subset(indices)
        return replace(self, files=tuple(self.files[index] for index in indices), bundle=bundle)


@dataclass(frozen=True)
class RunSpec:
    """One adapter of a study.

    Attributes:
        concept: name of the concept.
        algorithm: label, such as ``"lora"`` or ``"lora rank=16"``.
        strategy: caption strategy.
        seed: of its training.
        checkpoint: epochs or steps of training after which it is saved; None for the end.
        checkpoint_unit: ``"epoch"`` or ``"step"``.
    """

    concept: str
    algorithm: str
    strategy: str
    seed: int
    checkpoint: int | None = None
    checkpoint_unit: str = "epoch"

    @property
    def label(self) -> str:
        """For people."""
        text = f"{self.concept} · {self.algorithm} · {self.strategy} · seed {self.seed}"
        return text if self.checkpoint is None else f"{text} · {self.checkpoint_unit} {self.checkpoint}"

    @property
    def name(self) -> str:
        """For file and run names, in which not every character is allowed."""
        algorithm = self.algorithm.replace(" ", "-")
        text = f"{safe_file_name(self.concept)}-{safe_file_name(algorithm)}-{self.strategy}-{self.seed}"
        return text if self.checkpoint is None else f"{text}-{self.checkpoint_unit}-{self.checkpoint}"

    @property
    def training(self) -> RunSpec:
        """The adapter at the end of the same training."""
        return replace(self, checkpoint=None)


@dataclass(frozen=True)
class CaptionedConcept:
    """A concept with its captions and prompts under each strategy.

    Attributes:
        name: of the concept; category, trigger, class_noun and description are those of its entry.
        aliases: everything that stands for the concept in prompts.
        images_digest: hash of the concept's images.
        images: file paths, in the order of the captions.
        captions: strategy -> one caption per image.
        prompts: strategy -> prompt type -> prompts.
        concept_tags: tags that the strategy `adjusted` leaves to the trigger, with the counts that decided.
        cached: whether all tags and sentences were cached.
        skipped_images: path -> reason, of the concept's images that cannot be used.
        alternatives: strategy -> all captions of each image, where an image has several.
        repeats: how often an epoch shows each image; empty for once.
        prior_images: file paths of images of the class in general; `prior_captions` has a caption for each.
        prior_digest: hash of these images.
        captioned_by: strategy -> the models that wrote its captions, as `lineage` entries; empty for strategies that
            need none.
    """

    name: str
    category: str
    trigger: str
    class_noun: str
    description: str
    aliases: tuple[str, ...]
    images_digest: str
    images: tuple[Path, ...]
    captions: dict[str, tuple[str, ...]]
    prompts: dict[str, dict[str, tuple[PromptSpec, ...]]]
    concept_tags: tuple[dict[str, Any], ...]
    cached: bool
    skipped_images: dict[str, str]
    alternatives: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    repeats: tuple[int, ...] = ()
    prior_images: tuple[Path, ...] = ()
    prior_captions: tuple[str, ...] = ()
    prior_digest: str = ""
    captioned_by: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
