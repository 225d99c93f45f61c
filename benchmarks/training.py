"""Our training loop beside a bare step and the inner loop of diffusers' LoRA example, and many adapters at once.

    python benchmarks/training.py loop sd15              # SD-1.5's shape with random weights
    python benchmarks/training.py loop pocket --batch 6
    python benchmarks/training.py memory sd15            # peak of each way, a process each
    python benchmarks/training.py together               # on the pocket, on two cores

`loop` takes turns step by step in one process: a bare forward, backward and optimiser step on tensors that are there;
ours, which encodes pictures and captions once, and with `cache_encodings` off; and the example's, which encodes both at
every step, and once with both encoded before.
`together` trains the same adapters one after another with all threads, one after another in one process a core, and
in one group a core; each way in fresh processes, the ways taking turns.
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
from lycoris.training import Example, TrainingJob, TrainingSettings, co_train, train  # noqa: E402

RANK, ALPHA = 8, 4.0
LAYERS = [rf".*\.attn[12]\.{name}" for name in ("to_q", "to_k", "to_v", r"to_out\.0")]
VARIANTS = ("ours", "ours, not cached", "bare", "diffusers", "diffusers, cached")
CO_TRAINED = {"lora": {"rank": 8}, "loha": {"rank": 4}, "lokr": {"factor": 8}, "full": {}}


def load_base(source: str):
    """A base, or ``"sd15"`` for SD-1.5's shape with random weights."""
    dtype = "auto" if torch.cuda.is_available() else "float32"
    if source != "sd15":
        return open_base(source, dtype=dtype)
    from smoke import MODEL_CONFIGS, RandomModelFiles

    return Base(BASES["stable-diffusion"], RandomModelFiles(MODEL_CONFIGS["sd15"]), dtype=dtype)


def make_examples(folder: Path, count: int, side: int) -> list[Example]:
    """Squares of noise with captions."""
    made = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        made.append(Example(folder / f"{number}.png", f"a sks cat in place {number % 3}"))
    return made


def training_settings(steps: int, batch: int, use_cache: bool = True) -> TrainingSettings:
    return TrainingSettings(steps=steps, batch_size=batch, learning_rate=1e-4, cache_encodings=use_cache)


def attach_lora(base):
    return lycoris.attach({"unet": base.parts["unet"]}, "lora", layers=LAYERS, rank=RANK, alpha=ALPHA)


def adamw(parameters) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.1, fused=True)


