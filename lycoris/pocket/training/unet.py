"""The denoiser and its text encoder, learned together on stored latents.

v-prediction on the noise schedule of Stable Diffusion; one caption in ten is empty, for classifier-free guidance.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from lycoris.pocket import BASE
from lycoris.pocket.training.dataset import plain_dataset
from lycoris.pocket.training.latents import finished_chunks, load_latents
from lycoris.pocket.training.trainer import TimeBudget, Trainer, device, mixed_precision
from lycoris.pocket.training.vae import LATENT_CHANNELS
from lycoris.pocket.training.warm_start import warm_start
from lycoris.pocket.world.vocabulary import MAX_TOKENS, Tags, build_tokenizer, to_sentence, to_tag_list

NOISE_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}
CAPTIONS_PER_IMAGE = 4
TAG_DROP_RATES = (0.05, 0.05, 0.5)
"""Share of the tags that a caption leaves out, drawn for each caption: with short captions, a picture of which little
is said is of any colour and style. With one in ten throughout, what had no colour became a pencil drawing."""
ALWAYS_NAMED_STYLE = "pencil"
"""The style without colour stands in each of its captions; else a prompt that names no colour asks for a drawing."""
EMPTY_CAPTION_RATE = 0.1
TEXT_WIDTH = 128


def build_scheduler() -> DDIMScheduler:
    """The sampler that the pipeline carries, as Stable Diffusion sets it."""
    return DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1, **NOISE_SCHEDULE)


def build_unet() -> UNet2DConditionModel:
    """Three resolutions, the two lower ones with cross-attention; `attention_head_dim` counts heads, as in
    Stable Diffusion 1."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(64, 96, 160),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    ).to(memory_format=torch.channels_last)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def token_ids(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Padded token ids of shape (texts, 32)."""
    encoded = tokenizer(texts, padding="max_length", truncation=True, max_length=MAX_TOKENS)
    return torch.tensor(encoded.input_ids)


def sample_captions(tags: list[Tags], per_image: int, seed: int) -> list[str]:
    """`each` captions a picture: two in three are sentences, the rest tag lists, both thinned."""
    rng = random.Random(seed)

    def caption(shown: Tags, number: int) -> str:
        text = (to_sentence if number % 3 else to_tag_list)(shown, rng, rng.choice(TAG_DROP_RATES))
        if shown.style != ALWAYS_NAMED_STYLE or ALWAYS_NAMED_STYLE in text:
            return text
        return f"{text}, {ALWAYS_NAMED_STYLE} style".removeprefix(", ")

    return [caption(shown, number) for shown in tags for number in range(per_image)]


def caption_ids(tokenizer: CLIPTokenizer, work: Path) -> Tensor:
    """Token ids of all captions of the plain stock, of shape (pictures, captions, tokens); made once and kept."""
    path = work / "stock" / "captions.npy"
    if not path.exists():
        ids = token_ids(tokenizer, sample_captions(plain_dataset(work).tags, CAPTIONS_PER_IMAGE, seed=1))
        partial = path.with_suffix(f".{os.getpid()}.npy")
        np.save(partial, ids.numpy().astype(np.int16))
        os.replace(partial, path)
    return torch.from_numpy(np.load(path)).long().view(-1, CAPTIONS_PER_IMAGE, MAX_TOKENS)


def loss_weights(scheduler: DDPMScheduler) -> Tensor:
    """Weight of each timestep: 1 where noise prevails, less where little is left to decide."""
    kept = scheduler.alphas_cumprod
    ratio = kept / (1 - kept)
    weights = (5 / (ratio + 1)).clamp(max=1)
    return weights / weights.mean()


def train_unet(work: Path, budget: TimeBudget, batch: int = 24, rate: float = 3e-3) -> None:
    """Train denoiser and text encoder, taking up new chunks of latents as they come."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    unet, text = build_unet().to(device()), build_text_encoder(tokenizer).to(device())
    warm_start(unet, BASE / "unet")
    warm_start(text, BASE / "text_encoder")
    ids = caption_ids(tokenizer, work)
    course = Trainer(
        "unet",
        {"unet": unet, "text": text},
        budget=budget,
        work=work,
        rate=rate,
        cooldown=0.35,
        average=0.998,
        plain=("conv_in", "conv_out", "time_embedding"),
        save_every=180,
    )
    scheduler = DDPMScheduler(num_train_timesteps=1000, **NOISE_SCHEDULE)
    weights = loss_weights(scheduler).to(device())
    empty = token_ids(tokenizer, [""])
    chunks: list[Path] = []
    random_ = course.generator
    while course.has_time():
        if course.steps_this_run % 300 == 0 and len(found := finished_chunks(work)) > len(chunks):
            chunks = found
            latents, rows = load_latents(chunks)
        chosen = torch.randint(len(latents), (batch,), generator=random_)
        clean = latents[chosen].float().to(device()).contiguous(memory_format=torch.channels_last)
        caption = ids[rows[chosen], torch.randint(CAPTIONS_PER_IMAGE, (batch,), generator=random_)]
        nothing = torch.rand(batch, generator=random_) < EMPTY_CAPTION_RATE
        caption = torch.where(nothing[:, None], empty, caption).to(device())
        time = torch.randint(0, 1000, (batch,), generator=random_).to(device())
        noise = torch.randn(clean.shape, generator=random_).to(device())
        noisy = scheduler.add_noise(clean, noise, time).contiguous(memory_format=torch.channels_last)
        with mixed_precision():
            guess = unet(noisy, time, encoder_hidden_states=text(caption).last_hidden_state).sample
        error = (guess.float() - scheduler.get_velocity(clean, noise, time)).square().mean((1, 2, 3))
        course.step((error * weights[time]).mean(), batch)
        if course.rank == 0 and course.steps_this_run % 600 == 0:
            save_parts(course, tokenizer, work)
    course.save()
    if course.rank == 0:
        save_parts(course, tokenizer, work)


def save_parts(course: Trainer, tokenizer: CLIPTokenizer, work: Path) -> None:
    """The averaged denoiser and text encoder, and their tokenizer, under `work/parts`."""
    with course.averaged_weights():
        course.modules["unet"].save_pretrained(work / "parts" / "unet")
        course.modules["text"].save_pretrained(work / "parts" / "text_encoder")
        tokenizer.save_pretrained(work / "parts" / "tokenizer")
