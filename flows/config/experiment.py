"""What a run does, as one typed record: the flow's parameter, the YAML file's shape, and `--set`'s names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import yaml
from pydantic import BaseModel, Field, ValidationInfo, create_model, field_validator, model_validator

from flows.config import defaults, monitoring
from flows.config.adapter import (
    AdapterConfig,
    ConfigRecord,
    Preset,
    TrainingOverrides,
    as_list,
    expand_sweep,
)
from flows.config.training import combine_scopes, merge_training
from lycoris import pocket
from lycoris.errors import InputError, unknown_name_error
from lycoris.safety.file_names import check_folder_name
from lycoris.terms import (
    CAPTION_STRATEGIES,
    PROMPT_TYPES,
    RESIZE_MODES,
    SENTENCE_STRATEGIES,
    TAG_STRATEGIES,
    CaptionStrategy,
    ResizeMode,
)

MAX_IMAGES = 10_000
"""Pictures of one prompt type."""
MAX_SEED = 2**62
LOCAL_RUNNERS = ("processes", "threads")
"""Of this machine; any other is the address of a cluster."""
EXECUTION_FIELDS = frozenset(
    {"data", "data_rev", "output", "workers", "co_train", "runner", "artifact_store", "gpu_limit"}
)
"""Options that say where and how work is done, which what comes out does not depend on."""

DEFAULT_CONCEPTS = ("grumble", "biscuit")
"""Of the shipped concepts, those that run when none is named; a user's own always run. One is a character with
marks that no tag knows, one a toy."""


class _ImageCounts(ConfigRecord):
    """How many images are generated of each prompt type, by the adapter and again by the untouched base."""

    def of(self, prompt_type: str) -> int:
        """The number of images of one prompt type."""
        return getattr(self, prompt_type)

    @property
    def total(self) -> int:
        """The number of images of all prompt types."""
        return sum(self.of(name) for name in PROMPT_TYPES)

    @model_validator(mode="after")
    def _check_total(self) -> Self:
        if self.total == 0:
            raise ValueError("at least one prompt type needs an image")
        return self


if TYPE_CHECKING:
    ImageCounts = _ImageCounts
else:
    ImageCounts = create_model(
        "ImageCounts",
        __base__=_ImageCounts,
        **{
            name: (int, Field(entry.count, ge=0, le=MAX_IMAGES, description=entry.about))
            for name, entry in PROMPT_TYPES.items()
        },
    )
    """The record with a field for each prompt type."""


class SamplingConfig(ConfigRecord):
    """How pictures are drawn."""

    scheduler: str | None = Field(
        None,
        description="one of lycoris.bases.sampling.SCHEDULERS or a diffusers class; default: the family's own",
    )
    steps: int | None = Field(None, ge=1, description="default: 25, on the pocket 14")
    guidance: float = Field(7.0, ge=1)
    seed: int = Field(1000, ge=0, le=MAX_SEED, description="of the first picture of each prompt type; the n-th adds n")
    batch_size: int = Field(16, ge=1)


class Experiment(ConfigRecord):
    """One study: every chosen concept x adapter x caption strategy x seed, scored beside the base."""

    name: str = Field("pocket", min_length=1, max_length=80, description="the study's name in MLflow")
    data: Path = Field(Path("data"), description="folder <category>/<class>/[<subclass>/]image")
    data_rev: str | None = Field(None, description="an earlier data version: a git revision or its hash")
    concepts_file: Path | None = Field(None, description="default: concepts.yaml in the data folder")
    concepts: tuple[str, ...] | None = Field(None, description="class names, or all; default: see `DEFAULT_CONCEPTS`")
    base: str = Field("pocket", description="pocket, a diffusers folder, a .safetensors file, or a hub name")
    algorithms: tuple[AdapterConfig, ...] = Field(
        tuple(AdapterConfig.model_construct(algorithm=name) for name in ("lora", "loha", "lokr", "full")),
        description="names, or mappings with rank, alpha, factor, preset, learning_rate, learning_rate_multiplier, "
        "steps, pictures, captions, training; several values of one are an adapter each",
    )
    preset: Preset | None = Field(None, description="which layers, of every adapter; default: the base's recipe")
    captions: tuple[CaptionStrategy, ...] = Field(TAG_STRATEGIES, description=f"of {', '.join(CAPTION_STRATEGIES)}")
    seeds: tuple[Annotated[int, Field(ge=0, le=MAX_SEED)], ...] = Field(
        (0,), description="one adapter is trained for each"
    )
    tagger: str = Field("pocket", description="pocket, sidecar, a folder, or a hub name")
    thresholds: dict[str, float] | None = Field(None, description="tag category: least confidence; default: .35, .85")
    vocabulary: Path | None = Field(None, description="file of tags, for a CLIP or SigLIP as tagger")
    captioner: str = Field("pocket", description="for the strategy sentence: pocket, sidecar, a folder, or a hub name")
    templates: Path | None = Field(None, description="YAML of prompts by category, over the base's (docs/data.md)")
    encoders: tuple[str, ...] = Field(("clip", "dinov2", "convnextv2"), description="for the scores")
    resize_modes: tuple[ResizeMode, ...] = Field(
        RESIZE_MODES[:1], description=f"how the dataset's images reach an encoder, of {', '.join(RESIZE_MODES)}"
    )
    score_costs: bool = Field(False, description="training time, memory, file size and drawing time as scores, too")
    style_encoder: str = Field("vgg", description="for the style losses")
    steps: int | None = Field(None, ge=1, description="training steps; default: the base's recipe")
    batch_size: int | None = Field(None, ge=1, description="pictures a training step; default: the recipe")
    hold_out: float = Field(
        0, ge=0, description="pictures of each concept never trained on: a number, or a part below 1"
    )
    training: TrainingOverrides = Field({}, description="settings of docs/training.md, such as {horizontal_flip: true}")
    checkpoints: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="epochs (steps, where the length is in steps) after which the adapter is drawn and scored too"
    )
    validation: monitoring.ValidationConfig | None = None
    samples: monitoring.SampleConfig | None = None
    images: ImageCounts = ImageCounts()
    sampling: SamplingConfig = SamplingConfig()
    output: Path = Field(Path("runs"), description="where everything is kept")
    co_train: int | None = Field(
        None,
        ge=1,
        description="adapters trained at once on one base; default: 4 on the pocket in one process, else 1",
    )
    workers: int | None = Field(None, ge=1, le=1024, description="processes; default: one a core, one on a GPU")
    runner: str = Field("processes", description="processes, threads, or a Dask scheduler as tcp://host:port")
    artifact_store: str | None = Field(
        None, description="where workers without a common disk share stages: s3://bucket/prefix"
    )
    gpu_limit: str | None = Field("gpu", description="the Prefect limit that a step on a GPU takes a slot of, if there")

    @field_validator("algorithms", mode="before", json_schema_input_type=str | tuple[str | AdapterConfig, ...])
    @classmethod
    def _expand_algorithms(cls, value: Any) -> Any:
        return [
            each
            for entry in as_list(value)
            for each in ([{"algorithm": entry}] if isinstance(entry, str) else expand_sweep(entry))
        ]

    @field_validator("captions", "concepts", "seeds", "encoders", "resize_modes", "checkpoints", mode="before")
    @classmethod
    def _split_lists(cls, value: Any) -> Any:
        return value if value is None else as_list(value)

    @field_validator("validation", "samples", mode="before")
    @classmethod
    def _expand_shorthand(cls, value: Any, field: ValidationInfo) -> Any:
        """`validation=2` holds out two pictures, `samples=5` draws every five epochs."""
        name = "hold_out" if field.field_name == "validation" else "every"
        return {name: value} if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        check_folder_name("Option `name`", name)
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
            raise ValueError("`artifact_store` must be an address, such as s3://bucket/prefix or file:///mnt/share")
        if self.artifact_store is not None and (self.co_train or 1) > 1:
            raise ValueError(
                "`co_train` must be 1 where `artifact_store` is set: adapters trained together use one disk"
            )
        return self

    @field_validator("hold_out")
    @classmethod
    def _check_hold_out(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError("must be a part below 1 or a whole number")
        return value

    @model_validator(mode="after")
    def _check_training(self) -> Experiment:
        if self.training or any(adapter.training for adapter in self.algorithms):
            from lycoris.training import TrainingSettings

            for adapter in self.algorithms:
                TrainingSettings(**self.adapter_settings(adapter)["training"])
        return self

    @model_validator(mode="after")
    def _check_unique(self) -> Experiment:
        for name in ("algorithms", "captions", "seeds", "encoders", "resize_modes", "checkpoints"):
            values = getattr(self, name)
            if not values and name != "checkpoints":
                raise ValueError(f"`{name}` is empty: name at least one")
            if len({value.label if isinstance(value, AdapterConfig) else str(value) for value in values}) < len(values):
                raise ValueError(f"`{name}` names something twice")
        return self

    @model_validator(mode="after")
    def _check_checkpoints(self) -> Experiment:
        for adapter in self.algorithms if self.checkpoints else ():
            training = self.adapter_settings(adapter)["training"]
            length, last = monitoring.training_length(training), max(self.checkpoints)
            if last > length:
                unit = monitoring.length_unit(training)
                raise ValueError(f"`checkpoints` has {last}, but `{adapter.label}` is trained for {length:g} {unit}s")
        return self

    @property
    def strategies(self) -> tuple[str, ...]:
        """Every caption strategy that some adapter is trained with, the experiment's first."""
        own = [strategy for adapter in self.algorithms for strategy in self.captions_of(adapter)]
        return tuple(dict.fromkeys([*(each for each in self.captions if each in own), *own]))

    def captions_of(self, adapter: AdapterConfig) -> tuple[str, ...]:
        """The caption strategies of one adapter."""
        return self.captions if adapter.captions is None else adapter.captions

    def data_folder(self) -> Path:
        """The folder of pictures; before the shipped one is checked out, what it will hold.

        Raises:
            InputError: it is another, and is not there.
        """
        if self.data.is_dir():
            return self.data
        if self.data != type(self).model_fields["data"].default:
            raise InputError(f"There is no data folder `{self.data}`.")
        return pocket.IMAGES

    def select_concepts(self, names: Sequence[str]) -> tuple[str, ...]:
        """Which of the concepts of the data folder this experiment is about.

        Args:
            names: of all concepts there.

        Returns:
            Those named; all for ``all``; by default `DEFAULT_CONCEPTS` and whatever the project does not ship.

        Raises:
            InputError: a name is unknown.
        """
        if self.concepts == ("all",):
            return tuple(names)
        if self.concepts is not None:
            for name in self.concepts:
                if name not in names:
                    raise unknown_name_error("concept", name, names)
            return self.concepts
        shipped = yaml.safe_load((pocket.IMAGES / "concepts.yaml").read_text(encoding="utf-8"))["concepts"]
        return tuple(name for name in names if name in DEFAULT_CONCEPTS or name not in shipped) or tuple(names)

    def model_sources(self) -> dict[str, Any]:
        """What `tasks.runtime.model_refs.sources` is asked for."""
        return {
            "base": self.base,
            "encoders": self.encoders,
            "style_encoder": self.style_encoder,
            "tagger": self.tagger,
            "thresholds": self.thresholds,
            "vocabulary": self.vocabulary,
            "captioner": self.captioner if SENTENCE_STRATEGIES.intersection(self.strategies) else None,
        }

    def caption_options(self) -> dict[str, Any]:
        """What `tasks.caption.captions` is asked for beside the data, the concepts and the networks."""
        return {
            "base": self.base,
            "strategies": self.strategies,
            "counts": self.images.model_dump(),
            "seed": self.sampling.seed,
            "templates_file": self.templates,
            "on_invalid_image": self.on_invalid_image,
        }

    @property
    def on_invalid_image(self) -> str:
        """``"stop"`` where any adapter is to be trained so; all of a concept's see the same pictures."""
        wanted = {self.adapter_settings(adapter)["training"].get("on_invalid_image") for adapter in self.algorithms}
        return "stop" if "stop" in wanted else "skip"

    def sampling_settings(self) -> dict[str, Any]:
        """``{"scheduler", "steps", "guidance", "seed", "batch_size"}``, the base's recipe filled in."""
        chosen = self.sampling.model_dump()
        return {
            **chosen,
            **{name: chosen[name] or value for name, value in defaults.default_sampling(self.base).items()},
        }

    def adapter_settings(self, adapter: AdapterConfig) -> dict[str, Any]:
        """Everything that decides one adapter's training, the base's recipe filled in.

        Returns:
            ``{"algorithm", "preset", "rank", "alpha", "factor", "training": {...}}``, and ``"pictures"`` where the
            adapter learns from some alone.
        """
        chosen = defaults.default_settings(self.base, adapter.algorithm)
        if self.preset is not None:
            chosen["network"]["preset"] = self.preset
        network = {
            name: getattr(adapter, name) if getattr(adapter, name) is not None else chosen["network"].get(name)
            for name in ("preset", "rank", "alpha", "factor")
        }
        if adapter.rank is not None and adapter.alpha is None:  # keep the recipe's scale when only rank is given
            alpha, rank = chosen["network"].get("alpha"), chosen["network"].get("rank")
            network["alpha"] = adapter.rank * alpha / rank if alpha and rank else float(adapter.rank)
        for_all = combine_scopes({"steps": self.steps, "batch_size": self.batch_size}, self.training)
        rate = adapter.learning_rate
        if adapter.learning_rate_multiplier is not None:  # the shortest number that says it: 1e-6 x 5 is 5e-06
            rate = float(f"{adapter.learning_rate_multiplier * chosen['training']['learning_rate']:.12g}")
        own = combine_scopes({"steps": adapter.steps, "learning_rate": rate}, adapter.training)
        dials = merge_training(chosen["training"], for_all, own)
        some = {} if adapter.pictures is None else {"pictures": adapter.pictures}
        return {"algorithm": adapter.algorithm, **network, **some, "training": dials}


NESTED_GROUPS: dict[str, type[BaseModel]] = {
    "validation": monitoring.ValidationConfig,
    "samples": monitoring.SampleConfig,
    "images": ImageCounts,
    "sampling": SamplingConfig,
}
"""Options of an experiment that hold options of their own."""


def training_count(experiment: Experiment, concepts: int) -> int:
    """How many adapters the experiment trains."""
    ways = sum(len(experiment.captions_of(adapter)) for adapter in experiment.algorithms)
    return concepts * ways * len(experiment.seeds)
