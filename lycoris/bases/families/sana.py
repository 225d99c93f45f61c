"""Sana: a linear transformer trained by flow matching on a deep autoencoder's latents, with Gemma 2."""

from __future__ import annotations

import inspect
from typing import Any

from lycoris.bases.conditioning import TextConditioning, require
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe, has_pipeline, parts_of
from lycoris.bases.files.transformer_layouts import TransformerLayout, converter
from lycoris.bases.guidance import Guidance
from lycoris.bases.pipeline_text import PipelineText
from lycoris.bases.shapes import Latents


def _collect(output: Any, first: int = 0) -> TextConditioning:
    return TextConditioning(output[first], mask=output[first + 1].bool())


def _instruction() -> list[str]:
    """The text before each prompt, as the pipeline has it by default."""
    from diffusers import SanaPipeline

    return inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default


def _open(components: Components) -> ModelCalls:
    transformer = components.modules["transformer"]

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the transformer; of twice the channels the first half is the prediction."""
        prediction = transformer(
            inputs.noisy,
            encoder_hidden_states=inputs.conditioning.hidden_states,
            encoder_attention_mask=require(inputs.conditioning, "mask").long(),
            timestep=inputs.timesteps * transformer.config.timestep_scale,
            return_dict=False,
        )[0]
        return prediction[:, : inputs.noisy.shape[1]]

    return ModelCalls(
        PipelineText(
            components, _collect, lambda output: _collect(output, 2), complex_human_instruction=_instruction()
        ),
        predict,
        Guidance(4.5, is_batched=True, has_own_encoding=True),
    )


SANA = Family(
    name="sana",
    models="Sana, Sana 1.5",
    pipeline_class="SanaPipeline",
    matches=has_pipeline("SanaPipeline"),
    part_classes=parts_of(
        transformer="diffusers.SanaTransformer2DModel",
        vae="diffusers.AutoencoderDC",
        text_encoder="transformers.Gemma2Model",
        tokenizer="transformers.AutoTokenizer",
    ),
    open=_open,
    transformer_file=TransformerLayout(
        ("blocks.0.cross_attn.q_linear.weight", "t_block.1.weight"),
        converter("convert_sana_transformer_to_diffusers"),
        "Efficient-Large-Model/Sana_1600M_1024px_diffusers",
    ),
    recipe=Recipe(
        rank=4,
        steps=500,
        accumulation=4,
        source="diffusers, examples/dreambooth/README_sana.md and train_dreambooth_lora_sana.py",
        timestep_density="uniform",
    ),
)
"""Xie et al., "SANA: Efficient High-Resolution Image Synthesis with Linear Diffusion Transformers".

Prompts follow the pipeline's instruction; the negative and the empty one have none.
"""
