"""Krea 2: a transformer trained by flow matching, and the states of many layers of Qwen 3-VL with a template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from lycoris.bases.conditioning import TextConditioning, require
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe, has_pipeline, parts_of
from lycoris.bases.files.transformer_layouts import TransformerLayout, converter
from lycoris.bases.flow_schedule import FlowSchedule, linear_log_shift
from lycoris.bases.guidance import Guidance
from lycoris.bases.packing import grid_positions, pack, unpack
from lycoris.bases.pipeline_text import PipelineText
from lycoris.bases.shapes import Latents

if TYPE_CHECKING:
    from lycoris.bases.files.model_files import ModelFiles

_OPTIONS = ("text_encoder_select_layers", "is_distilled", "patch_size")
_DISTILLED = (
    "was distilled to few steps: an adapter trained on it unlearns them. Train on Krea 2 Raw and load the adapter on "
    "this one, or with a de-distillation adapter: `assistant` of `training`, ostris/krea2_turbo_training_adapter"
)
_DISTILLED_LOG_SHIFT = 1.15


def _options(index: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: index[name] for name in _OPTIONS if index.get(name) is not None}


def _digest_options(files: ModelFiles) -> str:
    return " ".join(f"{name}: {value}" for name, value in _options(files.model_index()).items())


def _open(components: Components) -> ModelCalls:
    transformer = components.modules["transformer"]

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the transformer on text and packed latents."""
        rows, columns = inputs.noisy.shape[-2:]
        states, device = inputs.conditioning.hidden_states, inputs.noisy.device
        text_positions = torch.zeros(states.shape[1], 3, device=device)
        prediction = transformer(
            hidden_states=pack(inputs.noisy),
            encoder_hidden_states=states,
            timestep=inputs.timesteps / 1000,
            position_ids=torch.cat([text_positions, grid_positions(rows // 2, columns // 2, device=device)]),
            encoder_attention_mask=require(inputs.conditioning, "mask"),
            return_dict=False,
        )[0]
        return unpack(prediction, rows, columns)

    is_distilled = bool(components.model_index.get("is_distilled"))

    def log_shift(config: Mapping[str, Any], tokens: int, steps: int) -> float:
        return _DISTILLED_LOG_SHIFT if is_distilled else linear_log_shift(config, tokens)

    return ModelCalls(
        PipelineText(components, lambda output: TextConditioning(output[0], mask=output[1])),
        predict,
        Guidance(1.0 if is_distilled else 5.5),
        FlowSchedule(even_fractions=True, log_shift=log_shift),
        _DISTILLED if is_distilled else None,
    )


KREA_2 = Family(
    name="krea-2",
    models="Krea 2 Raw and Turbo",
    pipeline_class="Krea2Pipeline",
    matches=has_pipeline("Krea2Pipeline"),
    part_classes=parts_of(
        transformer="diffusers.Krea2Transformer2DModel",
        vae="diffusers.AutoencoderKLQwenImage",
        text_encoder="transformers.Qwen3VLModel",
        tokenizer="transformers.AutoTokenizer",
    ),
    open=_open,
    transformer_file=TransformerLayout(
        ("txtfusion.projector.weight",),
        converter("convert_krea2_transformer_checkpoint_to_diffusers"),
        "krea/Krea-2-Raw",
    ),
    pipeline_options=_options,
    digest_options=_digest_options,
    patch_size=2,
    recipe=Recipe(
        rank=32,
        steps=1000,
        source="musubi-tuner, krea2.md; steps: diffusers, examples/dreambooth/README_krea2.md",
    ),
)
"""Krea, "Krea 2". Its pipeline counts guidance from 0, ours from 1: its 4.5 is 5.5 here."""
