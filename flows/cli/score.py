"""`lycoris score`: score adapter files and folders of images that were made elsewhere."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.cli.listing import read_listing
from flows.cli.options import JSON, PATH, Arguments, argument, option, override, overrides
from flows.cli.output import print_json, print_lines
from lycoris.errors import InputError, missing_path_error, unknown_name_error
from lycoris.terms import CAPTION_STRATEGIES, DIMENSIONS, HEADLINE_SCORES, RESIZE_MODES

if TYPE_CHECKING:
    from flows.config.scoring import ScoringConfig

DESCRIPTION = """\
Score adapter files from any trainer, or folders of generated images, against their base model: five dimensions, a
confidence interval for every number, and one report.html.

An adapter file may have any format that `lycoris convert` reads. In a folder of images, each image has a text file with
its prompt beside it; subfolders named train, trigger, alter, style, plain or neighbour set the prompt type. The base
model generates images for the same prompts and seeds. For images without prompts, only the metrics of images alone are
computed, without a base beside them.
"""
EXAMPLES = """\
examples:
  lycoris score horned.safetensors --base pocket --data data --concept grumble
  lycoris score one.safetensors two.safetensors --data my-photos --prompts prompts.txt --json
  lycoris score generated/ --data my-photos --quality-predictors clip_iqa --set images.alter=100
"""
READING = (
    "A difference is that of the same prompts and seeds, with its 95 % interval: better or worse where 0 is outside "
    "and it is large enough to matter."
)
LABEL_WIDTHS = {False: 17, True: 46}
"""Characters of the first column: a dimension, or the name of a score."""


PARAMETERS = (
    argument("files", nargs=-1, required=True, type=PATH, metavar="FILE...", help="adapter files or folders of images"),
    option("--base", default="pocket", help="an embedded base (default: pocket), a folder, a file, or a hub name"),
    option("--data", type=PATH, required=True, help="the images of the concept, as for `lycoris run`"),
    option("--concept", help="concept of the files; default: what the file says, or the only concept"),
    option(
        "--captions",
        type=click.Choice(tuple(CAPTION_STRATEGIES)),
        help="strategy of the prompt type train; sentence needs a captioner (--set captioner=...); default: what the "
        "file says if that needs tags alone, else none",
    ),
    option(
        "--protocol",
        metavar="NAME=DIR",
        help="prompts, images per prompt and metrics of dreambench, dreambench_plus, customconcept101 or peft, from a "
        "local copy of its data",
    ),
    option("--prompts", type=PATH, help="a text file, one prompt a line, or JSON: prompt type -> prompts"),
    option(
        "--images-per-prompt",
        type=int,
        metavar="N",
        help="images for each prompt of --prompts (4) or --protocol (as published)",
    ),
    option(
        "--quality-predictors",
        metavar="NAME[=SOURCE],...",
        help="measures with a network of their own, such as clip_iqa, vqa_score=FOLDER; docs/metrics.md lists them",
    ),
    option("--look-alikes", type=PATH, metavar="DIR", help="images of other things that look like the concept"),
    option("--metrics", metavar="NAME,...", help="see the list below; default: all marked with *"),
    option(
        "--resize-mode",
        type=click.Choice(tuple(RESIZE_MODES)),
        default="resize",
        help="resizing of reference images",
    ),
    option("--out", type=PATH, default=Path("runs"), help="output folder (runs)"),
    overrides(),
    JSON,
)


def epilog() -> str:
    """Return the examples and the names of the metrics."""
    return f"{EXAMPLES}\n{read_listing('score')}"


def build_listing() -> str:
    """Build the list of metrics that `flows.cli.listing` keeps."""
    from lycoris.metrics import METRICS

    names = ", ".join(f"{name}{'*' if metric.by_default else ''}" for name, metric in METRICS.items())
    listing = textwrap.fill(names, 110, initial_indent="  ", subsequent_indent="  ")
    return f"metrics (* by default, those of learned predictors with --quality-predictors):\n{listing}"


def run(arguments: Arguments) -> int:
    """Score the files and print every score; 1 if a file failed."""
    from flows.config.preflight import validate_scoring
    from flows.runtime.prefect_server import prefect_server

    request = parse_request(arguments)
    validate_scoring(request)
    with prefect_server(request.experiment.output / "prefect"):
        from flows.score import run_score

        result = run_score(request)
    print_lines(summary_lines(result, verbose=arguments.verbose))
    if arguments.json:
        print_json(result)
    return 1 if any("error" in entry for entry in result["adapters"]) else 0


def parse_request(arguments: Arguments) -> ScoringConfig:
    """Return the request of a command line.

    Raises:
        InputError: A file does not exist, a number is out of range, or a name is unknown.
    """
    from flows.config.loading import load_experiment
    from flows.config.scoring import ScoringConfig
    from lycoris.data.protocols import PROTOCOLS
    from lycoris.metrics import METRICS
    from lycoris.metrics.quality_predictors import check_sources

    for file in arguments.files:
        if not file.exists():
            raise missing_path_error("adapter file or folder of images", file)
    protocol = None if arguments.protocol is None else parse_protocol(arguments.protocol)
    per_prompt = arguments.images_per_prompt
    if per_prompt is None:
        per_prompt = 4 if protocol is None else PROTOCOLS[protocol[0]].images_per_prompt
    if per_prompt < 1:
        raise InputError(f"Option `--images-per-prompt` must be at least 1, but got {per_prompt}.")
    if not arguments.data.is_dir():
        raise missing_path_error("data folder", arguments.data)
    metrics = None if arguments.metrics is None else tuple(arguments.metrics.split(","))
    for name in metrics or ():
        if name not in METRICS:
            raise unknown_name_error("metric", name, METRICS)
    if metrics is None and protocol is not None:
        metrics = PROTOCOLS[protocol[0]].metrics
    predictors = tuple(arguments.quality_predictors.split(",")) if arguments.quality_predictors else ()
    check_sources(predictors)
    if arguments.look_alikes is not None and not arguments.look_alikes.is_dir():
        raise InputError(f"There is no folder of look-alikes `{arguments.look_alikes}`.")
    options = (
        override("base", arguments.base),
        override("data", arguments.data),
        override("name", "score"),
        override("output", arguments.out),
    )
    return ScoringConfig(
        files=tuple(arguments.files),
        experiment=load_experiment(None, (*options, *arguments.overrides)),
        concept=arguments.concept,
        captions=arguments.captions,
        prompts=arguments.prompts,
        images_per_prompt=per_prompt,
        protocol=protocol,
        quality_predictors=predictors,
        look_alikes=arguments.look_alikes,
        metrics=metrics,
        resize_mode=arguments.resize_mode,
    )


def parse_protocol(text: str) -> tuple[str, Path]:
    """Return the name and the data folder in the value of ``--protocol``.

    Raises:
        InputError: The protocol is unknown, or there is no such folder.
    """
    from lycoris.data.protocols import PROTOCOLS

    name, _, folder = text.partition("=")
    if name not in PROTOCOLS:
        raise unknown_name_error("protocol", name, PROTOCOLS)
    if not folder or not Path(folder).is_dir():
        raise InputError(f"Option `--protocol {name}=DIR` needs a folder with its data, but got `{text}`.")
    return name, Path(folder)


def summary_lines(result: Mapping[str, Any], *, verbose: bool) -> list[str]:
    """Return the scores of every file beside the base and of every two files, then the page.

    Args:
        result: That of `flows.score.score`.
        verbose: Whether all scores are listed; else one for each dimension.
    """
    lines = []
    digits = score_digits(entry.get("scores", {}) for entry in result["adapters"])
    for entry in result["adapters"]:
        about = entry.get("error") or f"{entry['concept']}, differences to the base"
        lines += ["", f"{entry['file']}: {about}"]
        if entry.get("not_computed"):
            lines.append(f"  not computed without captions: {', '.join(entry['not_computed'])}")
        scores = list(entry.get("scores", {}).values())
        lines += score_lines(scores if verbose else headline_scores(scores), digits, verbose=verbose)
    for pair in result["differences"]:
        scores = list(pair["scores"].values())
        shown = sum(score["verdict"] in ("better", "worse") for score in scores)
        lines += ["", f"{pair['first']} beside {pair['second']}: {shown or 'no'} of {len(scores)} differences shown"]
        lines += score_lines(scores if verbose else headline_scores(scores), digits, verbose=verbose)
    remark = (
        [] if verbose else ["one score for each dimension; all of them: on the page, or here with `lycoris -v score`"]
    )
    return [*lines, "", READING, *remark, result["report"]]


def headline_scores(scores: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return for each dimension the score that stands for it, else its first."""
    from lycoris.analysis.text.formatting import order_key

    chosen: dict[str, Mapping[str, Any]] = {}
    for score in scores:
        dimension = score["dimension"]
        stands = score["name"].startswith(f"{HEADLINE_SCORES.get(dimension)}/")
        known = dimension in chosen and chosen[dimension]["name"].startswith(f"{HEADLINE_SCORES.get(dimension)}/")
        if dimension not in chosen or (stands and not known):
            chosen[dimension] = score
    return [chosen[name] for name in sorted(chosen, key=lambda name: order_key(DIMENSIONS, name))]


