"""`lycoris resize`: rewrite an adapter file with a smaller rank."""

from __future__ import annotations

from flows.cli.options import PATH, Arguments, argument, load_base_parts, option
from flows.cli.output import print_fit, print_lines
from lycoris.errors import InputError

PARAMETERS = (
    argument("source", type=PATH, help="the adapter file of any dialect and algorithm, or a PEFT folder"),
    argument("target", type=PATH, help="the file to write, or a folder for a PEFT folder"),
    option("--rank", type=int, help="of each layer at most"),
    option(
        "--energy",
        type=float,
        help="for each layer the smallest rank that keeps this fraction of the squared singular values",
    ),
    option("--error", type=float, help="for each layer the smallest rank whose relative error is at most this"),
    option("--base", help="the base model; needed for DoRA and other updates that depend on its weights"),
    option("--dtype", help="float16, bfloat16, float32 or float64; default: that of the file"),
)
ARGUMENT_NAMES = {"model": "base"}


def run(arguments: Arguments) -> int:
    """Resize the file."""
    import lycoris

    limits = {name: getattr(arguments, name) for name in ("rank", "energy", "error")}
    if sum(value is not None for value in limits.values()) != 1:
        raise InputError("Give one of `--rank`, `--energy` and `--error`.")
    energy = arguments.energy
    if arguments.error is not None:
        if not 0 <= arguments.error < 1:
            raise InputError(f"Option `--error` must be in [0, 1), but got {arguments.error!r}.")
        energy = 1 - arguments.error**2
    report = lycoris.resize(
        arguments.source,
        arguments.target,
        rank=arguments.rank,
        energy=energy,
        model=None if arguments.base is None else load_base_parts(arguments.base),
        dtype=arguments.dtype,
    )
    print_fit(report, verbose=arguments.verbose)
    print_lines([arguments.target])
    return 0
