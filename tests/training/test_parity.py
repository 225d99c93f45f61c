"""Training on the pocket model compared with the same run written with diffusers and PEFT."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

import lycoris
from lycoris import pocket
from lycoris.bases import open_base
from lycoris.training import Example, TrainingJob, TrainingSettings, train
from lycoris.training.data.caption_encoding import CaptionEncoder
from lycoris.training.data.image_dataset import ImageDataset
from lycoris.training.data.sampler import BatchSampler

STEPS, RANK, ALPHA, RATE = 50, 4, 2.0, 1e-3
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
CAPTIONS = ["a biscuit toy on grass", "a biscuit toy in snow", "a biscuit toy"]


@pytest.fixture
def examples():
    images = sorted((pocket.IMAGES / "stuffed_toys" / "biscuit").glob("*.png"))[:6]
    return [Example(path, CAPTIONS[number % 3]) for number, path in enumerate(images)]


def ours(base, examples, settings):
    network = lycoris.attach(
        {"unet": base.parts["unet"]},
        "lora",
        layers=[rf".*\.attn[12]\.{name}" for name in PROJECTIONS],
        rank=RANK,
        alpha=ALPHA,
    )
    start = {place.path: adapter.down.detach().clone() for place, adapter in pairs(network)}
    losses = train(base, TrainingJob(network, examples, settings, seed=5)).losses
    end = {place.path: (adapter.up.detach(), adapter.down.detach()) for place, adapter in pairs(network)}
    network.detach()
    return losses, start, end


def pairs(network):
    return [(network.layers[key], network.adapters[key]) for key in network.adapters]


def test_fifty_steps_are_those_of_diffusers_and_peft(examples):
    settings = TrainingSettings(steps=STEPS, batch_size=4, learning_rate=RATE, caption_dropout=0.1, warmup_steps=5)
    base = open_base("pocket", device="cpu")
    losses, start, end = ours(base, examples, settings)

    folder = pocket.BASE
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").requires_grad_(False)
    vae = AutoencoderKL.from_pretrained(folder / "vae").requires_grad_(False)
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).requires_grad_(False)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    scheduler = DDPMScheduler.from_pretrained(folder / "scheduler")
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(PROJECTIONS)), unet)
    modules = dict(unet.named_modules())
    assert set(start) == {name for name, module in modules.items() if hasattr(module, "lora_A")}
    for path, down in start.items():
        modules[path].lora_A["default"].weight.data.copy_(down)
    parameters = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.99), weight_decay=0.1)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 5))

    # The order of the images, the noise, the times and the dropped captions are the other run's.
    displayed, text = [], []

    class Shown(ImageDataset):
        def stack_latents(self, rows, flipped):
            displayed.append(rows)
            return super().stack_latents(rows, flipped)

    class Said(CaptionEncoder):
        def __call__(self, texts):
            text.append(texts)
            return super().__call__(texts)

    images = Shown(base, [example.image for example in examples])
    texts = Said(base, [example.caption for example in examples], trainable=False)
    batches = BatchSampler(images, texts, base.forward_process, settings, seed=5)
    images = [np.asarray(Image.open(example.image).convert("RGB")) for example in examples]
    unet.train()
    plain = []
    for step in range(STEPS):
        (batch,) = batches(step)
        ((rows,), (captions,)) = displayed, text
        displayed.clear()
        text.clear()
        pixels = torch.from_numpy(np.stack([images[row] for row in rows])).permute(0, 3, 1, 2) / 127.5 - 1
        latents = vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor
        ids = tokenizer(
            captions, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
        ).input_ids
        states = text_encoder(ids)[0]
        noisy = scheduler.add_noise(latents, batch.noise, batch.timesteps)
        prediction = unet(noisy, batch.timesteps, states).sample
        target = batch.noise
        if scheduler.config.prediction_type == "v_prediction":
            target = scheduler.get_velocity(latents, batch.noise, batch.timesteps)
        loss = torch.nn.functional.mse_loss(prediction.float(), target.float(), reduction="mean")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rates.step()
        optimizer.zero_grad()
        plain.append(loss.item())

    assert losses == pytest.approx(plain, rel=1e-5)
    for path, (up, down) in end.items():
        theirs = modules[path].lora_B["default"].weight @ modules[path].lora_A["default"].weight
        assert torch.allclose(up @ down, theirs, atol=1e-3 * theirs.abs().max().item())
