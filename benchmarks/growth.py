"""How the pipeline's own cost grows: with concepts, images, finished adapters, versions and worker processes.

    python -m benchmarks.growth                       the ends of `SIZES`
    python -m benchmarks.growth --largest 100         no end above 100
    python -m benchmarks.growth --only images,stages --json
    python -m benchmarks.growth --smoke               sizes 2, 4 and 8, for a test

Each line prepares a synthetic project of every size, without trainings, and does what an unchanged run does with it:

    concepts   reads a data folder of that many concepts of three images, and hashes its files
    images     the same with that many images of one concept
    stages     finds that many finished adapters in the store, by key and checksums
    ranks      ranks that many adapters of one concept by twenty scores each
    logged     finds that many logged adapters of a study in MLflow
    versions   reads one version by its number from a registry with that many of its concept
    workers    starts that many worker processes, and waits for a step of each

Figures: CPU seconds of this process and its ended children, MB of Python objects at most (in a second turn, of this
process), MB on disk, statements sent to the database. A figure `f` of sizes `n` is fitted by `f = a n^b` (least squares
of the logarithms) over the sizes where `f` is above `SMALLEST`, as start-up costs hide the growth of smaller ones; `-`
where fewer than two are. Exponents above `LIMIT` are marked by `!`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lycoris import pocket

SIZES = {
    "concepts": (1, 3, 10, 30),
    "images": (10, 100, 1_000, 10_000),
    "stages": (1, 10, 100, 1_000),
    "ranks": (10, 100, 1_000),
    "logged": (1, 10, 100, 1_000),
    "versions": (1, 10, 100, 1_000, 10_000),
    "workers": (1, 2),
}
"""Line -> its sizes; the last is the end that is wanted."""
SMALLEST = {"cpu_s": 0.004, "peak_mb": 0.5, "disk_mb": 0.0, "statements": 1}
"""Figure -> the least value that is fitted."""
LIMIT = 1.1
TURNS = 3
Work = Callable[[], object]


def prepare_data(folder: Path, concepts: int, images: int) -> Work:
    """A data folder whose images are links to those of the pocket; reading and hashing it."""
    from lycoris.data.concepts import images_digest, load_concepts
    from tasks.data_versions.manifest import build_manifest, manifest_hash

    sources = sorted(pocket.IMAGES.rglob("*.png"))
    for concept in range(concepts):
        own = folder / "toys" / f"toy{concept:03d}"
        own.mkdir(parents=True)
        for image in range(images):
            (own / f"{image:05d}.png").hardlink_to(_copy(folder.parent, sources[image % len(sources)]))
    entries = {
        f"toy{concept:03d}": {"category": "toys", "class_noun": "toy", "trigger": f"trigger{concept}"}
        for concept in range(concepts)
    }
    (folder / "concepts.yaml").write_text(json.dumps({"concepts": entries}))

    def work() -> object:
        found = load_concepts(folder)
        assert len(found) == concepts
        return [images_digest(each) for each in found], manifest_hash(build_manifest(folder)[0])

    return work


def _copy(folder: Path, source: Path) -> Path:
    """A copy of an image beside the data folder, on whose file system links to it can be made."""
    copy = folder / f"source-{source.parent.name}-{source.name}"
    if not copy.exists():
        shutil.copyfile(source, copy)
    return copy


def prepare_stages(folder: Path, count: int) -> Work:
    """Finished adapters of 100 KB in a store; finding all of them."""
    from lycoris.cache.store import Store

    store = Store(folder)
    for seed in range(count):
        with store.create("adapter", {"seed": seed}) as stage:
            (stage / "adapter.safetensors").write_bytes(seed.to_bytes(4, "big") * 25_000)

    def work() -> object:
        found = [store.find("adapter", {"seed": seed}) for seed in range(count)]
        assert None not in found
        return found

    return work


def prepare_ranks(folder: Path, count: int) -> Work:
    """Twenty random scores of each adapter; ranking them."""
    from lycoris.analysis.statistics.ranks import dimension_ranks

    values = np.random.default_rng(0).random((count, 20))
    rows: Any = [
        {"adapter": f"{adapter:05d}", "name": f"image_similarity/alter/{encoder}", "value": float(value),
         "dimension": "fidelity", "higher_is_better": True}
        for adapter, own in enumerate(values) for encoder, value in enumerate(own)
    ]  # fmt: skip
    return lambda: dimension_ranks(rows)


def prepare_logged(folder: Path, count: int, experiment: str = "study") -> Work:
    """Finished runs of a study with a version each; finding all of them."""
    from tasks.data_versions.manifest import DataVersion
    from tasks.tracking.adapter_runs import find_logged
    from tasks.tracking.client import connect, tracking_server
    from tasks.tracking.models import KEY_TAG
    from tasks.tracking.runs import PARENT_TAG, open_study

    version = DataVersion("0" * 32 + ".dir", folder / "data", 1, 1, "unchanged")
    study = open_study(tracking_server(folder), experiment, "key", {}, version)
    client = connect(study.server)
    parent = client.get_run(study.run_id).info.experiment_id
    client.create_registered_model("toy")
    for number in range(count):
        tags = {KEY_TAG: f"key {number}", PARENT_TAG: study.run_id}
        run = client.create_run(parent, tags=tags, run_name=f"adapter {number}").info.run_id
        client.set_terminated(run, "FINISHED")
        client.create_model_version("toy", f"file:///none/{number}", run, tags={KEY_TAG: f"key {number}"})

    def work() -> object:
        found = find_logged(study)
        assert len(found) == count
        return found

    return work


def prepare_versions(folder: Path, count: int) -> Work:
    """Versions of one concept; reading the first by its number."""
    from tasks.tracking.client import connect, tracking_server
    from tasks.tracking.registry import get_version

    server = tracking_server(folder)
    client = connect(server)
    client.create_registered_model("toy")
    for number in range(count):
        client.create_model_version("toy", f"file:///none/{number}", tags={"data.version": "0"})
    return lambda: get_version(server, "toy@1")


def prepare_workers(folder: Path, count: int) -> Work:
    """Worker processes as `lycoris run` starts them, without Prefect's engine."""
    from flows.runtime.task_runner import start_worker

    def work() -> object:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(count, context, start_worker, (count,)) as pool:
            return list(pool.map(time.sleep, [0.5] * count))

    return work


