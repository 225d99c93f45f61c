"""`lycoris merge`: one adapter file of several."""

from __future__ import annotations

from flows.cli.options import PATH, Arguments, argument, load_base_parts, option, scaled_files
from flows.cli.output import print_fit, print_lines
from lycoris.errors import InputError

PARAMETERS = (
    argument(
        "files",
        nargs=-1,
        required=True,
        metavar="FILE[:WEIGHT]...",
        help="adapter files of any dialect and algorithm, each with its weight (default: 1)",
    ),
    option("--out", required=True, type=PATH, help="the file to write, or a folder with --format peft"),
    option("--weights", metavar="W,W,...", help="one number for each file, with commas between"),
    option(
        "--method",
        default="sum",
        help="sum (default): exact; linear: of the factors; ties, dare, dare-ties or magnitude: of whole updates",
    ),
    option("--rank", type=int, help="of each layer at most; default: what the sum needs, so that nothing is lost"),
    option("--energy", type=float, help="instead of --rank: keep this fraction of the squared singular values"),
    option("--density", type=float, default=0.5, help="ties, dare, magnitude: share of the values that are kept (0.5)"),
    option("--seed", type=int, default=0, help="dare: of what is dropped (0)"),
    option("--base", help="the base model; needed for DoRA and where the files do not determine the layers"),
    option("--format", help="lycoris, kohya, comfyui, diffusers or peft; default: opens in ComfyUI and diffusers"),
    option("--dtype", help="float16, bfloat16, float32 or float64; default: the widest of the files"),
)
ARGUMENT_NAMES = {"sources": "files", "target": "out", "model": "base"}


def run(arguments: Arguments) -> int:
    """Merge the files."""
    import lycoris

    files = scaled_files(arguments.files)
    weights = [weight for _, weight in files]
    if arguments.weights is not None:
        if any(weight != 1 for weight in weights):
            raise InputError("Give the weights either as `FILE:WEIGHT` or by `--weights`.")
        weights = _numbers(arguments.weights)
    report = lycoris.merge_adapters(
        [path for path, _ in files],
        arguments.out,
        weights=weights,
        settings=lycoris.MergeSettings(
            arguments.method, arguments.rank, arguments.energy, arguments.density, arguments.seed
        ),
        model=None if arguments.base is None else load_base_parts(arguments.base),
        format=arguments.format,
        dtype=arguments.dtype,
    )
    print_fit(report, verbose=arguments.verbose)
    print_lines([arguments.out])
    return 0


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise InputError(f"Option `--weights` must be numbers with commas between, but got `{text}`.") from None
