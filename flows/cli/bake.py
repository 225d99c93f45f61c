"""`lycoris bake`: write a checkpoint with adapters in its weights."""

from __future__ import annotations

from flows.cli.options import PATH, Arguments, argument, option, scaled_files
from flows.cli.output import print_lines, print_message

PARAMETERS = (
    argument("base", help="the base model: a folder, a single file, a hub name or `pocket`"),
    argument(
        "adapters",
        nargs=-1,
        required=True,
        metavar="FILE[:SCALE]...",
        help="adapter files, each with the factor of its update (default: 1)",
    ),
    option("--out", required=True, type=PATH, help="a .safetensors file (SD 1.x, 2.x, XL, 3), or a folder"),
    option("--dtype", help="of all weights: float32, bfloat16 or float16; default: each keeps its own"),
    option("--tokenizer", help="of a single file that is written as a folder: where its vocabulary is"),
    option("--components", help="of a single file with a transformer: its other parts, a folder or hub name"),
    option("--prediction-type", help="of a single file that does not state it: epsilon or v_prediction"),
)
ARGUMENT_NAMES = {"source": "base", "target": "out"}


def run(arguments: Arguments) -> int:
    """Write the checkpoint."""
    import lycoris
    from lycoris.bases.baking import ScaledAdapter

    result = lycoris.bake(
        arguments.base,
        [ScaledAdapter(path, scale) for path, scale in scaled_files(arguments.adapters)],
        arguments.out,
        dtype=arguments.dtype,
        tokenizer=arguments.tokenizer,
        prediction_type=arguments.prediction_type,
        components=arguments.components,
    )
    for path, count in result.layers.items():
        print_message(f"{path}: {count} layers")
    print_message(f"norm of the change: {result.norm:.4g}")
    print_lines([result.path])
    return 0
