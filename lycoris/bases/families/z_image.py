"""Z-Image: a transformer that reads text and image as one sequence, trained by flow matching from noise to image."""

from __future__ import annotations

import torch

from lycoris.bases.conditioning import TextConditioning
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe, has_pipeline, parts_of
from lycoris.bases.files.transformer_layouts import TransformerLayout, converter
from lycoris.bases.flow_schedule import FlowSchedule
from lycoris.bases.guidance import Guidance
from lycoris.bases.pipeline_text import PipelineText
from lycoris.bases.shapes import Latents

_TURBO = (
    "was distilled to eight steps without guidance: an adapter trained on it unlearns the few steps. Train on Z-Image "
    "itself, or with a de-distillation adapter: `assistant` of `training`, a file of "
    "ostris/zimage_turbo_training_adapter"
)


def _open(components: Components) -> ModelCalls:
    transformer = components.modules["transformer"]

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the transformer, whose time is the share of the image and whose prediction points to it."""
        predictions = transformer(
            list(inputs.noisy[:, :, None]),
            (1000 - inputs.timesteps) / 1000,
            inputs.conditioning.lists(),
            return_dict=False,
        )[0]
        return -torch.stack(list(predictions)).squeeze(2)

    is_turbo = "turbo" in components.source.lower()
    return ModelCalls(
        PipelineText(
            components, lambda output: TextConditioning.from_lists(output[0]), do_classifier_free_guidance=False
        ),
        predict,
        Guidance(1.0 if is_turbo else 6.0),
        FlowSchedule(even_fractions=True),
        _TURBO if is_turbo else None,
    )


Z_IMAGE = Family(
    name="z-image",
    models="Z-Image, Z-Image Turbo",
    pipeline_class="ZImagePipeline",
    matches=has_pipeline("ZImagePipeline"),
    part_classes=parts_of(
        transformer="diffusers.ZImageTransformer2DModel",
        vae="diffusers.AutoencoderKL",
        text_encoder="transformers.Qwen3Model",
        tokenizer="transformers.AutoTokenizer",
    ),
    open=_open,
    transformer_file=TransformerLayout(
        ("layers.0.adaLN_modulation.0.weight", "cap_embedder.0.weight"),
        converter("convert_z_image_transformer_checkpoint_to_diffusers"),
        "Tongyi-MAI/Z-Image",
    ),
    patch_size=2,
    recipe=Recipe(
        rank=32,
        steps=3000,
        source="ai-toolkit, ui/src/app/jobs/new/jobConfig.ts; shift: musubi-tuner, zimage.md",
        timestep_shift=2.0,
    ),
)
"""Tongyi, "Z-Image: An Efficient Image Generation Foundation Model with Single-Stream Diffusion Transformer".

Its pipeline counts guidance from 0, ours from 1: its 5 is 6 here. A model is taken for Turbo, which its files do not
state, by "turbo" in its name.
"""
