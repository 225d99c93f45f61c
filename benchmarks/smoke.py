"""Smoke test at full size: two training steps and one image on an SD 1.5 or SDXL base of random weights.

    python benchmarks/smoke.py sd15|sdxl [--size 256] [--algorithm lora] [--batch 1] [--threads 2] [--dtype auto]

No model files are read. Modules are built directly in the given precision; SDXL takes 7 GB in bfloat16. The image is
noise: the script shows that all parts fit together at full size, and how much time and memory they take.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from unet_configs import SD15, SDXL

import lycoris
from lycoris.bases import BASES, Base
from lycoris.bases.sampling import GenerationSettings, generate
from lycoris.training import Example, TrainingJob, TrainingSettings, train

CLIP = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
MODEL_CONFIGS: dict[str, dict[str, dict[str, Any]]] = {
    "sd15": {
        "unet": {"sample_size": 64, **SD15},
        "vae": VAE,
        "text_encoder": CLIP,
    },
    "sdxl": {
        "unet": {"sample_size": 128, **SDXL},
        "vae": {**VAE, "scaling_factor": 0.13025},
        "text_encoder": CLIP,
        "text_encoder_2": CLIP_G,
    },
}
NOISE_SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


class RandomModelFiles:
    """Stand-in for the files of a base model: modules are built on the meta device and filled with noise."""

    path = Path("random")

    def __init__(self, configs: dict[str, dict[str, Any]]) -> None:
        self._configs = configs

    def model_index(self) -> dict[str, Any]:
        return {}

    def has_part(self, part: str) -> bool:
        return part in self._configs

    def check_parts(self, parts: Any) -> None:
        """Accept everything: all parts exist."""

    def load_module(self, part: str, kind: Any, dtype: torch.dtype) -> torch.nn.Module:
        from accelerate import init_empty_weights

        config, tokenizer = self._configs[part], alphabet_tokenizer()
        with init_empty_weights():
            if part.startswith("text"):
                ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
                module = kind(kind.config_class(**config, **ends))
            else:
                module = kind(**config)
        generator = torch.Generator().manual_seed(0)
        for owner in module.modules():
            for name, weight in list(owner.named_parameters(recurse=False)):
                filled = torch.empty(weight.shape, dtype=dtype)
                # Preserves the scale of activations through many layers; norms and biases keep their usual values.
                if weight.ndim < 2:
                    filled.fill_(float(name == "weight"))
                else:
                    filled.normal_(std=weight[0].numel() ** -0.5, generator=generator)
                setattr(owner, name, torch.nn.Parameter(filled, requires_grad=False))
        return module

    def load_tokenizer(self, part: str, kind: Any) -> Any:
        return alphabet_tokenizer()

    def scheduler_config(self) -> dict[str, Any]:
        return {"_class_name": "DDIMScheduler", **NOISE_SCHEDULE, "clip_sample": False, "set_alpha_to_one": False}

    def digest(self, parts: Any) -> str:
        return "random"


def alphabet_tokenizer():
    """Build a CLIP tokenizer of single characters, as the vocabulary of Stable Diffusion is not shipped."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    pieces = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def peak_memory_gib() -> float:
    """Peak memory in GiB: of the GPU if there is one, else resident memory of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Run the smoke test and print one line per stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=MODEL_CONFIGS, help="base model whose full size to use")
    parser.add_argument("--size", type=int, default=256, help="side of the images in pixels, a multiple of 64")
    parser.add_argument("--algorithm", default="lora")
    parser.add_argument("--preset", default="attn-mlp")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch", type=int, default=1, help="images per step")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    started = time.perf_counter()

    def report(stage: str) -> None:
        nonlocal started
        print(f"{stage:40s} {time.perf_counter() - started:8.1f} s   peak {peak_memory_gib():5.1f} GiB", flush=True)
        started = time.perf_counter()

    family = BASES["stable-diffusion-xl" if arguments.shape == "sdxl" else "stable-diffusion"]
    base = Base(family, RandomModelFiles(MODEL_CONFIGS[arguments.shape]), dtype=arguments.dtype)
    base.resolution = arguments.size
    report(f"built on {base.device} in {base.dtype}")
    network = lycoris.attach(base.parts, algorithm=arguments.algorithm, preset=arguments.preset, seed=0)
    report(f"attached {arguments.algorithm} to {len(network)} layers")
    with tempfile.TemporaryDirectory() as folder:
        examples = []
        for number, size in enumerate([(300, 200), (200, 300)]):
            path = Path(folder, f"{number}.png")
            pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
            examples.append(Example(path, "a sks creature"))
        settings = TrainingSettings(steps=2, batch_size=arguments.batch)
        result = train(base, TrainingJob(network, examples, settings, seed=0))
    report(f"2 steps, losses {', '.join(f'{loss:.3f}' for loss in result.losses)}")
    print(f"{'':40s} {result.seconds / 2:8.1f} s per step of {arguments.batch}, buckets {result.bucket_counts}")
    image = generate(
        base, ["a sks creature"], [1000], GenerationSettings(steps=2, height=arguments.size, width=arguments.size)
    )[0]
    report(f"2-step image of {image.width}x{image.height}")


if __name__ == "__main__":
    main()
