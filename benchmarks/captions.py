"""The cost of tagging compared with the bare network, and of parsing and caption strategies for many images.

    python benchmarks/captions.py
    python benchmarks/captions.py --tagger FOLDER --images 500 --device cuda --json

`tagging` runs in one process, alternating between the bare network on prepared tensors, the tagger on images in memory,
and the tagger on files, as a run tags a new folder: hashed, opened, resized, tagged and cached. The bare network gets
the same batches. `text` parses the text files of many images, finds the concept's tags, and writes the captions of
every strategy. Each number is the median over the rounds.
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


def time_call(function: Callable[[], Any]) -> tuple[float, float]:
    """Return the wall-clock and the processor seconds of a call."""
    started = time.perf_counter(), time.process_time()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started[0], time.process_time() - started[1]


def benchmark_tagging(source: str, count: int, side: int, rounds: int, device: str) -> dict[str, list[float]]:
    """Return the median wall-clock and processor seconds of each variant on the same images."""
    tagger: Any = open_tagger(source, device)
    network = tagger.network
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(count)]
    batch = network.batch_size
    pixels = torch.stack([network.preprocessing(image) for image in images]).to(device)

    @torch.inference_mode()
    def run_network() -> None:
        for start in range(0, count, batch):
            network.model(pixel_values=pixels[start : start + batch]).logits.sigmoid().cpu()

    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, image in enumerate(images):
            files.append(Path(folder) / f"{number}.png")
            image.save(files[-1], compress_level=1)

        def tag_files(round_number: int) -> None:
            compute_cached(Path(folder) / f"cache{round_number}", {}, files, tagger.tags)

        variants: dict[str, Callable[[int], Any]] = {
            "bare": lambda _: run_network(),
            "ours": lambda _: tagger.tags(images),
            "ours, from files": tag_files,
            "ours, cached": tag_files,
        }
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
        for number in range(rounds + 1):  # the first round warms up
            for name, variant in variants.items():
                seconds[name].append(time_call(lambda variant=variant, number=number: variant(number)))
    return {name: [statistics.median(each) for each in zip(*own[1:], strict=True)] for name, own in seconds.items()}


def benchmark_captions(count: int, rounds: int) -> dict[str, float]:
    """Return the processor seconds for the text files of `count` images of one concept, and for their captions."""
    rng = random.Random(0)
    words = [f"tag {number} (of it)" for number in range(2000)]
    texts = [format_tags([*("1girl", "long_hair"), *rng.sample(words, 18)]) for _ in range(count)]
    images = tuple(ConceptImage(Path(f"{number}.png"), f"a/b/{number}.png") for number in range(count))
    concept = Concept("b", "a", "sks", "girl", "anime girl", None, (), (), images)
    seconds: dict[str, list[float]] = {"parsing": [], "inherent": [], **{name: [] for name in STRATEGY_FUNCTIONS}}
    for _ in range(rounds):
        started = time.process_time()
        tags = [dict.fromkeys(parse_tags(text), 1.0) for text in texts]
        seconds["parsing"].append(time.process_time() - started)
        started = time.process_time()
        concept_tags = find_concept_tags(concept, tags, [])
        seconds["inherent"].append(time.process_time() - started)
        for name in STRATEGY_FUNCTIONS:
            started = time.process_time()
            build_captions(concept, tags, concept_tags, name, sentences=["a girl on a beach"] * count)
            seconds[name].append(time.process_time() - started)
    return {name: statistics.median(own) for name, own in seconds.items()}


def main() -> None:
    """Run both benchmarks and print their results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tagger", default="pocket", help="pocket, a folder or a hub name of a transformers tagger")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--side", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--captions", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    tagging = benchmark_tagging(arguments.tagger, arguments.images, arguments.side, arguments.rounds, arguments.device)
    captions = benchmark_captions(arguments.captions, min(arguments.rounds, 3))
    ratio = [ours / bare for ours, bare in zip(tagging["ours"], tagging["bare"], strict=True)]
    total = sum(captions.values())
    print(f"{arguments.tagger} on {arguments.images} images of {arguments.side} x {arguments.side}, {arguments.device}")
    for name, (clock, processor) in tagging.items():
        ratios = clock / tagging["bare"][0], processor / tagging["bare"][1]
        print(f"  {name:<18}{clock:8.3f} s  {ratios[0]:5.2f} x bare; processors{processor:8.3f} s  {ratios[1]:5.2f} x")
    print(f"{arguments.captions} captions of 20 tags")
    for name, seconds in captions.items():
        print(f"  {name:<18}{seconds:8.3f} s")
    print(f"  {'total':<18}{total:8.3f} s")
    if arguments.json:
        machine = f"{len(os.sched_getaffinity(0))} {platform.machine()} cores"
        result = {
            "machine": machine,
            "tagging": tagging,
            "tagging_ratio": ratio,
            "text": captions,
            "text_seconds": total,
        }
        print(json.dumps(result))


if __name__ == "__main__":
    main()
