"""`lycoris convert`: rewrite an adapter file in another format."""

from __future__ import annotations

from typing import Any

from flows.cli.options import PATH, Arguments, argument, load_base_parts, option
from flows.cli.output import print_fit, print_lines
from lycoris.pocket import EMBEDDED_BASES

PARAMETERS = (
    argument("source", type=PATH, help="the adapter file, or a PEFT folder"),
    argument("target", type=PATH, help="the file or folder to write"),
    option(
        "--format",
        default="lycoris",
        help="lycoris (default), kohya, comfyui, diffusers (a plain LoRA) or peft (a folder)",
    ),
    option("--algorithm", metavar="lora", help="lora: convert to a plain LoRA in any format"),
    option("--base", help="the base model; needed where the file does not determine the layers"),
    option("--rank", type=int, help="convert to a LoRA of at most this rank; default: the exact rank"),
    option("--energy", type=float, help="convert to a LoRA that keeps this fraction of the squared singular values"),
    option("--dtype", help="float16, bfloat16, float32 or float64; default: that of the file"),
)
ARGUMENT_NAMES = {"model": "base"}


def run(arguments: Arguments) -> int:
    """Convert the file, which is known to be of the pocket's layers if its header says so."""
    import lycoris

    report = lycoris.convert(
        arguments.source,
        arguments.target,
        format=arguments.format,
        model=_load_model(arguments),
        algorithm=arguments.algorithm,
        rank=arguments.rank,
        energy=arguments.energy,
        dtype=arguments.dtype,
    )
    print_fit(report, verbose=arguments.verbose)
    print_lines([arguments.target])
    return 0


def _load_model(arguments: Arguments) -> dict[str, Any] | None:
    import lycoris

    base = arguments.base
    if base is None and arguments.source.is_file():
        named = lycoris.read_metadata(arguments.source).get("base")
        base = named if named in EMBEDDED_BASES else None
    return None if base is None else load_base_parts(base)
