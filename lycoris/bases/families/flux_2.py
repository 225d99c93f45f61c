"""FLUX.2: a transformer trained by flow matching on patches of latents, and states of a language model's layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.conditioning import TextConditioning
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe, has_pipeline, parts_of
from lycoris.bases.files.transformer_layouts import TransformerLayout, converter
from lycoris.bases.flow_schedule import FlowSchedule
from lycoris.bases.guidance import Guidance
from lycoris.bases.packing import grid_positions, pack, unpack
from lycoris.bases.pipeline_text import PipelineText
from lycoris.bases.shapes import Latents

if TYPE_CHECKING:
    from torch import Tensor

    from lycoris.bases.files.model_files import ModelFiles

_DISTILLED = (
    "was distilled to four steps: an adapter trained on it learns the concept and unlearns the few steps. Train on the "
    "base model of the same size, such as FLUX.2-klein-base-4B, and load the adapter on this one"
)
_EMBEDDED = "was distilled from guided predictions; adapters are trained at an embedded guidance of 1"


def empirical_log_shift(config: Mapping[str, Any], tokens: int, steps: int) -> float:
    """The shift's logarithm as FLUX.2's pipelines compute it from image tokens and steps."""
    from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

    return compute_empirical_mu(image_seq_len=tokens, num_steps=steps)


def _predict(transformer: Any, inputs: DenoiserInputs) -> Latents:
    rows, columns = inputs.noisy.shape[-2:]
    states, count = inputs.conditioning.hidden_states, len(inputs.noisy)
    device = inputs.noisy.device
    image_ids = grid_positions(rows, columns, axes=4, device=device).long().expand(count, -1, -1)
    text_ids = torch.zeros(states.shape[1], 4, dtype=torch.long, device=device)
    text_ids[:, 3] = torch.arange(states.shape[1], device=device)
    guidance: Tensor | None = None
    if transformer.config.guidance_embeds:
        guidance = torch.full([count], inputs.guidance, device=device)
    prediction = transformer(
        hidden_states=pack(inputs.noisy, 1),
        encoder_hidden_states=states,
        timestep=inputs.timesteps / 1000,
        img_ids=image_ids,
        txt_ids=text_ids.expand(count, -1, -1),
        guidance=guidance,
        return_dict=False,
    )[0]
    return unpack(prediction, rows, columns, 1)


def _open(components: Components, guidance: Guidance, distilled: str | None) -> ModelCalls:
    transformer = components.modules["transformer"]
    return ModelCalls(
        PipelineText(components, lambda output: TextConditioning(output[0])),
        lambda inputs: _predict(transformer, inputs),
        guidance,
        FlowSchedule(even_fractions=True, log_shift=empirical_log_shift),
        distilled,
    )


def _open_dev(components: Components) -> ModelCalls:
    return _open(components, Guidance(4.0, "embedded"), _EMBEDDED)


def _open_klein(components: Components) -> ModelCalls:
    if components.model_index.get("is_distilled"):
        return _open(components, Guidance(1.0, "none"), _DISTILLED)
    return _open(components, Guidance(4.0), None)


def _klein_digest(files: ModelFiles) -> str:
    return f"distilled: {bool(files.model_index().get('is_distilled'))}"


_CONVERT = converter("convert_flux2_transformer_checkpoint_to_diffusers")
_MARK = "single_stream_modulation.lin.weight"
_RECIPE = Recipe(
    rank=32,
    steps=3000,
    source="ai-toolkit, ui/src/app/jobs/new/jobConfig.ts; shift by size: musubi-tuner, flux_2.md",
)

FLUX_2_KLEIN = Family(
    name="flux-2-klein",
    models="FLUX.2 klein 4B and 9B, and their base models",
    pipeline_class="Flux2KleinPipeline",
    matches=has_pipeline("Flux2KleinPipeline"),
    part_classes=parts_of(
        transformer="diffusers.Flux2Transformer2DModel",
        vae="diffusers.AutoencoderKLFlux2",
        text_encoder="transformers.Qwen3ForCausalLM",
        tokenizer="transformers.AutoTokenizer",
    ),
    open=_open_klein,
    transformer_file=TransformerLayout((_MARK,), _CONVERT, "black-forest-labs/FLUX.2-klein-base-4B"),
    pipeline_options=lambda index: {"is_distilled": bool(index.get("is_distilled"))},
    digest_options=_klein_digest,
    recipe=_RECIPE,
)
"""Black Forest Labs, "FLUX.2 [klein]". The text encoder is Qwen 3, of which layers 9, 18 and 27 are read."""

FLUX_2_DEV = Family(
    name="flux-2-dev",
    models="FLUX.2 dev",
    pipeline_class="Flux2Pipeline",
    matches=has_pipeline("Flux2Pipeline"),
    part_classes=parts_of(
        transformer="diffusers.Flux2Transformer2DModel",
        vae="diffusers.AutoencoderKLFlux2",
        text_encoder="transformers.Mistral3ForConditionalGeneration",
        tokenizer="transformers.AutoTokenizer",
    ),
    open=_open_dev,
    transformer_file=TransformerLayout(
        (_MARK, "guidance_in.in_layer.weight"), _CONVERT, "black-forest-labs/FLUX.2-dev"
    ),
    recipe=_RECIPE,
)
"""Black Forest Labs, "FLUX.2 [dev]". The text encoder is Mistral Small 3, of which layers 10, 20 and 30 are read.

Of its processor only the tokenizer is opened: prompts hold no images.
"""
