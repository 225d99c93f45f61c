"""Two training steps and one short drawing on a base of SD-1.5's full shape with random weights.

    python benchmarks/smoke_sd15.py FOLDER [--size 256] [--algorithm lora] [--batch 1] [--threads 2]

The checkpoint is made in FOLDER on the first call, in the diffusers layout, 2.1 GB in half precision. It draws noise;
what is shown is that everything fits together at full size, how long it takes and how much memory.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import lycoris
from lycoris.bases import open_base
from lycoris.sampling import draw
from lycoris.training import Example, TrainingSettings, train


def make_checkpoint(folder: Path) -> None:
    """Save modules of SD-1.5's configuration with random weights, in half precision."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    tokenizer = alphabet_tokenizer()
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        layers_per_block=2,
        latent_channels=4,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    scheduler = PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=text_encoder.half(),
        tokenizer=tokenizer,
        unet=unet.half(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def alphabet_tokenizer():
    """A CLIP tokenizer that knows letters only: SD's own vocabulary is not ours to ship."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    pieces = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def peak_gib() -> float:
    """The process's largest resident memory so far, in GiB; the GPU's where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Run the smoke test and print one line a stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the checkpoint is, or is to be made")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels, a multiple of 64")
    parser.add_argument("--algorithm", default="lora")
    parser.add_argument("--batch", type=int, default=1, help="pictures a step")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    began = time.perf_counter()

    def tell(stage: str) -> None:
        nonlocal began
        print(f"{stage:40s} {time.perf_counter() - began:8.1f} s   peak {peak_gib():5.1f} GiB", flush=True)
        began = time.perf_counter()

    if not (arguments.folder / "model_index.json").is_file():
        make_checkpoint(arguments.folder)
        tell("checkpoint made")
    base = open_base(arguments.folder)
    base.resolution = arguments.size
    tell(f"opened on {base.device} in {base.dtype}")
    network = lycoris.attach(base.parts, algorithm=arguments.algorithm, seed=0)
    tell(f"attached {arguments.algorithm} to {len(network)} layers")
    with tempfile.TemporaryDirectory() as folder:
        examples = []
        for number, size in enumerate([(300, 200), (200, 300)]):
            path = Path(folder, f"{number}.png")
            pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
            examples.append(Example(path, "a sks creature"))
        settings = TrainingSettings(steps=2, batch_size=arguments.batch)
        result = train(base, network, examples, settings, seed=0)
    tell(f"2 steps, losses {', '.join(f'{loss:.3f}' for loss in result.losses)}")
    print(f"{'':40s} {result.seconds / 2:8.1f} s a step of {arguments.batch}, buckets {result.buckets}")
    image = draw(base, ["a sks creature"], [1000], steps=2, height=arguments.size, width=arguments.size)[0]
    tell(f"2-step drawing of {image.width}x{image.height}")


if __name__ == "__main__":
    main()
