"""Compare the training loop with a bare step and diffusers' LoRA example, and co-training with separate training.

    python benchmarks/training.py loop sd15              # the size of SD 1.5, random weights
    python benchmarks/training.py loop pocket --batch 6
    python benchmarks/training.py memory sd15            # peak of each variant, one process each
    python benchmarks/training.py co-train               # on the pocket model, on two cores

`loop` interleaves steps in one process: a bare forward, backward and optimizer step on existing tensors; this
project's, which encodes images and captions once, and with `cache_encodings` off; and the example's, which encodes both
at every step, and with both encoded in advance.
`co-train` trains the same adapters one after another with all threads, one after another in one process per core, and
as one group per core. Each variant runs in new processes, and the variants alternate.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import lycoris  # noqa: E402
from lycoris.bases import BASES, Base, open_base  # noqa: E402
from lycoris.data.images import read_image  # noqa: E402
from lycoris.training import Example, TrainingJob, TrainingSettings, co_train, train  # noqa: E402

RANK, ALPHA = 8, 4.0
LAYERS = [rf".*\.attn[12]\.{name}" for name in ("to_q", "to_k", "to_v", r"to_out\.0")]
VARIANTS = ("ours", "ours, not cached", "bare", "diffusers", "diffusers, cached")
CO_TRAINED = {"lora": {"rank": 8}, "loha": {"rank": 4}, "lokr": {"factor": 8}, "full": {}}


def load_base(source: str):
    """A base, or for ``"sd15"`` a model of the size of SD 1.5 with random weights."""
    dtype = "auto" if torch.cuda.is_available() else "float32"
    if source != "sd15":
        return open_base(source, dtype=dtype)
    from smoke import MODEL_CONFIGS, RandomModelFiles

    return Base(BASES["stable-diffusion"], RandomModelFiles(MODEL_CONFIGS["sd15"]), dtype=dtype)


def make_examples(folder: Path, count: int, side: int) -> list[Example]:
    """Square images of noise with captions."""
    examples = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        examples.append(Example(folder / f"{number}.png", f"a sks cat in place {number % 3}"))
    return examples


def training_settings(steps: int, batch: int, use_cache: bool = True) -> TrainingSettings:
    return TrainingSettings(steps=steps, batch_size=batch, learning_rate=1e-4, cache_encodings=use_cache)


def attach_lora(base):
    return lycoris.attach({"unet": base.parts["unet"]}, "lora", layers=LAYERS, rank=RANK, alpha=ALPHA)


def adamw(parameters) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.1, fused=True)


def bare_step(base, batch: int) -> Callable[[], None]:
    """Only forward pass, backward pass and optimizer; a network is attached to the base."""
    side = base.resolution // base.vae_scale_factor
    latents = torch.randn(batch, base.latent_channels, side, side, device=base.device)
    target = torch.randn_like(latents)
    with torch.no_grad():
        conditions = base.encode_text([f"a sks cat in place {number % 3}" for number in range(batch)])
    times = torch.randint(1000, (batch,), device=base.device)
    parameters = [p for p in base.parts["unet"].parameters() if p.requires_grad]
    optimizer = adamw(parameters)

    def step() -> None:
        (base.predict(latents, times, conditions) - target).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def diffusers_step(
    base, examples: list[Example], batch: int, use_cache: bool, alone: bool = False
) -> Callable[[], None]:
    """The inner loop of diffusers' text-to-image LoRA example, with PEFT, on a copy of the UNet unless `alone`."""
    from diffusers import DDPMScheduler
    from peft import LoraConfig, inject_adapter_in_model

    unet = base.parts["unet"] if alone else copy.deepcopy(base.parts["unet"])
    names = ["to_q", "to_k", "to_v", "to_out.0"]
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=names), unet)
    unet.train()
    scheduler = DDPMScheduler.from_config(dict(base.scheduler_config))
    optimizer = adamw([p for p in unet.parameters() if p.requires_grad])
    everything = [np.asarray(read_image(example.image)) for example in examples]
    pixels = (torch.from_numpy(np.stack(everything)).permute(0, 3, 1, 2) / 127.5 - 1).to(base.device, base.dtype)
    tokenizer = base.tokenizer
    ids = tokenizer(
        [example.caption for example in examples], padding="max_length", truncation=True,
        max_length=min(tokenizer.model_max_length, base.parts["text_encoder"].config.max_position_embeddings),
        return_tensors="pt",
    ).input_ids.to(base.device)  # fmt: skip

    @torch.no_grad()
    def encoded(rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        latents = base.vae.encode(pixels[rows]).latent_dist.sample() * base.vae.config.scaling_factor
        return latents, base.parts["text_encoder"](ids[rows])[0]

    ready = [encoded([row]) for row in range(len(examples))] if use_cache else []
    position = 0

    def step() -> None:
        nonlocal position
        rows = [(position + n) % len(examples) for n in range(batch)]
        position += batch
        parts = [ready[row] for row in rows] if use_cache else [encoded(rows)]
        latents, states = (torch.cat(part) for part in zip(*parts, strict=True))
        noise = torch.randn_like(latents)
        times = torch.randint(0, scheduler.config.num_train_timesteps, (batch,), device=latents.device)
        noisy = scheduler.add_noise(latents, noise, times)
        target = noise
        if scheduler.config.prediction_type == "v_prediction":
            target = scheduler.get_velocity(latents, noise, times)
        with torch.autocast(base.device.type, base.dtype, enabled=base.dtype is not torch.float32):
            prediction = unet(noisy, times, states, return_dict=False)[0]
        torch.nn.functional.mse_loss(prediction.float(), target.float(), reduction="mean").backward()
        torch.nn.utils.clip_grad_norm_([p for p in unet.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def compare_loops(source: str, batch: int, steps: int) -> dict[str, float]:
    """Median seconds per step of each variant; the others' steps run between two of ours."""
    base = load_base(source)
    times: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        examples = make_examples(Path(folder), 2 * batch, base.resolution)
        theirs = {cached: diffusers_step(base, examples, batch, cached) for cached in (True, False)}
        network = attach_lora(base)
        with_cache = {"diffusers, cached": theirs[True], "bare": bare_step(base, batch)}
        for ours, cached, others in (
            ("ours", True, with_cache),
            ("ours, not cached", False, {"diffusers": theirs[False]}),
        ):
            began = time.perf_counter()

            def between(
                _: int, __: int, ___: float, ours: str = ours, others: dict[str, Callable[[], None]] = others
            ) -> None:
                nonlocal began
                synchronize()
                times[ours].append(time.perf_counter() - began)
                for variant, step in others.items():
                    began = time.perf_counter()
                    step()
                    synchronize()
                    times[variant].append(time.perf_counter() - began)
                began = time.perf_counter()

            train(
                base,
                TrainingJob(network, examples, training_settings(steps + 1, batch, cached), seed=0),
                progress=between,
            )
    return {variant: statistics.median(values[1:]) for variant, values in times.items()}


def measure_peak(source: str, variant: str, batch: int) -> float:
    """Peak memory of a process that takes two steps of a variant, in MiB; on a GPU, of its allocations."""
    base = load_base(source)
    with tempfile.TemporaryDirectory() as folder:
        examples = make_examples(Path(folder), 2 * batch, base.resolution)
        if variant.startswith("ours"):
            train(
                base,
                TrainingJob(
                    attach_lora(base), examples, training_settings(2, batch, use_cache=variant == "ours"), seed=0
                ),
            )
        else:
            if variant == "bare":
                attach_lora(base)
            cached = "cached" in variant
            step = (
                bare_step(base, batch)
                if variant == "bare"
                else diffusers_step(base, examples, batch, cached, alone=True)
            )
            step()
            step()
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def train_several(names: list[str], steps: int, co_trained: bool) -> float:
    """Seconds in steps of adapters of the pocket model, trained in this process one after another or co-trained."""
    from lycoris import pocket

    base = open_base("pocket", device="cpu")
    paths = sorted((pocket.IMAGES / "stuffed_toys" / "biscuit").glob("*.png"))[:12]
    examples = [Example(path, f"a biscuit toy {number % 4}") for number, path in enumerate(paths)]
    settings = TrainingSettings(steps=steps, batch_size=6, learning_rate=1e-3)
    networks = [
        lycoris.attach(base.parts, name, preset="full", seed=seed, **CO_TRAINED[name])
        for seed, name in enumerate(names)
    ]
    if co_trained:
        results = co_train(base, [TrainingJob(network, examples, settings, n) for n, network in enumerate(networks)])
        return results[0].seconds
    for network in networks:
        network.detach()
    seconds = 0.0
    for number, network in enumerate(networks):
        network.reattach()
        seconds += train(base, TrainingJob(network, examples, settings, seed=number)).seconds
        network.detach()
    return seconds


def run_processes(parts: list[list[str]], steps: int, co_trained: bool, threads: int) -> float:
    """Seconds in steps of the slowest of some processes, each with its adapters."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, "several", ",".join(part), "--steps", str(steps), *["--co-train"] * co_trained],
            stdout=subprocess.PIPE, text=True, env=environment, stderr=subprocess.DEVNULL,
        )
        for part in parts
    ]  # fmt: skip
    return max(float(process.communicate()[0]) for process in started)


def compare_co_training(steps: int, rounds: int, cores: int) -> dict[str, dict[str, float]]:
    """Seconds per step of eight adapters in three variants: each algorithm eight times, and all mixed."""
    medians = {}
    for label, names in {**{name: [name] * 8 for name in CO_TRAINED}, "mixed": list(CO_TRAINED) * 2}.items():
        ordered = sorted(names)
        parts = [ordered[core::cores] for core in range(cores)]
        times: dict[str, list[float]] = {"sequential": [], "one per core": [], "co-trained": []}
        for _ in range(rounds):
            times["sequential"].append(run_processes([ordered], steps, False, cores) / steps)
            times["one per core"].append(run_processes(parts, steps, False, 1) / steps)
            times["co-trained"].append(run_processes(parts, steps, True, 1) / steps)
        medians[label] = {variant: statistics.median(values) for variant, values in times.items()}
        row = "".join(f"{variant} {seconds:6.3f} s   " for variant, seconds in medians[label].items())
        gain = medians[label]["sequential"] / medians[label]["co-trained"]
        print(f"{label:8s}{row}{gain:.2f}x", file=sys.stderr, flush=True)
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["loop", "memory", "co-train", "peak", "several"])
    parser.add_argument("source", nargs="?", default="pocket", help="pocket, sd15, or a folder")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3, help="of `co-train`")
    parser.add_argument("--variant", choices=VARIANTS, default="ours", help="of `peak`")
    parser.add_argument("--co-train", action="store_true", help="of `several`")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if arguments.what == "several":
        print(train_several(arguments.source.split(","), arguments.steps, arguments.co_train))
        return
    if arguments.what == "peak":
        print(measure_peak(arguments.source, arguments.variant, arguments.batch))
        return
    if arguments.what == "co-train":
        result = compare_co_training(arguments.steps, arguments.rounds, len(os.sched_getaffinity(0)))
    elif arguments.what == "memory":
        command = [sys.executable, __file__, "peak", arguments.source, "--batch", str(arguments.batch), "--variant"]
        result = {
            variant: float(subprocess.run([*command, variant], check=True, capture_output=True, text=True).stdout)
            for variant in VARIANTS
        }
    else:
        result = compare_loops(arguments.source, arguments.batch, arguments.steps)
    if arguments.json:
        print(json.dumps(result))
    elif arguments.what != "co-train":
        unit = "MiB" if arguments.what == "memory" else "s per step"
        for variant, value in result.items():
            print(f"{variant:20s}{value:10.3f} {unit}   {value / result['ours']:.3f} of ours")


if __name__ == "__main__":
    main()