def bare_step(base, batch: int) -> Callable[[], None]:
    """Forward, backward, optimiser: nothing else. The network is attached to the base."""
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
    """The inner loop of diffusers' text-to-image LoRA example, with PEFT, on a UNet of its own unless it is alone."""
    from diffusers import DDPMScheduler
    from peft import LoraConfig, inject_adapter_in_model

    unet = base.parts["unet"] if alone else copy.deepcopy(base.parts["unet"])
    names = ["to_q", "to_k", "to_v", "to_out.0"]
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=names), unet)
    unet.train()
    scheduler = DDPMScheduler.from_config(dict(base.scheduler_config))
    optimizer = adamw([p for p in unet.parameters() if p.requires_grad])
    everything = [np.asarray(Image.open(one.image).convert("RGB")) for one in examples]
    pixels = (torch.from_numpy(np.stack(everything)).permute(0, 3, 1, 2) / 127.5 - 1).to(base.device, base.dtype)
    tokenizer = base.tokenizer
    ids = tokenizer(
        [one.caption for one in examples], padding="max_length", truncation=True,
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
    """Median seconds a step of each way, taken in turns: the others' steps are done between two of ours."""
    base = load_base(source)
    times: dict[str, list[float]] = {way: [] for way in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        examples = make_examples(Path(folder), 2 * batch, base.resolution)
        theirs = {cached: diffusers_step(base, examples, batch, cached) for cached in (True, False)}
        network = attach_lora(base)
        with_kept = {"diffusers, cached": theirs[True], "bare": bare_step(base, batch)}
        for ours, cached, others in (
            ("ours", True, with_kept),
            ("ours, not cached", False, {"diffusers": theirs[False]}),
        ):
            began = time.perf_counter()

            def between(
                _: int, __: int, ___: float, ours: str = ours, others: dict[str, Callable[[], None]] = others
            ) -> None:
                nonlocal began
                synchronize()
                times[ours].append(time.perf_counter() - began)
                for way, step in others.items():
                    began = time.perf_counter()
                    step()
                    synchronize()
                    times[way].append(time.perf_counter() - began)
                began = time.perf_counter()

            train(
                base,
                TrainingJob(network, examples, training_settings(steps + 1, batch, cached), seed=0),
                progress=between,
            )
    return {way: statistics.median(values[1:]) for way, values in times.items()}


def measure_peak(source: str, variant: str, batch: int) -> float:
    """Peak memory of a process that does two steps one way, MiB; on a GPU, of its allocations."""
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
    """Seconds in steps of adapters of the pocket, trained here one after another or at once."""
    from lycoris import pocket

    base = open_base("pocket", device="cpu")
    paths = sorted((pocket.IMAGES / "stuffed_toys" / "biscuit").glob("*.png"))[:12]
    examples = [Example(path, f"a biscuit toy {number % 4}") for number, path in enumerate(paths)]
    chosen = TrainingSettings(steps=steps, batch_size=6, learning_rate=1e-3)
    made = [
        lycoris.attach(base.parts, name, preset="full", seed=seed, **CO_TRAINED[name])
        for seed, name in enumerate(names)
    ]
    if co_trained:
        results = co_train(base, [TrainingJob(network, examples, chosen, n) for n, network in enumerate(made)])
        return results[0].seconds
    for network in made:
        network.detach()
    seconds = 0.0
    for number, network in enumerate(made):
        network.reattach()
        seconds += train(base, TrainingJob(network, examples, chosen, seed=number)).seconds
        network.detach()
    return seconds


def run_processes(parts: list[list[str]], steps: int, co_trained: bool, threads: int) -> float:
    """Seconds until the last of some processes has done its adapters' steps."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, "several", ",".join(part), "--steps", str(steps), *["--at-once"] * co_trained],
            stdout=subprocess.PIPE, text=True, env=environment, stderr=subprocess.DEVNULL,
        )
        for part in parts
    ]  # fmt: skip
    return max(float(process.communicate()[0]) for process in started)


def compare_co_training(steps: int, rounds: int, cores: int) -> dict[str, dict[str, float]]:
    """Seconds a step of eight adapters, trained in three ways: each algorithm eight times, and all mixed."""
    found = {}
    for label, names in {**{name: [name] * 8 for name in CO_TRAINED}, "mixed": list(CO_TRAINED) * 2}.items():
        ordered = sorted(names)
        parts = [ordered[core::cores] for core in range(cores)]
        times: dict[str, list[float]] = {"one after another": [], "one a core": [], "together": []}
        for _ in range(rounds):
            times["one after another"].append(run_processes([ordered], steps, False, cores) / steps)
            times["one a core"].append(run_processes(parts, steps, False, 1) / steps)
            times["together"].append(run_processes(parts, steps, True, 1) / steps)
        found[label] = {way: statistics.median(values) for way, values in times.items()}
        row = "".join(f"{way} {seconds:6.3f} s   " for way, seconds in found[label].items())
        gain = found[label]["one after another"] / found[label]["together"]
        print(f"{label:8s}{row}{gain:.2f}x", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["loop", "memory", "together", "peak", "several"])
    parser.add_argument("source", nargs="?", default="pocket", help="pocket, sd15, or a folder")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--turns", type=int, default=3, help="of `together`")
    parser.add_argument("--way", choices=VARIANTS, default="ours", help="of `peak`")
    parser.add_argument("--at-once", action="store_true", help="of `several`")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if arguments.what == "several":
        print(train_several(arguments.source.split(","), arguments.steps, arguments.at_once))
        return
    if arguments.what == "peak":
        print(measure_peak(arguments.source, arguments.way, arguments.batch))
        return
    if arguments.what == "together":
        result = compare_co_training(arguments.steps, arguments.turns, len(os.sched_getaffinity(0)))
    elif arguments.what == "memory":
        command = [sys.executable, __file__, "peak", arguments.source, "--batch", str(arguments.batch), "--way"]
        result = {
            way: float(subprocess.run([*command, way], check=True, capture_output=True, text=True).stdout)
            for way in VARIANTS
        }
    else:
        result = compare_loops(arguments.source, arguments.batch, arguments.steps)
    if arguments.json:
        print(json.dumps(result))
    elif arguments.what != "together":
        unit = "MiB" if arguments.what == "memory" else "s a step"
        for way, value in result.items():
            print(f"{way:20s}{value:10.3f} {unit}   {value / result['ours']:.3f} of ours")


if __name__ == "__main__":
    main()
