"""Lumina 2: a transformer that reads text and image as one sequence, trained by flow matching from noise to image."""

from __future__ import annotations

from typing import Any

from lycoris.bases.conditioning import TextConditioning, require
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe, has_pipeline, parts_of
from lycoris.bases.files.transformer_layouts import TransformerLayout, convert_lumina_2
from lycoris.bases.flow_schedule import FlowSchedule, linear_log_shift
from lycoris.bases.guidance import Guidance
from lycoris.bases.pipeline_text import PipelineText
from lycoris.bases.shapes import Latents


def _keep_norm(guided: Latents, conditional: Latents) -> Latents:
    """Bring each row of a guided prediction to the norm of the prompt's."""
    return guided * (conditional.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True))


def _collect(output: Any, first: int = 0) -> TextConditioning:
    return TextConditioning(output[first], mask=output[first + 1].bool())


def _open(components: Components) -> ModelCalls:
    transformer = components.modules["transformer"]

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the transformer, whose time is the share of the image and whose prediction points to it."""
        return -transformer(
            hidden_states=inputs.noisy,
            timestep=1 - inputs.timesteps / 1000,
            encoder_hidden_states=inputs.conditioning.hidden_states,
            encoder_attention_mask=require(inputs.conditioning, "mask").long(),
            return_dict=False,
        )[0]

    # The pipeline takes the latents' channels for the number of image tokens.
    channels = transformer.config.in_channels
    return ModelCalls(
        PipelineText(components, _collect, lambda output: _collect(output, 2)),
        predict,
        Guidance(4.0, has_own_encoding=True, rescale=_keep_norm),
        FlowSchedule(even_fractions=True, log_shift=lambda config, tokens, steps: linear_log_shift(config, channels)),
    )


LUMINA_2 = Family(
    name="lumina-2",
    models="Lumina-Image 2.0",
    pipeline_class="Lumina2Pipeline",
    matches=has_pipeline("Lumina2Pipeline", "Lumina2Text2ImgPipeline"),
    part_classes=parts_of(
        transformer="diffusers.Lumina2Transformer2DModel",
        vae="diffusers.AutoencoderKL",
        text_encoder="transformers.Gemma2Model",
        tokenizer="transformers.AutoTokenizer",
    ),
    open=_open,
    transformer_file=TransformerLayout(
        ("layers.0.adaLN_modulation.1.weight", "cap_embedder.0.weight"),
        convert_lumina_2,
        "Alpha-VLLM/Lumina-Image-2.0",
    ),
    patch_size=2,
    recipe=Recipe(
        rank=16,
        steps=2000,
        source="ai-toolkit, config/examples/train_lora_lumina.yaml",
    ),
)
"""Qin et al., "Lumina-Image 2.0: A Unified and Efficient Image Generative Framework".

Prompts follow a system prompt; the negative and the empty one have none.
"""
