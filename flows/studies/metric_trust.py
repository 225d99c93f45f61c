"""How far each metric can be trusted: a finished study on the pocket world, held against what its drawings truly show.

    python -m flows.studies.metric_trust runs                        the table
    python -m flows.studies.metric_trust runs --write docs/metrics.md  and put it into the page, between its marks
    python -m flows.studies.metric_trust runs --json                 every metric, encoder and resize mode, each
    with its interval

Everything comes from the study's store: its drawings, their prompts and the headers of its adapters. Drawings are
square, so modes of resizing differ on the references alone; those are widened by their edges, in turn to the sides and
up and down, as people's pictures are of any shape.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from flows.runtime.prefect_server import configure_environment
from lycoris.analysis.statistics.metric_validity import render_validity_table, validate_metrics
from lycoris.errors import InputError
from lycoris.terms import RESIZE_MODES

if TYPE_CHECKING:
    from lycoris.metrics.features import FeatureSet
    from lycoris.pocket.models.ground_truth import ConceptJudge

PADDED_ASPECT = 1.5
PAGE_MARKERS = ("<!-- trust -->", "<!-- /trust -->")


@dataclass(frozen=True)
class AdapterImages:
    """What one adapter of a study drew, and where the base's drawings of the same prompts are."""

    concept: str
    name: str
    folder: Path
    prompts: Mapping[str, list[dict[str, Any]]]


def load_study_images(runs: Path) -> tuple[list[AdapterImages], dict[tuple[str, int], Path]]:
    """The adapters' drawings in a study's store, and the base's by prompt and seed.

    Raises:
        InputError: the store holds no drawings of adapters.
    """
    from lycoris.adapters.files.checkpoint_reader import read_metadata
    from lycoris.pocket.world.concepts import CONCEPTS
    from tasks.generate import PROMPTS_FILE
    from tasks.runtime.adapter_training import ADAPTER_FILE

    adapters: dict[str, AdapterImages] = {}
    base: dict[tuple[str, int], Path] = {}
    stages = sorted((runs / "store" / "images").glob("*/stage.json"), key=lambda path: path.stat().st_mtime)
    for record in stages:
        adapter = json.loads(record.read_text())["inputs"]["adapter"]
        prompts = json.loads((record.parent / PROMPTS_FILE).read_text())
        if adapter is None:
            for kind, some in prompts.items():
                for number, prompt in enumerate(some):
                    base[prompt["text"], prompt["seed"]] = record.parent / kind / f"{number:03d}.png"
            continue
        file = runs / "store" / "adapter" / adapter / ADAPTER_FILE
        header = read_metadata(file) if file.is_file() else {}
        if header.get("concept") in CONCEPTS:
            adapters[adapter] = AdapterImages(header["concept"], adapter, record.parent, prompts)
    if not adapters:
        raise InputError(f"The store in `{runs}` holds no drawings of adapters of the pocket's concepts.")
    return list(adapters.values()), base


def images_by_prompt_type(
    adapter: AdapterImages, base: Mapping[tuple[str, int], Path]
) -> Iterator[tuple[str, list[Image.Image], list[Image.Image] | None]]:
    """By prompt type an adapter's drawings, and the base's of the same prompts; None where it lacks one."""
    from lycoris.data.images import read_image

    for kind, prompts in adapter.prompts.items():
        images = [read_image(adapter.folder / kind / f"{n:03d}.png") for n in range(len(prompts))]
        keys = [(prompt["text"], prompt["seed"]) for prompt in prompts]
        yield kind, images, [read_image(base[key]) for key in keys] if all(key in base for key in keys) else None


def ground_truth(
    adapter: AdapterImages, base: Mapping[tuple[str, int], Path], oracle: ConceptJudge
) -> dict[str, dict[str, float]]:
    """By prompt type what an adapter's drawings are truly worth; see `lycoris.pocket.models.ground_truth.truths`."""
    from lycoris.pocket.models.ground_truth import true_scores

    return {
        kind: true_scores(oracle, images, [prompt["text"] for prompt in adapter.prompts[kind]], before)
        for kind, images, before in images_by_prompt_type(adapter, base)
    }


def pad_edges(image: Image.Image, vertically: bool) -> Image.Image:
    """A picture made longer by its edges."""
    more = round(min(image.size) * (PADDED_ASPECT - 1) / 2)
    sides = ((more, more), (0, 0), (0, 0)) if vertically else ((0, 0), (more, more), (0, 0))
    return Image.fromarray(np.pad(np.asarray(image), sides, mode="edge"))


