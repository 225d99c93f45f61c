"""Wan: a video transformer trained by flow matching, trained here on images as videos of one frame."""

from __future__ import annotations

from lycoris.bases.conditioning import TextConditioning
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe, has_pipeline, parts_of
from lycoris.bases.files.transformer_layouts import TransformerLayout, converter
from lycoris.bases.guidance import Guidance
from lycoris.bases.pipeline_text import PipelineText
from lycoris.bases.shapes import Latents
from lycoris.errors import InputError


def _open(components: Components) -> ModelCalls:
    """See `lycoris.bases.families.family.Family.open`.

    Raises:
        InputError: the model has two transformers, for early and late times.
    """
    transformer, index = components.modules["transformer"], components.model_index
    if index.get("boundary_ratio") is not None:
        raise InputError(
            f"Base `{components.source}` must have one transformer, but has two, which change at the share "
            f"{index['boundary_ratio']} of noise; use Wan 2.1 or the 5B model of Wan 2.2."
        )

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the transformer on one frame; some have a time for each token."""
        times, rows, columns = inputs.timesteps, *inputs.noisy.shape[-2:]
        if index.get("expand_timesteps"):
            times = times[:, None].expand(-1, (rows // 2) * (columns // 2))
        return transformer(
            hidden_states=inputs.noisy[:, :, None],
            timestep=times,
            encoder_hidden_states=inputs.conditioning.hidden_states,
            return_dict=False,
        )[0][:, :, 0]

    return ModelCalls(
        PipelineText(
            components,
            lambda output: TextConditioning(output[0]),
            max_sequence_length=512,
            do_classifier_free_guidance=False,
        ),
        predict,
        Guidance(5.0),
    )


WAN = Family(
    name="wan",
    models="Wan 2.1 and Wan 2.2 5B, images only",
    pipeline_class="WanPipeline",
    matches=has_pipeline("WanPipeline"),
    part_classes=parts_of(
        transformer="diffusers.WanTransformer3DModel",
        vae="diffusers.AutoencoderKLWan",
        text_encoder="transformers.UMT5EncoderModel",
        tokenizer="transformers.AutoTokenizer",
    ),
    open=_open,
    transformer_file=TransformerLayout(
        ("head.modulation", "blocks.0.self_attn.q.weight"),
        converter("convert_wan_transformer_to_diffusers"),
        "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    ),
    pipeline_options=lambda index: {"expand_timesteps": bool(index.get("expand_timesteps"))},
    digest_options=lambda files: f"a time per token: {bool(files.model_index().get('expand_timesteps'))}",
    resolution=640,
    patch_size=2,
    recipe=Recipe(
        rank=32,
        steps=2000,
        source="ai-toolkit, config/examples/train_lora_wan21_1b_24gb.yaml; shift: musubi-tuner, wan.md",
        timestep_shift=3.0,
    ),
)
"""Wan Team, "Wan: Open and Advanced Large-Scale Video Generative Models". The resolution has the area of 832x480."""
