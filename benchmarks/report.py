"""Time, memory and page sizes of the analysis and the report of a large study.

    python benchmarks/report.py                         1,056 runs, 43 images each
    python benchmarks/report.py --seeds 1 --json        half of them
    python benchmarks/report.py --keep FOLDER           keeps the study in a folder

The study is synthetic: scores, curves, seconds and sizes are random numbers around invented effects, and its images are
those of the pocket, shifted and tinted so that all files differ. Its pages say nothing about any adapter.

A process of its own is measured: `analysis` reads scores.csv, ranks, compares, correlates, fits the SHAP models and
writes its tables and page; `report` writes the page of the run; `answer` that of the study, with the analysis in it.
`seconds` is wall-clock time, `processor` CPU time; `GB` is the peak memory of the process when the part is done, `MB`
the size of the page.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image, ImageChops

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from lycoris import pocket  # noqa: E402
from lycoris.data.concepts import load_concepts  # noqa: E402
from lycoris.data.images import read_image  # noqa: E402
from lycoris.metrics import METRICS, describe_metrics  # noqa: E402
from lycoris.terms import CAPTION_STRATEGIES, PROMPT_TYPES  # noqa: E402

ALGORITHM_EFFECTS = {"lora": 0.1, "loha": 0.0, "lokr": 0.15, "full": 0.2}
STRATEGY_EFFECTS = dict(zip(CAPTION_STRATEGIES, (0.1, 0.0, 0.05, 0.02), strict=True))
EPOCH_EFFECTS = {10: -0.1, 30: 0.0, 50: 0.02}
ENCODERS = {"image": ("clip", "dinov2"), "style": ("vgg",), "tags": ("tagger",)}
IMAGE_COUNTS = {name: entry.count for name, entry in PROMPT_TYPES.items() if entry.count}
PROMPT_TEMPLATES = ("{name}", "{name} on a beach", "{name} in the snow", "{name} in space", "a painting of {name}")


def write_study(folder: Path, concepts: int, seeds: int) -> int:
    """Write scores.csv, study.json and images, and return the number of runs."""
    rng = random.Random(0)
    concepts_used = load_concepts(pocket.IMAGES)[:concepts]
    names = [
        (f"{name}/{kind}/{encoder}", metric)
        for name, metric in METRICS.items()
        if metric.by_default and not metric.styles_only and metric.feature_kind in ENCODERS
        for kind in metric.prompt_types
        for encoder in ENCODERS[metric.feature_kind]
        if kind in IMAGE_COUNTS
    ]
    adapters, rows = [], []
    for concept in concepts_used:
        shift = rng.gauss(0, 0.1)
        for algorithm, one in ALGORITHM_EFFECTS.items():
            for strategy, two in STRATEGY_EFFECTS.items():
                for seed in range(seeds):
                    for epoch, three in EPOCH_EFFECTS.items():
                        adapter = _adapter(folder, concept, algorithm, strategy, seed, epoch, rng)
                        gain = one + two + three + shift
                        adapter["scores"] = {name: _score(name, metric, gain, rng) for name, metric in names}
                        adapters.append(adapter)
                        row = {
                            "concept": concept.name, "category": concept.category, "config": algorithm,
                            "algorithm": algorithm, "preset": "attn-mlp", "learning_rate": 0.0005,
                            "captions": strategy, "seed": seed, "epoch": epoch, "run_id": adapter["run_id"],
                        }  # fmt: skip
                        rows += [{**row, **score} for score in adapter["scores"].values()]
    pd.DataFrame(rows).to_csv(folder / "scores.csv", index=False)
    study = {
        "title": "Study synthetic: every number is made up",
        "command": "python benchmarks/report.py",
        "base": {"name": "pocket", "digest": "0"},
        "rule": "Made up.",
        "settings": {"epochs": 50},
        "concepts": [_concept(each) for each in concepts_used],
        "metrics": describe_metrics(),
        "bases": [
            {
                "concept": each.name,
                "captions": strategy,
                "drawings": _write_images(folder, each, f"{each.name}-base-{strategy}", rng),
            }
            for each in concepts_used
            for strategy in STRATEGY_EFFECTS
        ],
        "adapters": adapters,
    }
    (folder / "study.json").write_text(json.dumps(study))
    return len(adapters)


def _concept(concept: Any) -> dict[str, Any]:
    return {
        "name": concept.name,
        "category": concept.category,
        "trigger": concept.trigger,
        "class_noun": concept.class_noun,
        "description": concept.description,
        "references": [str(image.path) for image in concept.images],
        "captions": {name: [f"{concept.trigger}, in {name}"] * len(concept.images) for name in STRATEGY_EFFECTS},
    }


def _adapter(folder: Path, concept: Any, algorithm: str, strategy: str, seed: int, epoch: int, rng: Any) -> Any:
    name = f"{concept.name}-{algorithm}-{strategy}-{seed}-{epoch}"
    last = epoch == max(EPOCH_EFFECTS)
    steps = range(800) if last else ()
    return {
        "name": name,
        "concept": concept.name,
        "algorithm": algorithm,
        "captions": strategy,
        "seed": seed,
        "checkpoint": None if last else f"epoch {epoch}",
        "unit": "epoch",
        "file": f"runs/synthetic/adapters/{name}.safetensors",
        "bytes": round(2e5 * (1 + 4 * ALGORITHM_EFFECTS[algorithm])),
        "parameters": round(5e4 * (1 + 4 * ALGORITHM_EFFECTS[algorithm])),
        "pictures": len(concept.images),
        "run_id": f"{rng.getrandbits(128):032x}",
        "cached": False,
        "champion": last and (algorithm, strategy, seed) == ("lokr", "none", 0),
        "reason": "made up",
        "seconds": {"train": rng.lognormvariate(4, 0.2), "draw": rng.lognormvariate(2, 0.1)},
        "losses": [0.1 / (1 + step / 90) + rng.gauss(0, 0.01) for step in steps],
        "bands": {f"quarter_{part}": [0.1 * part] * 80 for part in (1, 2, 3, 4)} if last else {},
        "settings": {"algorithm": algorithm, "preset": "attn-mlp", "training": {"epochs": 50, "learning_rate": 0.0005}},
        "drawings": _write_images(folder, concept, name, rng),
    }


def _score(name: str, metric: Any, gain: float, rng: Any) -> dict[str, Any]:
    sign = 1 if metric.higher_is_better else -1
    base, width = 0.5, 0.04
    difference = sign * gain + rng.gauss(0, 0.1)
    return {
        "name": name, "value": base + difference, "low": base + difference - width, "high": base + difference + width,
        "base": base, "base_low": base - width, "base_high": base + width, "difference": difference,
        "difference_low": difference - width, "difference_high": difference + width, "note": "",
        "dimension": metric.dimension, "higher_is_better": metric.higher_is_better,
    }  # fmt: skip


def _write_images(folder: Path, concept: Any, name: str, rng: Any) -> dict[str, list[dict[str, Any]]]:
    own = folder / "images" / name
    own.mkdir(parents=True, exist_ok=True)
    records: dict[str, list[dict[str, Any]]] = {}
    for prompt_type, count in IMAGE_COUNTS.items():
        for index in range(count):
            image = read_image(rng.choice(concept.images).path)
            shifted = ImageChops.offset(image, rng.randrange(64), rng.randrange(64))
            file = own / f"{prompt_type}-{index:02d}.png"
            tint = Image.new("RGB", shifted.size, rng.choice(["red", "navy"]))
            Image.blend(shifted, tint, rng.random() / 5).save(file)
            prompt = PROMPT_TEMPLATES[index % len(PROMPT_TEMPLATES)].format(name=concept.trigger)
            records.setdefault(prompt_type, []).append({"image": str(file), "prompt": prompt, "seed": index})
    return records


def read_clocks() -> tuple[float, float]:
    """Wall-clock and CPU seconds."""
    return time.perf_counter(), time.process_time()


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """Analyze the study and write its pages, in this process."""
    from flows.studies.analysis import analyze_file
    from lycoris.analysis.statistics.category_effects import effects_by_category
    from lycoris.report import render
    from lycoris.report.study import page as study_page

    figures: dict[str, dict[str, float]] = {}

    def record(name: str, began: tuple[float, float], page: Path) -> None:
        seconds, processor = (now - then for now, then in zip(read_clocks(), began, strict=True))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        figures[name] = {"seconds": seconds, "processor": processor, "GB": peak, "MB": page.stat().st_size / 1e6}

    started = read_clocks()
    analysis = analyze_file(folder / "scores.csv", None, folder / "analysis")
    record("analysis", started, folder / "analysis" / "analysis.html")
    started = read_clocks()
    study = json.loads((folder / "study.json").read_text())
    record("report", started, render(study, folder / "report.html"))
    started = read_clocks()
    effects = effects_by_category(analysis.ranking, "captions")
    record("answer", started, study_page.render(
        effects, study, folder / "answer.html", factor="captions", question="Is any of this true?", analysis=analysis
    ))  # fmt: skip
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concepts", type=int, default=11)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder for the study; a study in it is reused")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        folder_used = arguments.keep or Path(folder)
        if not (folder_used / "study.json").is_file():
            write_study(folder_used, arguments.concepts, arguments.seeds)
        runs = len(json.loads((folder_used / "study.json").read_text())["adapters"])
        command = [sys.executable, __file__, "--measure", str(folder_used.resolve())]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, Any] = json.loads(done.splitlines()[-1])
    if arguments.json:
        cores = len(os.sched_getaffinity(0))
        print(json.dumps({"runs": runs, **figures, "machine": platform.machine(), "cores": cores}))
        return
    print(f"{runs} runs")
    for name, part in figures.items():
        print(f"{name:12s}{'   '.join(f'{key} {value:.3g}' for key, value in part.items())}")


if __name__ == "__main__":
    main()
