"""AuraFlow: a transformer trained by flow matching, with one UMT5 text encoder that is not adapted."""

from __future__ import annotations

from collections.abc import Sequence

from lycoris.bases.conditioning import TextConditioning
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, has_pipeline, parts_of
from lycoris.bases.guidance import Guidance
from lycoris.bases.shapes import Latents

MAX_LENGTH = 256


def _open(components: Components) -> ModelCalls:
    transformer, text = components.modules["transformer"], components.text_encoder(max_length=MAX_LENGTH)

    def encode_text(prompts: Sequence[str]) -> TextConditioning:
        """The last hidden states of the text encoder, zeros after the prompt's end."""
        return TextConditioning(text.masked_hidden_states(prompts).float())

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the transformer on times in [0, 1], as precise as the latents."""
        times = (inputs.timesteps / 1000).to(inputs.noisy.dtype)
        return transformer(inputs.noisy, inputs.conditioning.hidden_states, times, return_dict=False)[0]

    return ModelCalls(encode_text, predict, Guidance(is_batched=True))


AURAFLOW = Family(
    name="auraflow",
    models="AuraFlow 0.1 to 0.3, folders only",
    pipeline_class="AuraFlowPipeline",
    matches=has_pipeline("AuraFlowPipeline"),
    part_classes=parts_of(
        transformer="diffusers.AuraFlowTransformer2DModel",
        vae="diffusers.AutoencoderKL",
        text_encoder="transformers.UMT5EncoderModel",
        tokenizer="transformers.AutoTokenizer",
    ),
    open=_open,
    upcasts_vae=True,
    patch_size=2,
)
"""fal, "Introducing AuraFlow v0.1".

Its text encoder is Pile-T5-XL. diffusers loads adapters of the transformer only.
"""
