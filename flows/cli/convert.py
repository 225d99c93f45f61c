"""`lycoris convert`: rewrite an adapter file in another format."""

from __future__ import annotations

import argparse
from pathlib import Path

from flows.cli.options import load_base_parts
from flows.cli.output import print_lines

HELP = "rewrite an adapter file in another format or as a plain LoRA"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("source", type=Path, help="the adapter file, or a PEFT folder")
    parser.add_argument("target", type=Path, help="the file or folder to write")
    parser.add_argument(
        "--format",
        default="lycoris",
        help="lycoris (default), kohya, comfyui, diffusers (a plain LoRA) or peft (a folder)",
    )
    parser.add_argument("--algorithm", metavar="lora", help="lora: convert to a plain LoRA in any format")
    parser.add_argument("--base", help="the base model; needed where the file does not determine the layers")
    parser.add_argument("--rank", type=int, help="convert to a LoRA of at most this rank; default: the exact rank")
    parser.add_argument(
        "--energy", type=float, help="convert to a LoRA that keeps this fraction of the squared singular values"
    )
    parser.add_argument("--dtype", help="float16, bfloat16, float32 or float64; default: that of the file")


def run(arguments: argparse.Namespace) -> int:
    """Convert the file."""
    import lycoris

    report = lycoris.convert(
        arguments.source,
        arguments.target,
        format=arguments.format,
        model=None if arguments.base is None else load_base_parts(arguments.base),
        algorithm=arguments.algorithm,
        rank=arguments.rank,
        energy=arguments.energy,
        dtype=arguments.dtype,
    )
    print_lines([*(str(report).splitlines() if report.layers else ()), arguments.target])
    return 0
