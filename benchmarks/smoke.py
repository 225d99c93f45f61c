"""Two training steps and one short drawing on a base of SD-1.5's or SDXL's full shape with random weights.

    python benchmarks/smoke.py sd15|sdxl [--size 256] [--algorithm lora] [--batch 1] [--threads 2] [--dtype auto]

Nothing is read or written: modules are built in the precision asked for, SDXL in 7 GB of bfloat16. It draws noise; what
is shown is that everything fits together at full size, how long it takes and how much memory.
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

import lycoris
from lycoris.bases import StableDiffusion, StableDiffusionXL
from lycoris.bases.sampling import generate
from lycoris.training import Example, TrainingSettings, train

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
        "unet": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
        "vae": VAE,
        "text_encoder": CLIP,
    },
    "sdxl": {
        "unet": {
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 10),
            "cross_attention_dim": 2048,
            "attention_head_dim": (5, 10, 20),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        "vae": {**VAE, "scaling_factor": 0.13025},
        "text_encoder": CLIP,
        "text_encoder_2": CLIP_G,
    },
}
NOISE_SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


class RandomModelFiles:
    """Files of a base that are never written: modules are built without storage and filled with noise."""

    path = Path("random")

    def __init__(self, shapes: dict[str, dict[str, Any]]) -> None:
        self._shapes = shapes

    def model_index(self) -> dict[str, Any]:
        return {}

    def has_part(self, part: str) -> bool:
        return part in self._shapes

    def check_parts(self, parts: Any) -> None:
        """All is there."""

    def load_module(self, part: str, kind: Any, dtype: torch.dtype) -> torch.nn.Module:
        from accelerate import init_empty_weights

        shape, words = self._shapes[part], alphabet_tokenizer()
        with init_empty_weights():
            if part.startswith("text"):
                ends = {"bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id}
                module = kind(kind.config_class(**shape, **ends))
            else:
                module = kind(**shape)
        draws = torch.Generator().manual_seed(0)
        for owner in module.modules():
            for name, weight in list(owner.named_parameters(recurse=False)):
                filled = torch.empty(weight.shape, dtype=dtype)
                # Activations keep their size through many layers; norms and biases start as they always do.
                if weight.ndim < 2:
                    filled.fill_(float(name == "weight"))
                else:
                    filled.normal_(std=weight[0].numel() ** -0.5, generator=draws)
                setattr(owner, name, torch.nn.Parameter(filled, requires_grad=False))
        return module

    def load_tokenizer(self, part: str, kind: Any) -> Any:
        return alphabet_tokenizer()

    def scheduler_config(self) -> dict[str, Any]:
        return {"_class_name": "DDIMScheduler", **NOISE_SCHEDULE, "clip_sample": False, "set_alpha_to_one": False}

    def digest(self, parts: Any) -> str:
        return "random"


def alphabet_tokenizer():
    """A CLIP tokenizer that knows letters only: SD's own vocabulary is not ours to ship."""
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    pieces = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def peak_memory_gib() -> float:
    """The process's largest resident memory so far, in GiB; the GPU's where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Run the smoke test and print one line a stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=MODEL_CONFIGS, help="whose full shape")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels, a multiple of 64")
    parser.add_argument("--algorithm", default="lora")
    parser.add_argument("--preset", default="attn-mlp")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch", type=int, default=1, help="pictures a step")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    began = time.perf_counter()

    def tell(stage: str) -> None:
        nonlocal began
        print(f"{stage:40s} {time.perf_counter() - began:8.1f} s   peak {peak_memory_gib():5.1f} GiB", flush=True)
        began = time.perf_counter()

    family = StableDiffusionXL if arguments.shape == "sdxl" else StableDiffusion
    base = family(RandomModelFiles(MODEL_CONFIGS[arguments.shape]), dtype=arguments.dtype)
    base.resolution = arguments.size
    tell(f"built on {base.device} in {base.dtype}")
    network = lycoris.attach(base.parts, algorithm=arguments.algorithm, preset=arguments.preset, seed=0)
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
    print(f"{'':40s} {result.seconds / 2:8.1f} s a step of {arguments.batch}, buckets {result.bucket_counts}")
    image = generate(base, ["a sks creature"], [1000], steps=2, height=arguments.size, width=arguments.size)[0]
    tell(f"2-step drawing of {image.width}x{image.height}")


if __name__ == "__main__":
    main()