def collect_scores(runs: Path, encoders: Sequence[str], style: str, tagger: str) -> list[dict[str, Any]]:
    """Every score of every adapter under every resize mode, beside the truth of its dimension.

    Returns:
        ``{"concept", "adapter", "kind", "metric", "encoder", "mode", "value", "truth"}`` records, both numbers
        turned so that higher is better.
    """
    from lycoris.captions import open_tagger
    from lycoris.data.concepts import load_concepts
    from lycoris.data.images import read_image
    from lycoris.encoders import open_encoder, open_style_encoder
    from lycoris.metrics import METRICS, GeneratedImages, PromptSpec, compare, encode, encode_references
    from lycoris.pocket import IMAGES
    from lycoris.pocket.models.ground_truth import ConceptJudge

    drawn, base = load_study_images(runs)
    eyes, brush, namer = [open_encoder(each) for each in encoders], open_style_encoder(style), open_tagger(tagger)
    records: list[dict[str, Any]] = []
    for concept in load_concepts(IMAGES, names=sorted({each.concept for each in drawn})):
        oracle = ConceptJudge(concept.name)
        log_line(f"{concept.name}: the oracle's reading is right on {oracle.accuracy:.3f} of pictures it has not seen")
        pictures = [pad_edges(read_image(p.path), vertically=n % 2 == 1) for n, p in enumerate(concept.images)]
        known = {
            mode: encode_references(pictures, eyes, brush, category=concept.category, mode=mode)
            for mode in RESIZE_MODES
        }
        before: dict[Any, FeatureSet] = {}
        for each in (one for one in drawn if one.concept == concept.name):
            shown, control = {}, {}
            for kind, images, own in images_by_prompt_type(each, base):
                conditions = [PromptSpec(**prompt) for prompt in each.prompts[kind]]
                shown[kind] = GeneratedImages(kind, images, conditions)
                if own is not None:
                    control[kind] = GeneratedImages(kind, own, conditions)
            told = ground_truth(each, base, oracle)
            seen = encode(
                shown, eyes, brush, category=concept.category, tagger=namer, concept_names=[oracle.concept_phrase]
            )
            unchanged = {}
            for kind, some in control.items():
                key = (kind, tuple((p.text, p.seed) for p in some.prompts))
                if key not in before:
                    before[key] = encode({kind: some}, eyes, brush, category=concept.category)[kind]
                unchanged[kind] = before[key]
            for mode in RESIZE_MODES:
                scores = compare(
                    known[mode], seen, unchanged, category=concept.category, metrics=list(METRICS), resamples=2
                )
                for score in scores:
                    metric, kind, encoder = score.name.split("/")
                    truth = told[kind].get(score.dimension)
                    if score.value is None or truth is None:
                        continue
                    records.append(
                        {
                            "concept": concept.name, "adapter": each.name, "kind": kind, "metric": metric,
                            "encoder": encoder, "mode": mode,
                            "value": score.value if score.higher_is_better else -score.value, "truth": truth,
                        }
                    )  # fmt: skip
        log_line(f"{concept.name}: {len({r['adapter'] for r in records if r['concept'] == concept.name})} adapters")
    return records


def write_table(text: str, page: Path) -> None:
    """Put a text between the marks of a page.

    Raises:
        InputError: the page has no marks.
    """
    whole = page.read_text(encoding="utf-8")
    before, start, rest = whole.partition(PAGE_MARKERS[0])
    _, end, after = rest.partition(PAGE_MARKERS[1])
    if not start or not end:
        raise InputError(f"Page `{page}` must have the marks `{PAGE_MARKERS[0]}` and `{PAGE_MARKERS[1]}`.")
    page.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


def log_line(text: str) -> None:
    """One line to the person who waits."""
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; 2 when something that was given is wrong."""
    configure_environment()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the output folder of a study on the pocket's concepts")
    parser.add_argument("--encoders", default="clip,dinov2,convnextv2")
    parser.add_argument("--style", default="vgg")
    parser.add_argument("--tagger", default="pocket")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    parser.add_argument("--json", action="store_true", help="print one JSON object, last line of stdout")
    arguments = parser.parse_args(argv)
    try:
        rows = validate_metrics(
            collect_scores(arguments.runs, arguments.encoders.split(","), arguments.style, arguments.tagger)
        )
        text = render_validity_table(rows)
        print(text, flush=True)
        if arguments.write:
            write_table(text, arguments.write)
    except InputError as error:
        print(f"lycoris: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps({"trust": rows}, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
