"""`lycoris extract`: approximate the difference between two models by an adapter."""

from __future__ import annotations

import argparse
from pathlib import Path

from flows.cli.options import load_base_parts
from flows.cli.output import print_lines

HELP = "approximate the difference between two models by an adapter file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("base", help="folder or hub name of the original model")
    parser.add_argument("tuned", help="folder or hub name of the fine-tuned model")
    parser.add_argument("target", type=Path, help="the file or folder to write")
    parser.add_argument("--algorithm", default="lora", help="lora (default), loha, lokr, full, norms, dylora or t-lora")
    parser.add_argument("--preset", help="which layers; default: all")
    parser.add_argument("--rank", type=int, help="the largest rank of a layer")
    parser.add_argument(
        "--energy", type=float, help="lora: choose each rank to keep this fraction of the squared singular values"
    )
    parser.add_argument("--factor", type=int, help="lokr: how dimensions are split")
    parser.add_argument(
        "--format",
        help="lycoris, kohya, comfyui, diffusers or peft; default: opens in ComfyUI and, a LoRA, in diffusers",
    )
    parser.add_argument("--dtype", default="float32", help="float16, bfloat16, float32 (default) or float64")


def run(arguments: argparse.Namespace) -> int:
    """Extract and save the adapter."""
    import lycoris

    network, report = lycoris.extract(
        load_base_parts(arguments.base),
        load_base_parts(arguments.tuned),
        arguments.algorithm,
        preset=arguments.preset,
        rank=arguments.rank,
        energy=arguments.energy,
        factor=arguments.factor,
    )
    network.save(arguments.target, format=arguments.format, dtype=arguments.dtype)
    print_lines([*str(report).splitlines(), arguments.target])
    return 0
