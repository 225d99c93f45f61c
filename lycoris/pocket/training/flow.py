"""The flow transformer: the sibling of the UNet, with the same autoencoder and text encoder, trained by flow matching.

Noisy latents are x_s = (1 - s) x_0 + s e; the transformer predicts the velocity e - x_0. Times s are logit-normal.
Three quarters of the target are the velocity that the UNet predicts from the same noisy latents: it estimates the mean
of all pairs (x_0, e) that lead there, which is what the loss asks for, while that of one pair is mostly noise. The rest
is the pair's own, so that the UNet's errors are not learned in full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AuraFlowTransformer2DModel,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
)
from diffusers.models.embeddings import get_2d_sincos_pos_embed
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from lycoris.pocket import FLOW_BASE
from lycoris.pocket.training.latents import finished_chunks, load_latents
from lycoris.pocket.training.trainer import TimeBudget, Trainer, TrainerConfig, device, mixed_precision
from lycoris.pocket.training.unet import (
    CAPTIONS_PER_IMAGE,
    EMPTY_CAPTION_RATE,
    NOISE_SCHEDULE,
    TEXT_WIDTH,
    caption_ids,
    token_ids,
)
from lycoris.pocket.training.vae import LATENT_CHANNELS
from lycoris.pocket.training.warm_start import base_part_folder, warm_start

WIDTH, HEADS, JOINT_LAYERS, SINGLE_LAYERS = 192, 6, 2, 6
LATENT_SIZE, PATCH_SIZE = 16, 2
GRID_SIZE = 16
"""Positions along each side; images of 64 pixels take the middle 8, wider ones the others."""
TEACHER_SHARE = 0.75
"""Share of the UNet's velocity in the target: the variance that a pair adds is a sixteenth of its own."""
SAVE_INTERVAL = 300


def build_flow_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Build the pipeline's scheduler; its times are not shifted, since 64 tokens are few."""
    return FlowMatchEulerDiscreteScheduler()


def build_transformer() -> AuraFlowTransformer2DModel:
    """Build a transformer of two joint and six single layers over 64 image tokens.

    Modulations and the output start at zero, so that each block is the identity at first. Positions are fixed sines and
    cosines, so that those of wider images continue those of trained ones.
    """
    transformer = AuraFlowTransformer2DModel(
        sample_size=LATENT_SIZE,
        patch_size=PATCH_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_mmdit_layers=JOINT_LAYERS,
        num_single_dit_layers=SINGLE_LAYERS,
        attention_head_dim=WIDTH // HEADS,
        num_attention_heads=HEADS,
        joint_attention_dim=TEXT_WIDTH,
        caption_projection_dim=WIDTH,
        pos_embed_max_size=GRID_SIZE**2,
    )
    positions = get_2d_sincos_pos_embed(WIDTH, GRID_SIZE, output_type="pt").float()[None]
    transformer.pos_embed.pos_embed.requires_grad_(False).copy_(positions)
    for name, module in transformer.named_modules():
        if name == "proj_out" or name.endswith((".norm1.linear", ".norm1_context.linear")):
            nn.init.zeros_(module.weight)
    return transformer


def prompt_mask(ids: Tensor, end: int) -> Tensor:
    """Mask of the tokens up to the first end token, included: (batch, tokens) of booleans."""
    is_end = ids == end
    return is_end.cumsum(1) - is_end.long() == 0


class VelocityTeacher:
    """The velocity of flow matching as a UNet of another noise schedule predicts it.

    Args:
        unet: called as a `UNet2DConditionModel` that predicts v of the schedule.
        schedule: its noise schedule.
    """

    def __init__(self, unet: Callable[..., Any], schedule: DDPMScheduler) -> None:
        self.unet = unet
        alphas = schedule.alphas_cumprod.double()
        self.levels = (1 / (1 + (alphas / (1 - alphas)).sqrt())).float()
        """The noise level s at which flow matching has the signal-to-noise ratio of each timestep, rising."""

    def timesteps(self, levels: Tensor) -> Tensor:
        """Timesteps of these noise levels, with fractions; outside of the schedule's range the nearest end's."""
        known = self.levels.to(levels.device)
        above = torch.searchsorted(known, levels).clamp(1, len(known) - 1)
        low, high = known[above - 1], known[above]
        return (above - 1) + ((levels - low) / (high - low)).clamp(0, 1)

    def knows(self, levels: Tensor) -> Tensor:
        """Whether the schedule has these noise levels."""
        return (levels >= self.levels[0]) & (levels <= self.levels[-1])

    @torch.no_grad()
    def velocity(self, noisy: Tensor, levels: Tensor, states: Tensor) -> Tensor:
        """Predict e - x_0 from latents of flow matching.

        Args:
            noisy: latents of shape (batch, channels, height, width).
            levels: the noise level s of each.
            states: text states of shape (batch, tokens, width).
        """
        norm = (levels.square() + (1 - levels).square()).sqrt()[:, None, None, None]
        signal, noise = (1 - levels)[:, None, None, None] / norm, levels[:, None, None, None] / norm
        scaled = (noisy / norm).contiguous(memory_format=torch.channels_last)
        prediction = self.unet(scaled, self.timesteps(levels), encoder_hidden_states=states).sample
        return (noise - signal) * scaled + (noise + signal) * prediction.float()


