"""What a family of base models defines, and the opened parts it works on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lycoris.bases.flow_matching import FlowMatching
from lycoris.bases.flow_schedule import FlowSchedule
from lycoris.bases.guidance import Guidance
from lycoris.bases.latent_codec import LatentCodec
from lycoris.bases.noise import ForwardProcess
from lycoris.bases.shapes import ImageSizes, Latents, Timesteps
from lycoris.bases.text_encoding import TextEncoder, is_clip, max_prompt_length
from lycoris.bases.tokenization import split_into_windows
from lycoris.pretrained import silence_transformers

if TYPE_CHECKING:
    import torch

    from lycoris.bases.conditioning import TextConditioning
    from lycoris.bases.files.checkpoint_layouts import CheckpointLayout
    from lycoris.bases.files.model_files import ModelFiles
    from lycoris.bases.files.transformer_layouts import TransformerLayout


@dataclass(frozen=True, eq=False)
class Components:
    """The opened parts of a base model.

    Attributes:
        source: name of the base, for messages.
        pipeline_class: class of the diffusers pipeline that they are parts of.
        denoiser: name of the denoiser among the modules.
        modules: frozen modules, by their names in a diffusers pipeline.
        tokenizers: likewise.
        vae_scale_factor: pixels per latent cell along each side.
        model_index: the pipeline's ``model_index.json``; empty where there is none.
        scheduler_config: the noise schedule as the files state it.
        pipeline_options: further arguments of the pipeline's class.
        device: where the modules work.
        max_token_length: tokens of a prompt that CLIP text encoders read, in windows; None for one window.
    """

    source: str
    pipeline_class: str
    denoiser: str
    modules: Mapping[str, Any]
    tokenizers: Mapping[str, Any]
    vae_scale_factor: int
    model_index: Mapping[str, Any]
    scheduler_config: Mapping[str, Any]
    pipeline_options: Mapping[str, Any]
    device: torch.device
    max_token_length: int | None = None

    def text_encoder(self, suffix: str = "", max_length: int | None = None) -> TextEncoder:
        """Pair ``text_encoder<suffix>`` with its tokenizer.

        Args:
            suffix: ``""``, ``"_2"`` or ``"_3"``.
            max_length: tokens to read at once, start and end included; defaults to what tokenizer and encoder both
                allow.

        Raises:
            InputError: `max_token_length` is no multiple of what a CLIP text encoder reads at once.
        """
        module, tokenizer = self.modules[f"text_encoder{suffix}"], self.tokenizers[f"tokenizer{suffix}"]
        length = max_length or max_prompt_length(tokenizer, module)
        max_windows = split_into_windows(self.max_token_length, length) if is_clip(module) else 1
        return TextEncoder(module, tokenizer, length, max_windows)

    def build_pipeline(self, *, scheduler: Any, tokenizers: Mapping[str, Any] | None = None) -> Any:
        """Build a diffusers pipeline that shares the modules.

        Args:
            scheduler: a scheduler of diffusers, or None for a pipeline that only encodes prompts.
            tokenizers: instead of the opened ones.
        """
        import diffusers

        with silence_transformers():  # without torchvision the import reports image processors it does not need
            pipeline_class = getattr(diffusers, self.pipeline_class)
        parts = {**self.modules, **(tokenizers or self.tokenizers)}
        return pipeline_class(**{**self.pipeline_options, **parts}, scheduler=scheduler)


@dataclass(frozen=True)
class DenoiserInputs:
    """What a denoiser is called with, in the base's precision.

    Attributes:
        noisy: noisy latents.
        timesteps: one per latent.
        conditioning: one per latent.
        sizes: size conditioning, or None; see `lycoris.bases.Base.predict`.
        guidance: scale for denoisers with embedded guidance.
    """

    noisy: Latents
    timesteps: Timesteps
    conditioning: TextConditioning
    sizes: ImageSizes | None = None
    guidance: float = 1.0


@dataclass(frozen=True, eq=False)
class ModelCalls:
    """How one opened model is called.

    Attributes:
        encode_text: prompts → conditioning; see `lycoris.bases.Base.encode_text`.
        predict: inputs → prediction of what `Family.forward_process` has as its target; a denoiser of another sign or
            direction of time is brought to it here.
        guidance: how its images are moved towards their prompt.
        schedule: how its pipeline sets the times of a flow-matching scheduler.
        predict_unconditional: inputs → prediction of a second denoiser, in families that have one instead of a negative
            prompt.
        distilled: what training on it means if it was distilled to few steps or from guided predictions; None if not.
    """

    encode_text: Callable[[Sequence[str]], TextConditioning]
    predict: Callable[[DenoiserInputs], Latents]
    guidance: Guidance = field(default_factory=Guidance)
    schedule: FlowSchedule = field(default_factory=FlowSchedule)
    distilled: str | None = None
    predict_unconditional: Callable[[DenoiserInputs], Latents] | None = None

    def encode_negative(self, prompts: Sequence[str]) -> TextConditioning:
        """Negative prompts → conditioning, in the way of the family's pipeline."""
        return getattr(self.encode_text, "negative", self.encode_text)(prompts)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Public settings of a LoRA on a family, which are the defaults of an experiment on it.

    Attributes:
        learning_rate: of adapters, with AdamW.
        rank: of LoRA.
        alpha: of LoRA; None for the rank.
        steps: optimizer steps.
        accumulation: images of a step, in as many passes of one image.
        source: where each is from.
        timestep_density: as `lycoris.training.TrainingSettings` has it; None for logit-normal.
        timestep_density_options: likewise.
        timestep_shift: likewise; None for the scheduler's, fixed or by image size.
        loss_weighting: likewise; None for none.
    """

    learning_rate: float = 1e-4
    rank: int
    alpha: float | None = None
    steps: int
    accumulation: int = 1
    source: str
    timestep_density: str | None = None
    timestep_density_options: Mapping[str, float] = field(default_factory=dict)
    timestep_shift: float | None = None
    loss_weighting: str | None = None

    @property
    def times(self) -> dict[str, Any]:
        """The settings of training times that it has, by the names of `lycoris.training.TrainingSettings`."""
        named = {
            "timestep_density": self.timestep_density,
            "timestep_density_options": dict(self.timestep_density_options),
            "timestep_shift": self.timestep_shift,
            "loss_weighting": self.loss_weighting,
        }
        return {name: value for name, value in named.items() if value not in (None, {})}


def _no_options(_: Any) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """A family of base models: its files, and the parts it is composed of.

    `lycoris.bases.Base` does the rest: it opens the parts, runs the autoencoder and sets device and precision, so the
    functions of `ModelCalls` are called under autocast, with inputs already in the base's precision.

    Attributes:
        name: its key in `lycoris.bases.BASES`.
        models: the published models that it opens, for the documents.
        pipeline_class: class of the diffusers pipeline.
        matches: whether files are of this family, even if some are missing.
        part_classes: files → each part's class as ``library.Class``: denoiser, VAE, text encoders and tokenizers.
        open: the opened parts → how the model is called.
        denoiser: name of the denoiser part: ``"unet"`` or ``"transformer"``.
        text_encoders: names of the text encoders that can be adapted.
        forward_process: how latents are noised.
        upcasts_vae: whether the VAE overflows in float16 and stays in float32 where its configuration says so.
        default_scheduler: class of its scheduler where the configuration names none.
        layouts: the original layouts of its single files with all parts, by name; empty if there are none.
        transformer_file: how its transformer is named in single files; None if only with diffusers' names.
        pipeline_options: model index → further arguments of `pipeline_class`.
        digest_options: files → options of the model index that change its output, for the digest; ``""`` for none.
        resolution: side in pixels of the square images it was trained on, where the denoiser's configuration has none.
        codec: the autoencoder → what encodes images and decodes latents with it.
        noise_by_token: whether the pipeline's initial noise has an image's tokens first and then the channels.
        patch_size: latent cells along each side of what the denoiser takes as one token.
        recipe: public settings of a training; None where there are none.
    """

    name: str
    models: str
    pipeline_class: str
    matches: Callable[[ModelFiles], bool]
    part_classes: Callable[[ModelFiles], Mapping[str, str]]
    open: Callable[[Components], ModelCalls]
    denoiser: str = "transformer"
    text_encoders: tuple[str, ...] = ()
    forward_process: type[ForwardProcess] = FlowMatching
    upcasts_vae: bool = False
    default_scheduler: str = "FlowMatchEulerDiscreteScheduler"
    layouts: Mapping[str, CheckpointLayout] = field(default_factory=dict)
    transformer_file: TransformerLayout | None = None
    pipeline_options: Callable[[Mapping[str, Any]], Mapping[str, Any]] = _no_options
    digest_options: Callable[[ModelFiles], str] = lambda _: ""
    resolution: int = 1024
    codec: Callable[[Any], LatentCodec] = LatentCodec
    noise_by_token: bool = False
    patch_size: int = 1
    recipe: Recipe | None = None


def has_pipeline(*names: str) -> Callable[[ModelFiles], bool]:
    """A `Family.matches` for files whose model index names one of these pipelines."""
    return lambda files: files.model_index().get("_class_name") in names


def parts_of(**classes: str) -> Callable[[ModelFiles], Mapping[str, str]]:
    """A `Family.part_classes` that does not depend on the files."""
    return lambda _: classes
