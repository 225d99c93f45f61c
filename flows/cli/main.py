"""The `lycoris` command."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli import captions, data, recommend, refresh, registry, study
from flows.config import scoring
from flows.runtime import local_servers
from flows.runtime.logging import NORMAL, QUIET, VERBOSE, configure_logging
from flows.runtime.prefect_server import configure_environment, describe_server_error, prefect_server
from lycoris.errors import InputError, unknown_name_error
from lycoris.safety.redaction import printable, redact

if TYPE_CHECKING:
    from flows.config.experiment import Experiment

RUN_DESCRIPTION = """\
Customize a text-to-image model to some pictures, in several ways, and measure what each way did.

With no arguments: the default experiment (experiment.yaml spells it out). It takes pictures from data/, captions
them in three ways, trains four kinds of adapters on the small embedded model, draws with each and with the
untouched model, scores five dimensions and writes one report.html. What was done before is not done again.
"""
RUN_EXAMPLES = """\
examples:
  lycoris run                                       the default experiment, about ten minutes on two cores
  lycoris run --set concepts=hornling --set algorithms=lora,lokr --set captions=none
  lycoris run --set data=my-photos                  your pictures, as my-photos/<category>/<class>/*.jpg
  lycoris run --set base=stable-diffusion-v1-5/stable-diffusion-v1-5 --set steps=800
  lycoris run my.yaml --set seeds=0,1,2 --json      one JSON object as the last line, for programs
  lycoris run --set 'algorithms=[lora, {algorithm: lokr, factor: 4}]'

options of an experiment (name, default, meaning):
"""

ANALYZE_DESCRIPTION = """\
Rank the adapters of a table of scores and say what each choice (algorithm, preset, captions, capacity, learning rate,
epoch) does to each metric: effects with intervals, trade-offs, correlations, SHAP values, as CSV files and one page.
"""

MIN_FREE_BYTES = 2**20
"""Bytes: a disk with less than this is full."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None for the process's own.

    Returns:
        0; 1 when a step failed; 2 when something the user gave is wrong; 130 after Ctrl-C.
    """
    configure_environment()
    arguments = _parser().parse_args(argv)
    configure_logging(QUIET if arguments.quiet else VERBOSE if arguments.verbose else NORMAL)
    try:
        return arguments.command(arguments)
    except InputError as error:
        print(f"lycoris: {printable(redact(str(error)))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nlycoris: stopped. What is finished is kept; the same command goes on from there.",
            file=sys.stderr,
        )
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lycoris", description="Customize text-to-image models, and know what the customization did."
    )
    detail = parser.add_mutually_exclusive_group()
    detail.add_argument("-v", "--verbose", action="store_true", help="show debug messages")
    detail.add_argument("--quiet", action="store_true", help="show only warnings and errors")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="train adapters on pictures, score them against their base, report",
        description=RUN_DESCRIPTION,
        epilog=RUN_EXAMPLES + _option_lines(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("experiment", nargs="?", type=Path, help="a YAML file of options (see below)")
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change one option; repeatable")
    run.add_argument("--json", action="store_true", help="print the result as one JSON object, last line of stdout")
    run.add_argument("--data-rev", metavar="REV", help="on the data of an earlier git revision or version")
    run.set_defaults(command=_run)

    captions.add(commands)
    study.add(commands)
    recommend.add(commands)
    refresh.add(commands)
    data.add(commands)
    registry.add(commands)
    local_servers.add(commands)

    convert = commands.add_parser("convert", help="rewrite an adapter file in another format, or as a plain LoRA")
    convert.add_argument("source", type=Path)
    convert.add_argument("target", type=Path)
    convert.add_argument("--format", default="lycoris", help="lycoris (default); peft: a folder; diffusers: a LoRA")
    convert.add_argument("--algorithm", metavar="lora", help="lora: a plain LoRA in every format")
    convert.add_argument("--base", help="the model it was made for, where names and shapes do not tell")
    convert.add_argument("--rank", type=int, help="as a LoRA of at most this rank; else of the rank the change has")
    convert.add_argument("--energy", type=float, help="as a LoRA that keeps this share of the squared singular values")
    convert.add_argument("--dtype", help="float32, float16, bfloat16, float64; by default the file's own")
    convert.set_defaults(command=_convert)

    analyze = commands.add_parser("analyze", help="what moves the scores of a table", description=ANALYZE_DESCRIPTION)
    analyze.add_argument("metrics", type=Path, help="a study's scores.csv, or a table with a column Folder")
    analyze.add_argument("--configs", type=Path, help="a table of what each configuration is (Config, Algo, ...)")
    analyze.add_argument("--out", type=Path, required=True, help="a folder for tables and analysis.html")
    analyze.add_argument("--json", action="store_true", help="print the result as one JSON object, last line of stdout")
    analyze.set_defaults(command=_analyze)

    scoring.add_parser(commands).set_defaults(command=scoring.run)

    extract = commands.add_parser("extract", help="make an adapter file of what tuning changed in a model")
    extract.add_argument("base", help="folder or name of the model before")
    extract.add_argument("tuned", help="and after")
    extract.add_argument("target", type=Path)
    extract.add_argument("--algorithm", default="lora", help="lora (default), loha, lokr, full, norms, dylora, t-lora")
    extract.add_argument("--preset", help="which layers; by default every one")
    extract.add_argument("--rank", type=int, help="at most this many a layer")
    extract.add_argument("--energy", type=float, help="for lora: the rank that keeps this share of the change")
    extract.add_argument("--factor", type=int, help="for lokr")
    extract.add_argument("--format", default="lycoris", help="lycoris (default), peft, diffusers")
    extract.add_argument("--dtype", default="float32", help="float32 (default), float16, bfloat16, float64")
    extract.set_defaults(command=_extract)
    return parser


def _option_lines() -> str:
    """The experiment's options, a line each, from the record itself."""
    from flows.config.experiment import NESTED_GROUPS, Experiment

    lines = []

    def add(prefix: str, model: Any) -> None:
        for name, field in model.model_fields.items():
            if name in NESTED_GROUPS:
                add(f"{name}.", NESTED_GROUPS[name])
                continue
            default: Any = None if field.is_required() else field.default
            if name == "algorithms":
                default = [entry.algorithm for entry in default]
            shown = ",".join(map(str, default)) if isinstance(default, tuple | list) else str(default)
            lines.append(f"  {prefix + name:<20} {'-' if default is None else shown:<26} {field.description or ''}")

    add("", Experiment)
    return "\n".join(lines)


def _run(arguments: argparse.Namespace) -> int:
    from flows.config.experiment import load_experiment

    chosen = () if arguments.data_rev is None else (f"data_rev={json.dumps(arguments.data_rev)}",)
    experiment = load_experiment(arguments.experiment, (*arguments.set, *chosen))

    def work() -> dict[str, Any]:
        from flows.customize import customize_flow

        return customize_flow(experiment)(experiment)

    result = with_prefect_server(experiment, work)
    failed = [adapter for adapter in result["adapters"] if adapter.get("error")]
    if arguments.json:
        sys.stdout.flush()
        print(json.dumps(result, allow_nan=False, default=os.fspath))
    return 1 if failed else 0


def with_prefect_server(experiment: Experiment, action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do the work of a flow with a Prefect server beside it.

    Raises:
        InputError: something that was given is wrong, or a disk is full.
    """
    from lycoris.cache.store import DISK_FULL_HINT, Store, is_full_disk

    validate_experiment(experiment)
    try:
        with prefect_server(experiment.output / "prefect"):
            try:
                return action()
            finally:
                Store(experiment.output / "store").remove_stale()
    except InputError:
        raise
    except Exception as error:  # a full disk stops databases too, each in its own words
        if is_full_disk(error) or shutil.disk_usage(experiment.output).free < MIN_FREE_BYTES:
            raise InputError(f"The disk that holds `{experiment.output}` is full. {DISK_FULL_HINT}") from error
        if (said := describe_server_error(error)) is not None:
            raise InputError(said) from error
        raise


def validate_experiment(experiment: Experiment) -> None:
    """Find what is wrong with an experiment before any server or worker is started.

    Raises:
        InputError: the data, the base or another network is not what it should be.
    """
    from lycoris import bases
    from lycoris.adapters.layers.presets import PRESETS
    from lycoris.bases.schedulers import build_scheduler
    from lycoris.captions import captioner_digest, read_templates, tagger_digest, templates_for_base
    from lycoris.data.concepts import load_concepts
    from lycoris.encoders.model_sources import resolve_source
    from tasks.data_versions.revisions import resolve_revision, versioned_project

    project = versioned_project(experiment.data, Path(__file__).resolve().parent.parent.parent)
    if not experiment.data.is_dir() and project is None:
        raise InputError(f"There is no data folder `{experiment.data}`.")
    if experiment.data_rev is not None:
        resolve_revision(experiment.data_rev, project)
    elif experiment.data.is_dir():
        found = load_concepts(experiment.data, experiment.concepts_file)
        experiment.select_concepts([concept.name for concept in found])
    bases.digest(experiment.base)
    tagger_digest(experiment.tagger, experiment.thresholds, experiment.vocabulary)
    if "sentence" in experiment.strategies:
        captioner_digest(experiment.captioner)
    if experiment.templates is not None:
        read_templates(experiment.templates, templates_for_base(experiment.base))
    for name in (*experiment.encoders, experiment.style_encoder):
        resolve_source(name)
    build_scheduler(bases.load_scheduler_config(experiment.base), experiment.sampling_settings()["scheduler"])
    for adapter in experiment.algorithms:
        preset = experiment.adapter_settings(adapter)["preset"]
        if preset not in PRESETS:
            raise unknown_name_error("preset", preset, PRESETS)


def _convert(arguments: argparse.Namespace) -> int:
    import lycoris

    report = lycoris.convert(
        arguments.source,
        arguments.target,
        format=arguments.format,
        model=None if arguments.base is None else _adaptable_modules(arguments.base),
        algorithm=arguments.algorithm,
        rank=arguments.rank,
        energy=arguments.energy,
        dtype=arguments.dtype,
    )
    if report.layers:
        print(report)
    print(arguments.target)
    return 0


def _analyze(arguments: argparse.Namespace) -> int:
    from flows.studies.analysis import analyze_file
    from lycoris.analysis.statistics.paper_findings import evaluate_findings
    from lycoris.analysis.text.effect_text import describe_effects, describe_leads
    from lycoris.report.analysis.files import json_line

    command = redact(" ".join(["lycoris", *sys.argv[1:]]))
    found = analyze_file(arguments.metrics, arguments.configs, arguments.out, command=command)
    told = [one.sentence for one in evaluate_findings(found.ranking, found.effects) if one.evidence]
    for line in [*found.notes, *describe_effects(found.effects), describe_leads(found.leaders), *told]:
        print(line)
    print(arguments.out / "analysis.html", flush=True)
    if arguments.json:
        print(json_line(found))
    return 0


def _extract(arguments: argparse.Namespace) -> int:
    import lycoris

    network, report = lycoris.extract(
        _adaptable_modules(arguments.base),
        _adaptable_modules(arguments.tuned),
        arguments.algorithm,
        preset=arguments.preset,
        rank=arguments.rank,
        energy=arguments.energy,
        factor=arguments.factor,
    )
    network.save(arguments.target, format=arguments.format, dtype=arguments.dtype)
    print(report)
    print(arguments.target)
    return 0


def _adaptable_modules(source: str) -> dict[str, Any]:
    """The modules of a base model that can be adapted."""
    from lycoris import bases

    return bases.open_base(source, device="cpu", dtype="float32").parts


if __name__ == "__main__":
    sys.exit(main())
