"""`lycoris score` as the user gives it: what is to be scored, against what, and how the answer is told."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.config.experiment import ConfigRecord, Experiment, load_experiment
from lycoris.data.concepts import Concept, load_concepts
from lycoris.errors import InputError, unknown_name_error
from lycoris.safety.redaction import printable
from lycoris.terms import RESIZE_MODES, TAG_STRATEGIES, CaptionStrategy, ResizeMode

DESCRIPTION = """\
Score adapter files that were made anywhere, or folders of drawn pictures, beside their base: five dimensions, every
number with its interval, and one report.html.

An adapter may be in any format that `lycoris convert` reads. A folder of pictures has a text file with the caption
beside each picture; folders in it named train, trigger, alter, style or plain are taken for these prompt types. The
base draws the same prompts with the same seeds.
"""
EXAMPLES = """\
examples:
  lycoris score horned.safetensors --base pocket --data data --concept grumble
  lycoris score one.safetensors two.safetensors --data my-photos --prompts prompts.txt --json
  lycoris score drawn/ --data my-photos --raters clip_iqa --set images.alter=100
"""


class ScoringConfig(ConfigRecord):
    """What is scored and how."""

    files: tuple[Path, ...]
    experiment: Experiment
    concept: str | None = None
    captions: CaptionStrategy | None = None
    prompts: Path | None = None
    images_per_prompt: int = 4
    quality_predictors: tuple[str, ...] = ()
    metrics: tuple[str, ...] | None = None
    resize_mode: ResizeMode = RESIZE_MODES[0]


@dataclass(frozen=True, eq=False)
class ScoringTarget:
    """One file or folder to be scored.

    Attributes:
        name: what it is called in the report.
        file: where it is.
        concept: whose it is.
        strategy: of the captions that `train` prompts are made of.
        header: what an adapter file says of itself.
    """

    name: str
    file: Path
    concept: str
    strategy: str
    header: Mapping[str, str]


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = commands.add_parser(
        "score",
        help="score an adapter file or a folder of pictures beside its base",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="adapter files, or folders of pictures")
    parser.add_argument("--base", default="pocket", help="pocket (default), a diffusers folder, or a hub name")
    parser.add_argument("--data", type=Path, required=True, help="the concept's pictures, as for `lycoris run`")
    parser.add_argument("--concept", help="which of the folder's; default: what the file says, or the only one")
    parser.add_argument("--captions", choices=TAG_STRATEGIES, help="of prompts of the type train")
    parser.add_argument("--prompts", type=Path, help="a file of prompts, a line each, or JSON: prompt type -> prompts")
    parser.add_argument("--each", type=int, default=4, help="pictures of each of its prompts (4)")
    parser.add_argument("--raters", help="clip_iqa, aesthetics=FILE, liqe, maniqa, lpips; with commas between")
    parser.add_argument("--metrics", help="names with commas between; default: all that need not be asked for")
    parser.add_argument("--mode", choices=RESIZE_MODES, default=RESIZE_MODES[0], help="of resizing")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="where everything is kept (runs)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of `lycoris run`")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object, last line of stdout")
    return parser


def parse_request(arguments: argparse.Namespace) -> ScoringConfig:
    """The record of a command line, checked as far as files and names go.

    Raises:
        InputError: a file is absent, or a name is unknown.
    """
    from lycoris.metrics import METRICS

    for file in arguments.files:
        if not file.exists():
            raise InputError(f"There is no adapter file or folder of pictures `{file}`.")
    if arguments.each < 1:
        raise InputError(f"Option `--each` must be at least 1, but got {arguments.each}.")
    if not arguments.data.is_dir():
        raise InputError(f"There is no data folder `{arguments.data}`.")
    named = None if arguments.metrics is None else tuple(arguments.metrics.split(","))
    for name in named or ():
        if name not in METRICS:
            raise unknown_name_error("metric", name, METRICS)
    fixed = (f"base={json.dumps(arguments.base)}", f"data={json.dumps(str(arguments.data))}", "name=score")
    return ScoringConfig(
        files=tuple(arguments.files),
        experiment=load_experiment(None, (*fixed, f"output={json.dumps(str(arguments.out))}", *arguments.set)),
        concept=arguments.concept,
        captions=arguments.captions,
        prompts=arguments.prompts,
        images_per_prompt=arguments.each,
        quality_predictors=tuple(arguments.raters.split(",")) if arguments.raters else (),
        metrics=named,
        resize_mode=arguments.mode,
    )


def resolve_target(file: Path, request: ScoringConfig, concepts: Mapping[str, Concept]) -> ScoringTarget:
    """What a file is, as far as its header and the command line say.

    Raises:
        InputError: the file is not what it should be, or its concept is unknown.
    """
    from lycoris.adapters.files.checkpoint_reader import read_metadata

    header = {} if file.is_dir() else read_metadata(file)
    name = request.concept or header.get("concept")
    if name is None or (request.concept is None and name not in concepts):
        if len(concepts) != 1:
            raise InputError(
                f"`{file}` does not say which concept it is of: add `--concept`, one of {', '.join(concepts)}."
            )
        name = next(iter(concepts))
    if name not in concepts:
        raise unknown_name_error("concept", name, concepts)
    told = header.get("captions")
    strategy = request.captions or (told if told in TAG_STRATEGIES else "none")
    return ScoringTarget(file.stem or file.name, file, name, strategy, header)


def concepts_by_name(request: ScoringConfig) -> dict[str, Concept]:
    """The concepts of the data folder by name."""
    found = load_concepts(request.experiment.data, request.experiment.concepts_file)
    return {concept.name: concept for concept in found}


def run(arguments: argparse.Namespace) -> int:
    """Score, and tell."""
    from flows.runtime.prefect_server import prefect_server

    asked = parse_request(arguments)
    known = concepts_by_name(asked)
    for file in asked.files:
        resolve_target(file, asked, known)
    with prefect_server(asked.experiment.output / "prefect"):
        from flows.score import run_score

        result = run_score(asked)
    for entry in result["adapters"]:
        print(printable(f"\n{entry['file']}: {entry.get('error') or entry['concept']}"))
        print("\n".join(score_lines(entry.get("scores", {}).values())))
    for pair in result["differences"]:
        shown = [each for each in pair["scores"].values() if each["verdict"] in ("better", "worse")]
        print(
            f"\n{pair['first']} beside {pair['second']}: {len(shown) or 'no'} difference{'s' * (len(shown) > 1)} shown"
        )
        print("\n".join(score_lines(shown)))
    print(f"\n{result['report']}", flush=True)
    if arguments.json:
        print(json.dumps(result, allow_nan=False, default=os.fspath))
    return 1 if any("error" in entry for entry in result["adapters"]) else 0


def score_lines(scores: Sequence[Mapping[str, Any]] | Any) -> list[str]:
    """Scores as a table of text, a line each."""
    return [
        f"  {each['name']:<46}{_format_number(each['value'])} {_format_interval(each, ''):<20} base {_format_number(each['base'])}"  # noqa: E501
        f"  {each['verdict'] or each['note']}"
        for each in scores
    ]


def _format_number(value: float | None) -> str:
    return "       -" if value is None else f"{value:8.4g}"


def _format_interval(score: Mapping[str, Any], of: str) -> str:
    low, high = score[f"{of}low"], score[f"{of}high"]
    return "" if low is None else f"[{low:.4g}, {high:.4g}]"
