"""HiDream-I1: a transformer with experts, trained by flow matching, with two CLIPs, T5 and every layer of Llama."""

from __future__ import annotations

from typing import Any

from lycoris.bases.conditioning import TextConditioning, require, require_pooled
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe, has_pipeline, parts_of
from lycoris.bases.files.transformer_layouts import TransformerLayout, same_names
from lycoris.bases.flow_schedule import FlowSchedule, linear_log_shift
from lycoris.bases.guidance import Guidance
from lycoris.bases.pipeline_text import PipelineText
from lycoris.bases.shapes import Latents

_LAYERS = "llama_layers"


def _collect(output: Any) -> TextConditioning:
    t5, _, llama, _, pooled, _ = output
    return TextConditioning(t5, pooled, **{_LAYERS: llama.permute(1, 2, 0, 3)})


def _open(components: Components) -> ModelCalls:
    transformer = components.modules["transformer"]
    for module in transformer.modules():
        if type(module).__name__ == "MOEFeedForwardSwiGLU":
            module.training = True  # its other way through the experts has no gradient, and the same values

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the transformer, whose prediction points to the image."""
        conditioning = inputs.conditioning
        return -transformer(
            hidden_states=inputs.noisy,
            timesteps=inputs.timesteps,
            encoder_hidden_states_t5=conditioning.hidden_states,
            encoder_hidden_states_llama3=require(conditioning, _LAYERS).permute(2, 0, 1, 3),
            pooled_embeds=require_pooled(conditioning),
            return_dict=False,
        )[0]

    return ModelCalls(
        PipelineText(components, _collect, do_classifier_free_guidance=False),
        predict,
        Guidance(5.0, is_batched=True),
        FlowSchedule(log_shift=lambda config, tokens, steps: linear_log_shift({}, transformer.max_seq)),
    )


HIDREAM = Family(
    name="hidream",
    models="HiDream-I1 Full",
    pipeline_class="HiDreamImagePipeline",
    matches=has_pipeline("HiDreamImagePipeline"),
    part_classes=parts_of(
        transformer="diffusers.HiDreamImageTransformer2DModel",
        vae="diffusers.AutoencoderKL",
        text_encoder="transformers.CLIPTextModelWithProjection",
        text_encoder_2="transformers.CLIPTextModelWithProjection",
        text_encoder_3="transformers.T5EncoderModel",
        text_encoder_4="transformers.LlamaForCausalLM",
        tokenizer="transformers.CLIPTokenizer",
        tokenizer_2="transformers.CLIPTokenizer",
        tokenizer_3="transformers.AutoTokenizer",
        tokenizer_4="transformers.AutoTokenizer",
    ),
    open=_open,
    transformer_file=TransformerLayout(
        ("double_stream_blocks.0.block.adaLN_modulation.1.bias",),
        same_names,
        "HiDream-ai/HiDream-I1-Full",
    ),
    patch_size=2,
    recipe=Recipe(
        learning_rate=2e-4,
        rank=32,
        steps=3000,
        source="ai-toolkit, config/examples/train_lora_hidream_48.yaml",
        timestep_shift=3.0,
    ),
)
"""HiDream.ai, "HiDream-I1: A High-Efficient Image Generative Foundation Model with Sparse Diffusion Transformer"."""
