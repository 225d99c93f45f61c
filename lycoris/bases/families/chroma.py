"""Chroma: FLUX.1's transformer with a small network for its modulations, and T5 alone, whose padding is masked."""

from __future__ import annotations

import torch

from lycoris.bases.conditioning import TextConditioning, require
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe, has_pipeline, parts_of
from lycoris.bases.files.transformer_layouts import TransformerLayout, convert_chroma
from lycoris.bases.flow_schedule import FlowSchedule
from lycoris.bases.guidance import Guidance
from lycoris.bases.packing import grid_positions, pack, unpack
from lycoris.bases.pipeline_text import PipelineText
from lycoris.bases.shapes import Latents


def _open(components: Components) -> ModelCalls:
    transformer = components.modules["transformer"]

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the transformer; it attends to the prompt, one padding token and the image."""
        rows, columns = inputs.noisy.shape[-2:]
        states, device, packed = inputs.conditioning.hidden_states, inputs.noisy.device, pack(inputs.noisy)
        mask = require(inputs.conditioning, "mask").to(states)
        prediction = transformer(
            hidden_states=packed,
            encoder_hidden_states=states,
            timestep=inputs.timesteps / 1000,
            img_ids=grid_positions(rows // 2, columns // 2, device=device),
            txt_ids=torch.zeros(states.shape[1], 3, device=device),
            attention_mask=torch.cat([mask, mask.new_ones(packed.shape[:2])], dim=1),
            return_dict=False,
        )[0]
        return unpack(prediction, rows, columns)

    return ModelCalls(
        PipelineText(
            components,
            lambda output: TextConditioning(output[0], mask=output[2].bool()),
            do_classifier_free_guidance=False,
        ),
        predict,
        Guidance(5.0),
        FlowSchedule(even_fractions=True),
    )


CHROMA = Family(
    name="chroma",
    models="Chroma1 Base and HD",
    pipeline_class="ChromaPipeline",
    matches=has_pipeline("ChromaPipeline"),
    part_classes=parts_of(
        transformer="diffusers.ChromaTransformer2DModel",
        vae="diffusers.AutoencoderKL",
        text_encoder="transformers.T5EncoderModel",
        tokenizer="transformers.AutoTokenizer",
    ),
    open=_open,
    transformer_file=TransformerLayout(
        ("distilled_guidance_layer.in_proj.weight",),
        convert_chroma,
        "lodestones/Chroma1-HD",
        {"t5xxl": "text_encoder"},
    ),
    patch_size=2,
    recipe=Recipe(
        rank=16,
        steps=2000,
        source="ai-toolkit, config/examples/train_lora_chroma_24gb.yaml",
    ),
)
"""Lodestone Rock, "Chroma"."""