def score_digits(tables: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, int | None]:
    """Return score name -> decimals, those of the report: the same for every file."""
    from lycoris.analysis.text.formatting import decimal_places

    values: dict[str, list[float | None]] = {}
    for scores in tables:
        for name, score in scores.items():
            values.setdefault(name, []).extend((score["value"], score["base"]))
    return {name: decimal_places(own) for name, own in values.items()}


def score_lines(
    scores: Iterable[Mapping[str, Any]], digits: Mapping[str, int | None], *, verbose: bool = False
) -> list[str]:
    """Format scores as a table, one line each: what decides, the verdict, then the two values behind it.

    What decides is the paired difference with its interval; for preservation it is the distance from the base.

    Args:
        scores: of `flows.score.score`.
        digits: of :func:`score_digits`.
        verbose: whether each line begins with the name of the score; else with its dimension.
    """
    from lycoris.analysis.text.formatting import format_interval, format_number

    rows = []
    for score in scores:
        places = digits.get(score["name"], 3)
        label = score["name"] if verbose else score["dimension"]
        if is_distance(score):
            deciding = f"{format_number(score['value'], places)} {format_interval(score['low'], score['high'], places)}"
            rows.append((label, deciding, "a distance from the base", ""))
            continue
        deciding = (
            f"{format_number(score['difference'], places, signed=True)} "
            f"{format_interval(score['difference_low'], score['difference_high'], places)}"
        )
        values = f"{format_number(score['value'], places)} beside {format_number(score['base'], places)}"
        name = "" if verbose else f"   {score['name']}"
        verdict = score["verdict"] or score["note"]
        rows.append((label, deciding, verdict or "", f"{values}{name}"))
    smallest = (LABEL_WIDTHS[verbose] - 2, 28, 19, 0)
    widths = [max(least, *map(len, column)) for least, column in zip(smallest, zip(*rows, strict=True), strict=False)]
    return [
        "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def is_distance(score: Mapping[str, Any]) -> bool:
    """Whether a score is a distance from the base's own images, which have 0 by definition."""
    return score["dimension"] == "preservation" and not score["higher_is_better"] and score["base"] == 0
