"""ERNIE-Image: a transformer trained by flow matching on FLUX.2's patches of latents, and states of unequal length."""

from __future__ import annotations

from lycoris.bases.conditioning import TextConditioning, require
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe, has_pipeline, parts_of
from lycoris.bases.files.transformer_layouts import TransformerLayout, same_names
from lycoris.bases.flow_schedule import FlowSchedule
from lycoris.bases.guidance import Guidance
from lycoris.bases.pipeline_text import PipelineText
from lycoris.bases.shapes import Latents


def _open(components: Components) -> ModelCalls:
    transformer = components.modules["transformer"]

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the transformer, which takes each prompt's number of tokens as its mask."""
        conditioning = inputs.conditioning.trim()
        return transformer(
            hidden_states=inputs.noisy,
            timestep=inputs.timesteps,
            text_bth=conditioning.hidden_states,
            text_lens=require(conditioning, "mask").sum(dim=1),
            return_dict=False,
        )[0]

    return ModelCalls(
        PipelineText(components, TextConditioning.from_lists),
        predict,
        Guidance(4.0, is_batched=True),
        FlowSchedule(even_fractions=True),
    )


ERNIE_IMAGE = Family(
    name="ernie-image",
    models="ERNIE-Image, without its prompt enhancer",
    pipeline_class="ErnieImagePipeline",
    matches=has_pipeline("ErnieImagePipeline"),
    part_classes=parts_of(
        transformer="diffusers.ErnieImageTransformer2DModel",
        vae="diffusers.AutoencoderKLFlux2",
        text_encoder="transformers.Mistral3Model",
        tokenizer="transformers.AutoTokenizer",
    ),
    open=_open,
    transformer_file=TransformerLayout(
        ("layers.0.adaLN_sa_ln.weight", "text_proj.weight"),
        same_names,
        "baidu/ERNIE-Image",
    ),
    recipe=Recipe(
        rank=32,
        steps=3000,
        source="ai-toolkit, ui/src/app/jobs/new/jobConfig.ts",
    ),
)
"""Baidu, "ERNIE-Image"."""
