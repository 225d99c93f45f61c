"""Ideogram 4: text and image as one sequence, trained by flow matching from noise to image, with a second denoiser.

The second, unconditional transformer takes the place of a negative prompt. Adapters are of the first.
"""

from __future__ import annotations

from typing import Any

import torch

from lycoris.bases.conditioning import TextConditioning, require
from lycoris.bases.families.family import Components, DenoiserInputs, Family, ModelCalls, Recipe, has_pipeline, parts_of
from lycoris.bases.flow_schedule import FlowSchedule
from lycoris.bases.guidance import Guidance
from lycoris.bases.latent_codec import LatentCodec
from lycoris.bases.packing import pack, unpack
from lycoris.bases.pipeline_text import PipelineText
from lycoris.bases.shapes import Latents

MAX_TEXT_TOKENS = 2048
"""Tokens of a text, padded at its start; the pipeline's default. A longer one is an error."""
_BASE_PIXELS, _DEVIATION = 512**2, 1.5


def _collect(output: Any) -> TextConditioning:
    features, _, segments, _ = output
    return TextConditioning(features[:, :-1], mask=segments[:, :-1] == 1)  # without the one token of an image


def _sigmas(steps: int, pixels: int) -> list[float]:
    """The noise levels of the pipeline's schedule, whose mean follows the number of pixels."""
    from diffusers.pipelines.ideogram4 import pipeline_ideogram4 as pipeline

    mean = 0.5 * float(torch.tensor(pixels / _BASE_PIXELS, dtype=torch.float64).log())
    return pipeline._logit_normal_sigmas(steps, mean, std=_DEVIATION).tolist()


def _open(components: Components) -> ModelCalls:
    transformer, unconditional = (components.modules[name] for name in ("transformer", "unconditional_transformer"))

    def call(module: Any, inputs: DenoiserInputs, features: torch.Tensor, lengths: list[int]) -> Latents:
        """Run a transformer, whose time is the share of the image and whose prediction points to it."""
        from diffusers import Ideogram4Pipeline

        rows, columns = inputs.noisy.shape[-2:]
        latents, text_length = pack(inputs.noisy, 1), features.shape[1]
        positions, segments, indicator = Ideogram4Pipeline._prepare_ids(
            lengths, rows, columns, text_length, latents.device
        )
        padding = latents.new_zeros(len(latents), text_length, latents.shape[2])
        image_features = features.new_zeros(len(latents), rows * columns, features.shape[2])
        prediction = module(
            hidden_states=torch.cat([padding, latents], dim=1),
            timestep=1 - inputs.timesteps / 1000,
            encoder_hidden_states=torch.cat([features, image_features], dim=1),
            position_ids=positions,
            segment_ids=segments,
            indicator=indicator,
            return_dict=False,
        )[0]
        return -unpack(prediction[:, text_length:], rows, columns, 1)

    def predict(inputs: DenoiserInputs) -> Latents:
        """Run the first transformer."""
        lengths = require(inputs.conditioning, "mask").sum(dim=1).tolist()
        return call(transformer, inputs, inputs.conditioning.hidden_states, lengths)

    def predict_unconditional(inputs: DenoiserInputs) -> Latents:
        """Run the second transformer, without a text."""
        features = inputs.conditioning.hidden_states[:, :0]
        return call(unconditional, inputs, features, [0] * len(inputs.noisy))

    return ModelCalls(
        PipelineText(components, _collect, grid_h=1, grid_w=1, max_sequence_length=MAX_TEXT_TOKENS),
        predict,
        Guidance(7.0),
        FlowSchedule(sigmas=lambda steps, tokens: _sigmas(steps, tokens * components.vae_scale_factor**2)),
        predict_unconditional=predict_unconditional,
    )


IDEOGRAM_4 = Family(
    name="ideogram-4",
    models="Ideogram 4",
    pipeline_class="Ideogram4Pipeline",
    matches=has_pipeline("Ideogram4Pipeline"),
    part_classes=parts_of(
        transformer="diffusers.Ideogram4Transformer2DModel",
        unconditional_transformer="diffusers.Ideogram4Transformer2DModel",
        vae="diffusers.AutoencoderKLFlux2",
        text_encoder="transformers.Qwen3VLModel",
        tokenizer="transformers.AutoTokenizer",
    ),
    open=_open,
    codec=lambda vae: LatentCodec(vae, patch_channels_last=True),
    noise_by_token=True,
    recipe=Recipe(
        rank=32,
        steps=1000,
        source="SimpleTuner, simpletuner/examples/ideogram-image-24g.peft-lora/config.json; times: diffusers",
        timestep_density="logit-normal",
        timestep_density_options={"std": 1.5},
    ),
)
"""Ideogram, "Ideogram 4". Its pipeline lowers the guidance for the last steps; here it is one for all."""
