"""Qwen-Image: a transformer trained by flow matching, a video autoencoder and Qwen 2.5-VL with a template."""

from __future__ import annotations

from typing import Any

import torch

from lycoris.bases.conditioning import TextConditioning, require
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe, has_pipeline, parts_of
from lycoris.bases.files.transformer_layouts import TransformerLayout, same_names
from lycoris.bases.flow_schedule import FlowSchedule
from lycoris.bases.guidance import Guidance
from lycoris.bases.packing import pack, unpack
from lycoris.bases.pipeline_text import PipelineText
from lycoris.bases.shapes import Latents


def _collect(output: Any) -> TextConditioning:
    states, mask = output
    mask = torch.ones(states.shape[:2], device=states.device) if mask is None else mask
    return TextConditioning(states, mask=mask.bool())


def _keep_norm(guided: Latents, conditional: Latents) -> Latents:
    """Bring each token of a guided prediction to the norm of the prompt's."""
    rows, columns = guided.shape[-2:]
    tokens = pack(guided)
    norms = pack(conditional).norm(dim=-1, keepdim=True) / tokens.norm(dim=-1, keepdim=True)
    return unpack(tokens * norms, rows, columns)


def _open(components: Components) -> ModelCalls:
    transformer = components.modules["transformer"]

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the transformer; a batch of prompts of one length has no mask."""
        conditioning = inputs.conditioning.trim()
        rows, columns = inputs.noisy.shape[-2:]
        mask = require(conditioning, "mask")
        prediction = transformer(
            hidden_states=pack(inputs.noisy),
            encoder_hidden_states=conditioning.hidden_states,
            encoder_hidden_states_mask=None if bool(mask.all()) else mask.long(),
            timestep=inputs.timesteps / 1000,
            img_shapes=[[(1, rows // 2, columns // 2)]] * len(inputs.noisy),
            return_dict=False,
        )[0]
        return unpack(prediction, rows, columns)

    return ModelCalls(
        PipelineText(components, _collect, max_sequence_length=512),
        predict,
        Guidance(4.0, rescale=_keep_norm),
        FlowSchedule(even_fractions=True),
    )


QWEN_IMAGE = Family(
    name="qwen-image",
    models="Qwen-Image, Qwen-Image 2512",
    pipeline_class="QwenImagePipeline",
    matches=has_pipeline("QwenImagePipeline"),
    part_classes=parts_of(
        transformer="diffusers.QwenImageTransformer2DModel",
        vae="diffusers.AutoencoderKLQwenImage",
        text_encoder="transformers.Qwen2_5_VLForConditionalGeneration",
        tokenizer="transformers.AutoTokenizer",
    ),
    open=_open,
    transformer_file=TransformerLayout(
        ("transformer_blocks.0.img_mod.1.weight", "txt_norm.weight"),
        same_names,
        "Qwen/Qwen-Image",
    ),
    resolution=1328,
    patch_size=2,
    recipe=Recipe(
        rank=16,
        steps=2000,
        source="ai-toolkit, config/examples/train_lora_qwen_image_24gb.yaml; shift: musubi-tuner, qwen_image.md",
        timestep_shift=2.2,
    ),
)
"""Wu et al., "Qwen-Image Technical Report"."""
