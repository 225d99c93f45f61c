"""`lycoris run`: run one experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows.cli.listing import read_listing
from flows.cli.options import EXPERIMENT, Arguments, experiment_overrides, option
from flows.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from flows.config.experiment import Experiment

DESCRIPTION = """\
Customize a text-to-image model to a set of images in several ways and measure what each way did.

Without arguments it runs the default experiment, which experiment.yaml spells out: it takes images from data/,
captions them under three strategies, trains four kinds of adapters on the small embedded model, generates images
with each adapter and with the base model, scores five dimensions and writes one report.html. Finished work is
cached and never repeated.
"""
EXAMPLES = """\
examples:
  lycoris run                                       the default experiment, about ten minutes on two cores
  lycoris run --set concepts=bop --set algorithms=lora,lokr --set captions=none
  lycoris run --set data=my-photos                  your images, as my-photos/<category>/<class>/*.jpg
  lycoris run --set data=my-photos --set base=stable-diffusion-v1-5/stable-diffusion-v1-5 --set captions=none
  lycoris run --set data=my-photos --plan           how long that takes, and what is cached
  lycoris run my.yaml --set seeds=0,1,2 --json      one JSON object on the last line, for programs
  lycoris run --set 'algorithms=[{algorithm: lora, rank: 32, alpha: 16}, {algorithm: lokr, factor: 4}]'
"""


PARAMETERS = (
    *EXPERIMENT,
    option("--plan", is_flag=True, help="print what would be run, how long it takes and what is cached, and stop"),
)


def epilog() -> str:
    """Return the examples, the options of an experiment and of an adapter, and the names that they take."""
    return f"{EXAMPLES}{read_listing('run')}"


def build_listing() -> str:
    """Build the list of options and names that `flows.cli.listing` keeps."""
    from flows.config.adapter import AdapterConfig
    from flows.config.experiment import Experiment
    from lycoris.adapters import ALGORITHMS
    from lycoris.adapters.layers.presets import PRESETS
    from lycoris.bases.schedulers import SCHEDULERS

    names = {"algorithms": ALGORITHMS, "presets": PRESETS, "schedulers": SCHEDULERS}
    lines = [
        "options of an experiment (name, default, meaning):",
        *_option_lines("", Experiment),
        "",
        "options of an adapter (a list of values is one adapter for each):",
        *_option_lines("", AdapterConfig),
        "",
        *(f"{kind}: {', '.join(table)}" for kind, table in names.items()),
    ]
    return "\n".join(line.rstrip() for line in lines)


def _option_lines(prefix: str, model: type[BaseModel]) -> list[str]:
    from flows.config.experiment import Experiment
    from flows.config.loading import NESTED_GROUPS

    lines = []
    for name, field in model.model_fields.items():
        if model is Experiment and name in NESTED_GROUPS:
            lines += _option_lines(f"{name}.", NESTED_GROUPS[name])
        else:
            default = "-" if prefix and field.is_required() else _format_default(field)
            lines.append(f"  {prefix + name:<25} {default:<22} {field.description or ''}")
    return lines


def _format_default(field: FieldInfo) -> str:
    """The default of an option; where that is none, whether its meaning says what is used instead."""
    if field.is_required():
        return "required"
    if field.default is None:
        return "(see meaning)" if "default:" in (field.description or "") else "-"
    if isinstance(field.default, tuple | list):
        return ",".join(getattr(item, "algorithm", str(item)) for item in field.default)
    return str(field.default)


def verdict_lines(verdicts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the verdict on each concept, with the file and the trigger of its adapter."""
    lines = []
    for verdict in verdicts:
        texts = [*verdict["sentences"]]
        if verdict["cautions"]:
            texts.append(f"This says little yet: {'; '.join(verdict['cautions'])}.")
        lines += ["", f"{verdict['concept']:<9} {texts[0]}", *(f"{'':<10}{text}" for text in texts[1:])]
        if verdict["file"]:
            prompt = f"   trigger: {verdict['trigger']}, as in: {verdict['prompt']}" if verdict["prompt"] else ""
            lines.append(f"adapter   {verdict['file']}{prompt}")
    return lines


def print_plan(experiment: Experiment) -> int:
    """Print what an experiment would do, its time and its storage; no training is started."""
    from flows.config.preflight import validate_experiment
    from flows.studies.plan import describe_plan

    validate_experiment(experiment)
    print_lines(describe_plan(experiment))
    return 0


def run(arguments: Arguments) -> int:
    """Run the experiment; 1 if an adapter failed."""
    from flows.config.loading import load_experiment
    from flows.runtime.session import with_prefect_server

    experiment = load_experiment(arguments.experiment, experiment_overrides(arguments))
    if arguments.plan:
        return print_plan(experiment)

    def customize() -> dict[str, Any]:
        from flows.customize import run_customize

        return run_customize(experiment)

    result = with_prefect_server(experiment, customize)
    print_lines(verdict_lines(result["verdicts"]))
    if arguments.json:
        print_json(result)
    return 1 if any(adapter.get("error") for adapter in result["adapters"]) else 0