PREPARE: dict[str, Callable[[Path, int], Work]] = {
    "concepts": lambda folder, count: prepare_data(folder, count, 3),
    "images": lambda folder, count: prepare_data(folder, 1, count),
    "stages": prepare_stages,
    "ranks": prepare_ranks,
    "logged": prepare_logged,
    "versions": prepare_versions,
    "workers": prepare_workers,
}


def cpu_seconds() -> float:
    """CPU time of this process and its ended children."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def measure(line: str, size: int) -> dict[str, float]:
    """Prepare a line at one size, do its work once unmeasured, then `TURNS` times; the median of the CPU times."""
    import sqlalchemy

    statements = [0]

    def count(*_: object) -> None:
        statements[0] += 1

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "project"
        folder.mkdir()
        work = PREPARE[line](folder, size)
        disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if line != "workers":
            work()
        seconds = []
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", count)
        for _ in range(TURNS):
            statements[0], began = 0, cpu_seconds()
            work()
            seconds.append(cpu_seconds() - began)
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", count)
        sent = statements[0]
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return {"cpu_s": float(np.median(seconds)), "peak_mb": peak / 1e6, "disk_mb": disk / 1e6, "statements": sent}


def exponent(sizes: Sequence[int], values: Sequence[float], smallest: float) -> float | None:
    """The power of a line over its values above `smallest`, or None where fewer than two are."""
    points = [(size, value) for size, value in zip(sizes, values, strict=True) if value > smallest]
    return float(np.polyfit(*np.log(points).T, 1)[0]) if len(points) > 1 else None


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SIZES), help="lines, separated by commas")
    parser.add_argument("--largest", type=int, help="leave out sizes above this one")
    parser.add_argument("--smoke", action="store_true", help="sizes 2, 4 and 8")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    arguments = parser.parse_args(argv)
    lines = arguments.only.split(",")
    if unknown := set(lines) - set(SIZES):
        parser.error(f"unknown lines {', '.join(sorted(unknown))}; known: {', '.join(SIZES)}")
    results: dict[str, Any] = {}
    for line in lines:
        wanted = (2, 4, 8) if arguments.smoke and line != "workers" else SIZES[line]
        sizes = [size for size in wanted if arguments.largest is None or size <= arguments.largest]
        figures = [measure(line, size) for size in sizes]
        powers = {name: exponent(sizes, [each[name] for each in figures], least) for name, least in SMALLEST.items()}
        results[line] = {"sizes": sizes, "figures": figures, "powers": powers}
        print(f"\n{line}\n{'size':>8}" + "".join(f"{name:>12}" for name in SMALLEST))
        for size, each in zip(sizes, figures, strict=True):
            print(f"{size:>8}" + "".join(f"{each[name]:>12.3g}" for name in SMALLEST), flush=True)
        shown = (f"{'-' if b is None else f'{b:.2f}' + '!' * (b > LIMIT):>12}" for b in powers.values())
        print(f"{'power':>8}" + "".join(shown), flush=True)
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
