"""`lycoris plan`: what an experiment takes of memory and compute, before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.cli.options import EXPERIMENT, Arguments, experiment_overrides, option
from flows.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from flows.studies.card_plan import AdapterPlan

DESCRIPTION = """\
Tell what the trainings of an experiment will take, before weights are downloaded or anything is started: parameters,
the layers that are adapted, the peak memory of each phase, the FLOPs of a step, hours on a card. It reads the base's
configurations alone and runs the real steps on tensors that have shapes and no values.

Shapes, parameters and FLOPs are exact. Memory is that of the tensors; a GPU's own context, fragments of its memory and
the buffers of its libraries are not in it. Hours are FLOPs over a share of the maker's rate, and no measurement.

  lycoris plan my.yaml --gpu 12GB           what to change so that it fits; write `fit: 12GB` to have it chosen
  lycoris plan my.yaml --gpu rtx-4090       the card's memory and its rate
  lycoris plan my.yaml                      for the GPU of this machine, or its CPU
"""
PARAMETERS = (
    *EXPERIMENT,
    option("--gpu", metavar="CARD", help="memory of a GPU, such as 12GB, or a card: rtx-3060, rtx-4090, h100, ..."),
    option(
        "--tflops", type=float, metavar="N", help="10^12 FLOPs a second that are reached, in place of an assumed share"
    ),
)


def epilog() -> str:
    """Return the cards and their rates."""
    from lycoris.planning.cards import CARDS, REACHED_SHARE
    from lycoris.planning.sizes import gigabytes

    rows = [f"  {card.name:<18} {gigabytes(card.memory):>9}   {card.tflops:g} TFLOPS" for card in CARDS.values()]
    return "\n".join(["cards, with the rate of their makers, of which", f"{REACHED_SHARE:.0%} is assumed:", *rows])


def run(arguments: Arguments) -> int:
    """Print the plan of every adapter setting."""
    import torch

    from flows.config.loading import load_experiment
    from flows.studies.card_plan import plan_experiment
    from lycoris.errors import InputError
    from lycoris.planning.cards import CARDS, REACHED_SHARE, parse_memory

    if arguments.tflops is not None and not arguments.tflops > 0:
        raise InputError(f"Argument `tflops` must be above 0, but got {arguments.tflops:g}.")
    experiment = load_experiment(arguments.experiment, experiment_overrides(arguments))
    wanted = arguments.gpu or experiment.fit
    memory = None if wanted is None else parse_memory(wanted)
    on_gpu = wanted is not None or torch.cuda.is_available()
    plans = plan_experiment(experiment, on_gpu=on_gpu, memory=memory)
    card = CARDS.get(wanted or "")
    rate, share = (card.tflops, REACHED_SHARE) if card else (None, 1.0)
    if arguments.tflops is not None:
        rate, share = arguments.tflops, 1.0
    for plan in plans:
        print_lines([*format_plan(plan, rate, share), ""])
    if arguments.json:
        hours = {plan.label: None if rate is None else plan.hours(rate, share) for plan in plans}
        print_json({"adapters": [{**plan.as_json(), "hours": hours[plan.label]} for plan in plans]})
    return 0


def format_plan(plan: AdapterPlan, rate: float | None, share: float) -> list[str]:
    """Describe the plan of one adapter, in lines.

    Args:
        rate: 10^12 FLOPs a second of a card; None if no card was named.
        share: share of it that is reached.
    """
    from lycoris.planning.sizes import gigabytes

    work, base, training = plan.plan, plan.plan.base, plan.plan.training
    layers = ", ".join(f"{count} of {part}" for part, count in training.layers.items())
    lines = [
        f"{plan.label} on {base.family}, {base.resolution} pixels, {base.tokens} tokens of a caption, {base.dtype}",
        f"  adapter     {training.parameters:,} parameters in {sum(training.layers.values())} layers: {layers}",
        "  base        "
        + ", ".join(f"{part} {count:,} ({gigabytes(base.bytes[part])})" for part, count in base.parameters.items()),
    ]
    titles = {
        "captions": "encoding captions",
        "latents": "encoding images",
        "training": "training",
        "prompts": "encoding prompts",
        "denoising": "generating",
        "decoding": "decoding images",
        "scoring": "scoring",
    }
    for name, phase in work.phases.items():
        mark = "   <- peak" if name == work.peak_phase else ""
        parts = f"weights {gigabytes(phase.resident)}, beyond them {gigabytes(phase.working)}"
        title = f"  {'memory' if name == 'captions' else '':<11} {titles[name]:<18}"
        lines.append(f"{title}{gigabytes(phase.peak):>9}   {parts}{mark}")
    compute = f"  compute     {training.step_flops / 1e12:.3g} TFLOP a step, {plan.steps} steps"
    if rate is not None:
        reached = f"at {rate:g} TFLOPS" if share == 1 else f"at {share:.0%} of {rate:g} TFLOPS, an assumption"
        compute += f": about {_format_hours(plan.hours(rate, share))} with {plan.images} images, {reached}"
    lines.append(compute)
    if plan.choice is not None:
        lines += [f"  {'fit' if number == 0 else '':<11} {line}" for number, line in enumerate(plan.choice.lines)]
    return lines


def _format_hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"