@dataclass(frozen=True, eq=False)
class FlowBatches:
    """Batches of latents with captions.

    Args:
        latents: of shape (count, channels, 16, 16).
        captions: token ids of shape (count, captions, tokens).
        empty: token ids of the empty caption, of shape (1, tokens).
    """

    latents: Tensor
    captions: Tensor
    empty: Tensor

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sample latents and a caption of each; one caption in ten is empty."""
        chosen = torch.randint(len(self.latents), (count,), generator=generator)
        caption = self.captions[chosen, torch.randint(CAPTIONS_PER_IMAGE, (count,), generator=generator)]
        is_empty = torch.rand(count, generator=generator) < EMPTY_CAPTION_RATE
        return self.latents[chosen].float(), torch.where(is_empty[:, None], self.empty, caption)


def velocity_target(teacher: VelocityTeacher, noisy: Tensor, levels: Tensor, states: Tensor, pair: Tensor) -> Tensor:
    """Mix the teacher's velocity with the pair's own; where the teacher knows no such noise, the pair's alone."""
    share = (TEACHER_SHARE * teacher.knows(levels).float())[:, None, None, None]
    return torch.lerp(pair, teacher.velocity(noisy, levels, states), share)


def train_flow(work: Path, budget: TimeBudget, batch_size: int = 32, learning_rate: float = 3e-3) -> None:
    """Train the transformer on stored latents with the frozen text encoder, loading new chunks as they appear."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(base_part_folder(work, "tokenizer"))
    text = (
        CLIPTextModel.from_pretrained(base_part_folder(work, "text_encoder"), dtype=torch.float32).to(device()).eval()
    )
    unet = UNet2DConditionModel.from_pretrained(base_part_folder(work, "unet"), torch_dtype=torch.float32)
    unet = unet.to(device(), memory_format=torch.channels_last).eval()
    teacher = VelocityTeacher(unet, DDPMScheduler(**NOISE_SCHEDULE))
    transformer = build_transformer().to(device())
    warm_start(transformer, FLOW_BASE / "transformer")
    config = TrainerConfig(
        learning_rate, cooldown=0.35, adam_only=("pos_embed", "proj_out", "time_step_proj"), save_interval_s=180
    )
    trainer = Trainer("flow", {"transformer": transformer}, config, budget=budget, work=work)
    ids, empty = caption_ids(tokenizer, work), token_ids(tokenizer, [""])
    chunks: list[Path] = []
    while trainer.has_time():
        if trainer.steps_this_run % SAVE_INTERVAL == 0 and len(finished := finished_chunks(work)) > len(chunks):
            chunks = finished
            latents, rows = load_latents(chunks)
            batches = FlowBatches(latents, ids[rows], empty)
        clean, caption = batches.sample(batch_size, trainer.generator)
        levels = torch.randn(batch_size, generator=trainer.generator).sigmoid().to(device())
        noise = torch.randn(clean.shape, generator=trainer.generator).to(device())
        clean, caption = clean.to(device()), caption.to(device())
        noisy = torch.lerp(clean, noise, levels[:, None, None, None])
        with torch.no_grad(), mixed_precision():
            states = text(caption).last_hidden_state
            target = velocity_target(teacher, noisy, levels, states, noise - clean)
        with mixed_precision():
            masked = states * prompt_mask(caption, tokenizer.eos_token_id)[..., None]
            prediction = transformer(noisy, masked, levels, return_dict=False)[0]
        trainer.step((prediction.float() - target).square().mean(), batch_size)
        if trainer.rank == 0 and trainer.steps_this_run % SAVE_INTERVAL == 0:
            save_transformer(trainer, work)
    trainer.save()
    if trainer.rank == 0:
        save_transformer(trainer, work)


def save_transformer(trainer: Trainer, work: Path) -> None:
    """Save the averaged transformer under `work/parts`."""
    with trainer.averaged_weights():
        trainer.modules["transformer"].save_pretrained(work / "parts" / "transformer")
