"""The experiment: the parameter of the flows, the format of YAML files, and the names that ``--set`` takes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, ValidationInfo, field_validator, model_validator

from flows.config import defaults, monitoring
from flows.config.adapter import AdapterConfig, Preset, TrainingOverrides, as_list, expand_sweep
from flows.config.generation import MAX_SEED, ImageCounts, SamplingConfig
from flows.config.precision import CardMemory, PrecisionConfig
from flows.config.record import ConfigRecord
from flows.config.training import combine_scopes, merge_training
from lycoris import pocket, terms
from lycoris.errors import missing_path_error
from lycoris.safety.file_names import check_folder_name
from tasks.artifacts import BaseOptions, SamplingSettings
from tasks.trainings import AdapterSettings

LOCAL_RUNNERS = ("processes", "threads")
"""Task runners of this machine; any other runner is the address of a Dask scheduler."""
OPTIONAL_LISTS = ("checkpoints", "trackers", "strengths")
LISTS = ("captions", "seeds", "encoders", "resize_modes", *OPTIONAL_LISTS)
"""Options that take several values, each once; all but the optional ones need at least one."""
DEFAULT_CONCEPTS = ("grumble", "biscuit")
"""The shipped concepts that run by default: a character with marks that no tag describes, and a toy."""


class Experiment(ConfigRecord):
    """Every selected concept x adapter x caption strategy x seed, scored beside the base model."""

    name: str = Field(
        "pocket",
        min_length=1,
        max_length=80,
        description="name in MLflow and of the result folder; default: that of the data folder, pocket for data/",
    )
    data: Path = Field(Path("data"), description="folder of images: <category>/<class>/[<subclass>/]image")
    data_rev: str | None = Field(None, description="git revision or hash of an earlier data version")
    concepts_file: Path | None = Field(None, description="default: concepts.yaml in the data folder")
    concepts: tuple[str, ...] | None = Field(
        None,
        description=f"names of classes, or all; default: {', '.join(DEFAULT_CONCEPTS)} and every class of your own",
    )
    base: str = Field("pocket", description="pocket, pocket-flow, diffusers folder, .safetensors file, or hub name")
    tokenizer: str | None = Field(None, description="vocabulary of a base in one file: a folder or hub name")
    components: str | None = Field(None, description="other parts of a transformer in one file: a folder or hub name")
    prediction_type: Literal["epsilon", "v_prediction", "sample"] | None = Field(
        None, description="what a base in one file predicts, if the file does not say it"
    )
    vae: str | None = Field(None, description="another VAE for the base: a folder or a .safetensors file")
    resolution: int | None = Field(None, ge=8, description="pixels a side that the base was trained on")
    max_token_length: int | None = Field(
        None, ge=1, description="tokens of a caption that CLIP reads: 75, 150, 225 ...; default: 75, one window"
    )
    precision: PrecisionConfig = PrecisionConfig()
    fit: CardMemory | None = Field(None, description="memory of the card, such as 12GB: chooses what makes it fit")
    offload: bool = Field(False, description="have each part of the base on the GPU only while it works")
    algorithms: tuple[AdapterConfig, ...] = Field(
        tuple(AdapterConfig.model_construct(algorithm=name) for name in ("lora", "loha", "lokr", "full")),
        description="names, or mappings with the options of an adapter listed below; a list of values is one adapter "
        "for each",
    )
    preset: Preset | None = Field(None, description="which layers are adapted; default: attn-mlp, on the pocket full")
    captions: tuple[terms.CaptionStrategy, ...] = Field(
        terms.TAG_STRATEGIES, description=f"caption strategies: {', '.join(terms.CAPTION_STRATEGIES)}"
    )
    seeds: tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...] = Field((0,), description="one adapter for each")
    tagger: str | None = Field(None, description="pocket, sidecar (caption files), a folder, or a hub name")
    thresholds: dict[str, float] | None = Field(
        None, description="minimum confidence by tag category; default: 0.35, characters 0.85"
    )
    vocabulary: Path | None = Field(None, description="file of tags, if the tagger is a CLIP or SigLIP model")
    captioner: str | None = Field(None, description="the same for the strategy sentence")
    instruction: str | None = Field(None, description="what a captioner is asked for; default: one sentence")
    templates: Path | None = Field(None, description="YAML file of prompts by category (docs/data.md)")
    encoders: tuple[str, ...] = Field(
        ("clip", "dinov2", "convnextv2"), description="image encoders of the scores: clip, dinov2, ... or hub names"
    )
    resize_modes: tuple[terms.ResizeMode, ...] = Field(
        terms.RESIZE_MODES[:1],
        description=f"how reference images are resized for an encoder: {', '.join(terms.RESIZE_MODES)}",
    )
    score_costs: bool = Field(False, description="also score training time, memory, file size and generation time")
    strengths: tuple[Annotated[float, Field(gt=0, le=2)], ...] = Field(
        (0.4, 0.6, 0.8, 1.2), description="strengths that a champion is tried at beside 1, to recommend one; []: none"
    )
    style_encoder: str = Field("vgg", description="encoder of the style losses")
    steps: int | None = Field(
        None,
        ge=1,
        description="training steps; default: as many as 50 epochs have, on the pocket 120 (docs/training.md)",
    )
    batch_size: int | None = Field(None, ge=1, description="images per step; default: 8, on the pocket 6")
    hold_out: float = Field(
        0, ge=0, description="images of each concept excluded from training: a number, or a fraction below 1"
    )
    training: TrainingOverrides = Field({}, description="settings of docs/training.md, as {horizontal_flip: true}")
    checkpoints: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="epochs or steps to also score after")
    validation: monitoring.ValidationConfig | None = None
    samples: monitoring.SampleConfig | None = None
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = Field((), description="tensorboard, wandb beside MLflow")
    images: ImageCounts = ImageCounts()
    sampling: SamplingConfig = SamplingConfig()
    output: Path = Field(Path("runs"), description="folder of all results")
    co_train: int | None = Field(
        None,
        ge=1,
        description="adapters trained together in one process; default: 4 on the pocket base with one worker, else 1",
    )
    workers: int | None = Field(
        None, ge=1, le=1024, description="worker processes; default: one for each GPU, else for each core"
    )
    runner: str = Field("processes", description="processes, threads, or a Dask scheduler: tcp://host:port")
    gpus: Literal["all"] | PositiveInt | None = Field(None, description="that train each adapter: all, or a number")
    artifact_store: str | None = Field(
        None, description="URL where workers without a common disk share artifacts: s3://bucket/prefix"
    )
    gpu_limit: str | None = Field(
        "gpu", description="Prefect concurrency limit that a step on a GPU occupies, if the server has it"
    )

    @model_validator(mode="before")
    @classmethod
    def _name_after_data(cls, values: Any) -> Any:
        """Name an experiment on data of the user's own after their folder."""
        data = values.get("data") if isinstance(values, dict) and "name" not in values else None
        if isinstance(data, str | Path) and Path(data) != cls.model_fields["data"].default:
            return {**values, "name": defaults.default_name(Path(data))}
        return values

    @field_validator("algorithms", mode="before", json_schema_input_type=str | tuple[str | AdapterConfig, ...])
    @classmethod
    def _expand_algorithms(cls, value: Any) -> Any:
        return [
            adapter
            for entry in as_list(value)
            for adapter in ([{"algorithm": entry}] if isinstance(entry, str) else expand_sweep(entry))
        ]

    @field_validator("concepts", *LISTS, mode="before")
    @classmethod
    def _split_lists(cls, value: Any) -> Any:
        return value if value is None else as_list(value)

    @field_validator("validation", "samples", mode="before")
    @classmethod
    def _expand_shorthand(cls, value: Any, field: ValidationInfo) -> Any:
        """Accept `validation=2` for holding out two images, and `samples=5` for images every five epochs."""
        name = "hold_out" if field.field_name == "validation" else "every"
        return {name: value} if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        check_folder_name("Option `name`", name)
        if name in defaults.RESERVED_NAMES:
            raise ValueError(f"must not be {', '.join(defaults.RESERVED_NAMES)}: these folders have another purpose")
        return name

    @field_validator("runner")
    @classmethod
    def _check_runner(cls, name: str) -> str:
        if name not in LOCAL_RUNNERS and not re.fullmatch(r"(tcp|tls|ucx|wss?)://[^\s/@]+:\d+", name):
            raise ValueError(
                f"must be one of {', '.join(LOCAL_RUNNERS)} or the address of a Dask scheduler, tcp://host:port"
            )
        return name

    @model_validator(mode="after")
    def _check_artifact_store(self) -> Experiment:
        if self.artifact_store is not None and "://" not in self.artifact_store:
            raise ValueError("`artifact_store` must be a URL, such as s3://bucket/prefix or file:///mnt/share")
        if self.artifact_store is not None and (self.co_train or 1) > 1:
            raise ValueError(
                "`co_train` must be 1 where `artifact_store` is set: adapters trained together use one disk"
            )
        return self

    @field_validator("hold_out")
    @classmethod
    def _check_hold_out(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError("must be a fraction below 1 or a whole number")
        return value

    @model_validator(mode="after")
    def _check_training(self) -> Experiment:
        if self.training or any(adapter.training for adapter in self.algorithms):
            from lycoris.training import TrainingSettings

            for adapter in self.algorithms:
                TrainingSettings(**self.adapter_settings(adapter).training)
        return self

    @model_validator(mode="after")
    def _check_unique(self) -> Experiment:
        for name in ("algorithms", *LISTS):
            values = getattr(self, name)
            if not values and name not in OPTIONAL_LISTS:
                raise ValueError(f"`{name}` is empty: it needs at least one value")
            if len({value.label if isinstance(value, AdapterConfig) else str(value) for value in values}) < len(values):
                raise ValueError(f"`{name}` contains a value twice")
        return self

    @model_validator(mode="after")
    def _check_checkpoints(self) -> Experiment:
        for adapter in self.algorithms if self.checkpoints else ():
            monitoring.check_checkpoints(self.checkpoints, adapter.label, self.adapter_settings(adapter).training)
        return self

    @property
    def strategies(self) -> tuple[str, ...]:
        """Every caption strategy of some adapter, in the order of the experiment."""
        own = [strategy for adapter in self.algorithms for strategy in self.captions_of(adapter)]
        return tuple(dict.fromkeys([*(strategy for strategy in self.captions if strategy in own), *own]))

    def captions_of(self, adapter: AdapterConfig) -> tuple[str, ...]:
        """Return the caption strategies of one adapter."""
        return self.captions if adapter.captions is None else adapter.captions

    def with_captions(self, strategies: tuple[str, ...]) -> Experiment:
        """Return the experiment with these caption strategies for every adapter."""
        algorithms = tuple(adapter.model_copy(update={"captions": None}) for adapter in self.algorithms)
        return self.model_copy(update={"captions": strategies, "algorithms": algorithms})

    def data_folder(self) -> Path:
        """Return the folder of images; the shipped images if the default folder is not checked out yet.

        Raises:
            InputError: The folder does not exist and is not the default one.
        """
        if self.data.is_dir():
            return self.data
        if self.data != type(self).model_fields["data"].default:
            raise missing_path_error("data folder", self.data)
        return pocket.IMAGES

    def base_options(self) -> BaseOptions:
        """Return how the base's files are read."""
        options = self.tokenizer, self.prediction_type, self.vae, self.resolution, self.max_token_length
        return BaseOptions(*options, self.precision.denoiser, self.precision.text_encoders, self.components)

    def model_sources(self) -> dict[str, Any]:
        """Return the arguments of `tasks.models.resolve_models`."""
        annotator = defaults.default_annotator(self.base)
        writes_sentences = terms.SENTENCE_STRATEGIES.intersection(self.strategies)
        return {
            "base": self.base,
            "base_options": self.base_options(),
            "encoders": self.encoders,
            "style_encoder": self.style_encoder,
            "tagger": self.tagger or annotator,
            "thresholds": self.thresholds,
            "vocabulary": self.vocabulary,
            "captioner": self.captioner or annotator if writes_sentences else None,
            "instruction": self.instruction if writes_sentences else None,
        }

    @property
    def on_invalid_image(self) -> str:
        """``"stop"`` if any adapter is trained so, since all adapters of a concept share its images."""
        requested = {self.adapter_settings(adapter).training.get("on_invalid_image") for adapter in self.algorithms}
        return "stop" if "stop" in requested else "skip"

    def sampling_settings(self) -> SamplingSettings:
        """Return how images are generated, with the defaults of the base model filled in."""
        options = self.sampling.model_dump()
        fallbacks = defaults.default_sampling(self.base)
        return SamplingSettings(**{**options, **{name: options[name] or value for name, value in fallbacks.items()}})

    def adapter_settings(self, adapter: AdapterConfig) -> AdapterSettings:
        """Return everything that determines the training of an adapter, with defaults filled in."""
        fallback = defaults.default_settings(self.base, adapter.algorithm, self.components)
        alpha = adapter.alpha if adapter.alpha is not None else fallback.alpha
        if adapter.rank is not None and adapter.alpha is None:  # keep the default scale if only the rank is set
            if fallback.alpha and fallback.rank:
                alpha = adapter.rank * fallback.alpha / fallback.rank
            else:
                alpha = float(adapter.rank)
        learning_rate = adapter.learning_rate
        if adapter.learning_rate_multiplier is not None:  # rounded to the shortest number: 1e-6 x 5 is 5e-06
            learning_rate = float(f"{adapter.learning_rate_multiplier * fallback.training['learning_rate']:.12g}")
        for_all = combine_scopes({"steps": self.steps, "batch_size": self.batch_size}, self.training)
        own = combine_scopes({"steps": adapter.steps, "learning_rate": learning_rate}, adapter.training)
        return replace(
            fallback,
            preset=next(name for name in (adapter.preset, self.preset, fallback.preset) if name is not None),
            rank=adapter.rank if adapter.rank is not None else fallback.rank,
            alpha=alpha,
            factor=adapter.factor if adapter.factor is not None else fallback.factor,
            images=adapter.images,
            options={**fallback.options, **adapter.options},
            training=merge_training(fallback.training, for_all, own),
        )
