"""FLUX.1: a transformer trained by flow matching, with a pooled CLIP state and T5's states."""

from __future__ import annotations

import torch

from lycoris.bases.conditioning import TextConditioning, require_pooled
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe, has_pipeline, parts_of
from lycoris.bases.files.transformer_layouts import TransformerLayout, convert_flux_1
from lycoris.bases.flow_schedule import FlowSchedule
from lycoris.bases.guidance import Guidance
from lycoris.bases.packing import grid_positions, pack, unpack
from lycoris.bases.pipeline_text import PipelineText
from lycoris.bases.shapes import Latents

_EMBEDDED = "was distilled from guided predictions; adapters are trained at an embedded guidance of 1"
_FEW_STEPS = (
    "was distilled to four steps, as FLUX.1 schnell: an adapter trained on it unlearns the few steps. Train on another "
    "FLUX.1, or with a de-distillation adapter: `assistant` of `training`, ostris/FLUX.1-schnell-training-adapter"
)


def _open(components: Components) -> ModelCalls:
    transformer = components.modules["transformer"]
    embeds_guidance = transformer.config.guidance_embeds

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the transformer on packed latents."""
        rows, columns = inputs.noisy.shape[-2:]
        states, device = inputs.conditioning.hidden_states, inputs.noisy.device
        guidance = torch.full([len(states)], inputs.guidance, device=device) if embeds_guidance else None
        prediction = transformer(
            hidden_states=pack(inputs.noisy),
            encoder_hidden_states=states,
            pooled_projections=require_pooled(inputs.conditioning),
            timestep=inputs.timesteps / 1000,
            img_ids=grid_positions(rows // 2, columns // 2, device=device),
            txt_ids=torch.zeros(states.shape[1], 3, device=device),
            guidance=guidance,
            return_dict=False,
        )[0]
        return unpack(prediction, rows, columns)

    few_steps = not embeds_guidance and not components.scheduler_config.get("use_dynamic_shifting")
    return ModelCalls(
        PipelineText(components, lambda output: TextConditioning(output[0], output[1])),
        predict,
        Guidance(3.5, "embedded") if embeds_guidance else Guidance(1.0),
        FlowSchedule(even_fractions=True),
        _EMBEDDED if embeds_guidance else _FEW_STEPS if few_steps else None,
    )


FLUX_1 = Family(
    name="flux-1",
    models="FLUX.1 dev, schnell and Krea dev",
    pipeline_class="FluxPipeline",
    matches=has_pipeline("FluxPipeline"),
    part_classes=parts_of(
        transformer="diffusers.FluxTransformer2DModel",
        vae="diffusers.AutoencoderKL",
        text_encoder="transformers.CLIPTextModel",
        text_encoder_2="transformers.T5EncoderModel",
        tokenizer="transformers.CLIPTokenizer",
        tokenizer_2="transformers.AutoTokenizer",
    ),
    open=_open,
    transformer_file=TransformerLayout(
        ("double_blocks.0.img_attn.norm.key_norm.scale", "vector_in.in_layer.weight"),
        convert_flux_1,
        "black-forest-labs/FLUX.1-dev",
        {"clip_l": "text_encoder", "t5xxl": "text_encoder_2"},
    ),
    patch_size=2,
    recipe=Recipe(
        rank=16,
        steps=2000,
        source="ai-toolkit, config/examples/train_lora_flux_24gb.yaml; times: musubi-tuner, flux_kontext.md",
    ),
)
"""Black Forest Labs, "FLUX.1"."""
