"""`lycoris extract`: approximate the difference between two models by an adapter."""

from __future__ import annotations

from flows.cli.options import PATH, Arguments, argument, load_base_parts, option
from flows.cli.output import print_fit, print_lines

PARAMETERS = (
    argument("base", help="folder or hub name of the original model"),
    argument("tuned", help="folder or hub name of the fine-tuned model"),
    argument("target", type=PATH, help="the file or folder to write"),
    option("--algorithm", default="lora", help="lora (default), loha, lokr, full, norms, dylora or t-lora"),
    option("--preset", help="which layers; default: all"),
    option("--rank", type=int, help="the largest rank of a layer"),
    option("--energy", type=float, help="lora: choose each rank to keep this fraction of the squared singular values"),
    option("--factor", type=int, help="lokr: how dimensions are split"),
    option(
        "--format",
        help="lycoris, kohya, comfyui, diffusers or peft; default: opens in ComfyUI and, a LoRA, in diffusers",
    ),
    option("--dtype", default="float32", help="float16, bfloat16, float32 (default) or float64"),
)


def run(arguments: Arguments) -> int:
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
    print_fit(report, verbose=arguments.verbose)
    print_lines([arguments.target])
    return 0
