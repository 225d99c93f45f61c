"""AuraFlow: a transformer trained by flow matching, with one text encoder, UMT5 or CLIP, that is not adapted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lycoris.bases.conditioning import TextConditioning
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe, has_pipeline
from lycoris.bases.files.transformer_layouts import TransformerLayout, converter
from lycoris.bases.guidance import Guidance
from lycoris.bases.shapes import Latents
from lycoris.bases.text_encoding import is_clip

if TYPE_CHECKING:
    from lycoris.bases.files.model_files import ModelFiles

MAX_LENGTH = 256
_UMT5 = {"text_encoder": "transformers.UMT5EncoderModel", "tokenizer": "transformers.AutoTokenizer"}
_CLIP = {"text_encoder": "transformers.CLIPTextModel", "tokenizer": "transformers.CLIPTokenizer"}


def _part_classes(files: ModelFiles) -> Mapping[str, str]:
    """Each part's class; the text encoder is the CLIP model that the model index names, else UMT5."""
    named = files.model_index().get("text_encoder") or [None, None]
    classes = {"transformer": "diffusers.AuraFlowTransformer2DModel", "vae": "diffusers.AutoencoderKL"}
    return classes | (_CLIP if named[1] == "CLIPTextModel" else _UMT5)


def _open(components: Components) -> ModelCalls:
    transformer = components.modules["transformer"]
    # A CLIP reads no more tokens than it has positions.
    text = components.text_encoder(max_length=None if is_clip(components.modules["text_encoder"]) else MAX_LENGTH)

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
    models="AuraFlow 0.1 to 0.3",
    pipeline_class="AuraFlowPipeline",
    matches=has_pipeline("AuraFlowPipeline"),
    part_classes=_part_classes,
    open=_open,
    transformer_file=TransformerLayout(
        ("double_layers.0.attn.w2q.weight", "cond_seq_linear.weight"),
        converter("convert_auraflow_transformer_checkpoint_to_diffusers"),
        "fal/AuraFlow-v0.3",
    ),
    upcasts_vae=True,
    patch_size=2,
    recipe=Recipe(
        rank=8,
        steps=2000,
        source="SimpleTuner, simpletuner/examples/auraflow.peft-lora/config.json; steps: as for Chroma",
        timestep_shift=1.73,
    ),
)
"""fal, "Introducing AuraFlow v0.1".

Its text encoder is Pile-T5-XL; small models of the same pipeline have a CLIP text model, for which the pipeline's call
needs `max_sequence_length`, the tokens that it reads. diffusers loads adapters of the transformer only.
"""
