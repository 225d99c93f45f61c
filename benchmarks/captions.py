"""What tagging costs beside the bare network, and what parsing and strategies cost for very many captions.

    python benchmarks/captions.py
    python benchmarks/captions.py --tagger FOLDER --pictures 500 --device cuda --json

`tagging` takes turns in one process, by the clock and of the processors: the network alone on tensors that are there;
ours from pictures in memory; and ours from files, as a run tags a new folder: hashed, opened, resized, tagged and kept.
The bare network is given the same batches. `text` parses the text files of very many pictures, finds what is inherent
and writes the captions of every strategy, in seconds of the processor. Each figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from lycoris.captions import STRATEGY_FUNCTIONS, build_captions, find_concept_tags, open_tagger  # noqa: E402
from lycoris.captions.sidecar import format_tags, parse_tags  # noqa: E402
from lycoris.captions.taggers.tag_cache import compute_cached  # noqa: E402
from lycoris.data.concepts import Concept, ConceptImage  # noqa: E402


def time_call(work: Callable[[], Any]) -> tuple[float, float]:
    """By the clock and of the processors."""
    started = time.perf_counter(), time.process_time()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started[0], time.process_time() - started[1]


def benchmark_tagging(source: str, count: int, side: int, rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each way to tag the same pictures, by the clock and of the processors."""
    tagger: Any = open_tagger(source, device)
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(count)]
    batch = tagger.batch_size
    pixels = torch.stack([tagger.preprocessing(image) for image in pictures]).to(device)

    @torch.inference_mode()
    def bare() -> None:
        for start in range(0, count, batch):
            tagger.model(pixel_values=pixels[start : start + batch]).logits.sigmoid().cpu()

    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, image in enumerate(pictures):
            files.append(Path(folder) / f"{number}.png")
            image.save(files[-1], compress_level=1)
        ways: dict[str, Callable[[int], Any]] = {
            "bare": lambda turn: bare(),
            "ours": lambda turn: tagger.tags(pictures),
            "ours, from files": lambda turn: compute_cached(Path(folder) / f"kept{turn}", {}, files, tagger.tags),
            "ours, known": lambda turn: compute_cached(Path(folder) / f"kept{turn}", {}, files, tagger.tags),
        }
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for turn in range(rounds + 1):
            for name, way in ways.items():
                taken[name].append(time_call(lambda way=way, turn=turn: way(turn)))
    return {name: [statistics.median(kind) for kind in zip(*times[1:], strict=True)] for name, times in taken.items()}


def benchmark_captions(count: int, rounds: int) -> dict[str, float]:
    """Processor seconds for the text files of `count` pictures in one class, and for their captions."""
    rng = random.Random(0)
    words = [f"tag {number} (of it)" for number in range(2000)]
    texts = [format_tags([*("1girl", "long_hair"), *rng.sample(words, 18)]) for _ in range(count)]
    pictures = tuple(ConceptImage(Path(f"{number}.png"), f"a/b/{number}.png") for number in range(count))
    concept = Concept("b", "a", "sks", "girl", "anime girl", None, (), (), pictures)
    taken: dict[str, list[float]] = {"parsing": [], "inherent": [], **{name: [] for name in STRATEGY_FUNCTIONS}}
    for _ in range(rounds):
        started = time.process_time()
        tags = [dict.fromkeys(parse_tags(one), 1.0) for one in texts]
        taken["parsing"].append(time.process_time() - started)
        started = time.process_time()
        inherent = find_concept_tags(concept, tags, [])
        taken["inherent"].append(time.process_time() - started)
        for name in STRATEGY_FUNCTIONS:
            started = time.process_time()
            build_captions(concept, tags, inherent, name, sentences=["a girl on a beach"] * count)
            taken[name].append(time.process_time() - started)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tagger", default="pocket", help="pocket, a folder or a hub name of a transformers tagger")
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--side", type=int, default=64, help="of the pictures, in pixels")
    parser.add_argument("--captions", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    chosen = parser.parse_args()
    tagged = benchmark_tagging(chosen.tagger, chosen.pictures, chosen.side, chosen.rounds, chosen.device)
    written = benchmark_captions(chosen.captions, min(chosen.rounds, 3))
    ratio = [ours / bare for ours, bare in zip(tagged["ours"], tagged["bare"], strict=True)]
    whole = sum(written.values())
    print(f"{chosen.tagger} on {chosen.pictures} pictures of {chosen.side} x {chosen.side}, {chosen.device}")
    for name, (clock, processor) in tagged.items():
        ratios = clock / tagged["bare"][0], processor / tagged["bare"][1]
        print(
            f"  {name:<18}{clock:8.3f} s  {ratios[0]:5.2f} x bare; of processors{processor:8.3f} s  {ratios[1]:5.2f} x"
        )
    print(f"{chosen.captions} captions of 20 tags")
    for name, taken in written.items():
        print(f"  {name:<18}{taken:8.3f} s")
    print(f"  {'together':<18}{whole:8.3f} s")
    if chosen.json:
        machine = f"{len(os.sched_getaffinity(0))} {platform.machine()} cores"
        found = {"machine": machine, "tagging": tagged, "tagging_ratio": ratio, "text": written, "text_seconds": whole}
        print(json.dumps(found))


if __name__ == "__main__":
    main()
