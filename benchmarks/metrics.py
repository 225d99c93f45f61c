"""What scoring costs beside the encoders' own forward passes, and what memory large sets take.

    python benchmarks/metrics.py                            1,000 pictures, the embedded encoders
    python benchmarks/metrics.py --encoder DIR --style FILE  any others, as `lycoris run` takes them
    python benchmarks/metrics.py memory                     Vendi and Fréchet of 50,000 x 1,024 features

`time` prints the seconds of two ways, taken in turns, by the clock and of the processors: whole scoring (pictures
prepared, encoded by every encoder, every metric of the table with intervals beside a base that is known already, PNG
files decoded) and bare forward passes of the same networks over prepared tensors in the same batches. `memory` starts
one process a metric and reads its peak.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]

from lycoris.data.images import ImageFiles, read_image  # noqa: E402
from lycoris.encoders import open_encoder, open_style_encoder  # noqa: E402
from lycoris.metrics import METRICS, GeneratedImages, PromptSpec, compare, encode, encode_references  # noqa: E402
from lycoris.metrics.registry import TRIGGER_PROMPTS  # noqa: E402

CATEGORY = "styles"
"""Styles are scored by every metric of the table."""
REFERENCE_COUNT = 20
LARGE_METRICS = ("vendi", "frechet_distance")


def write_noise_images(folder: Path, count: int, side: int) -> list[Path]:
    """Soft noise, as PNG files."""
    files = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        files.append(folder / f"{number:05d}.png")
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(files[-1])
    return files


def split_by_prompt_type(files: list[Path]) -> dict[str, GeneratedImages]:
    """The files, a quarter to each prompt type."""
    result = {}
    for place, kind in enumerate(TRIGGER_PROMPTS):
        own = files[place :: len(TRIGGER_PROMPTS)]
        prompts = [PromptSpec(f"a sks cat {n % 10}", f"a red cat {n % 10}", n, n % 10) for n in range(len(own))]
        result[kind] = GeneratedImages(kind, ImageFiles(own), prompts)
    return result


@contextmanager
def timer(times: dict[str, list[np.ndarray]], way: str) -> Iterator[None]:
    """Add the seconds of a block, by the clock and of the processors, to those of a way."""
    began = np.array([time.perf_counter(), time.process_time()])
    yield
    times.setdefault(way, []).append(np.array([time.perf_counter(), time.process_time()]) - began)


def benchmark_scoring(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Median seconds of each way and the median ratio, by the clock and of the processors."""
    encoders = [open_encoder(source, arguments.device) for source in arguments.encoder]
    style = open_style_encoder(arguments.style, arguments.device)
    times: dict[str, list[np.ndarray]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = write_noise_images(Path(folder), arguments.images, arguments.side)
        shown = [read_image(file) for file in files]
        known = encode_references(shown[:REFERENCE_COUNT], encoders, style, category=CATEGORY)
        base = encode(split_by_prompt_type(files[::-1]), encoders, style, category=CATEGORY)
        every = [*((e._forward, e.preprocessing, 32) for e in encoders), (style._forward, style.preprocessing, 16)]
        for _ in range(arguments.turns):
            with timer(times, "decoding and encoding"):
                seen = encode(split_by_prompt_type(files), encoders, style, category=CATEGORY)
            with timer(times, "metrics"):
                compare(known, seen, base, category=CATEGORY)
            parts: dict[str, list[np.ndarray]] = {}
            for network, preprocessing, batch in every:
                inputs = torch.stack([preprocessing(image) for image in shown])
                with timer(parts, "bare"), torch.inference_mode():
                    for part in inputs.split(batch):
                        network(part.to(arguments.device)).cpu()
            times.setdefault("bare", []).append(sum(parts["bare"]))
    whole = np.array(times["decoding and encoding"]) + np.array(times["metrics"])
    times["scoring / bare"] = list(whole / np.array(times["bare"]))
    return {way: np.median(values, axis=0).round(3).tolist() for way, values in times.items()}


def measure_peak_memory(name: str, rows: int, width: int) -> dict[str, float]:
    """One metric of float32 noise, in this process: seconds and the peak of its memory in GB, libraries included."""
    generator = np.random.default_rng(0)
    metric = METRICS[name]
    sets = [generator.normal(size=(rows, width)).astype(np.float32) for _ in (*metric.inputs, "generated")]
    began = time.perf_counter()
    value = metric.function(*sets)
    seconds = time.perf_counter() - began
    return {"value": value, "seconds": seconds, "GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["time", "memory", *LARGE_METRICS], default="time")
    parser.add_argument("--encoder", action="append", help="short name, folder or hub name; repeatable")
    parser.add_argument("--style", default="vgg", help="of the style encoder")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=64, help="of the pictures, pixels")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=50_000, help="of `memory`")
    parser.add_argument("--width", type=int, default=1024, help="of `memory`")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    arguments.encoder = arguments.encoder or ["clip", "dinov2", "convnextv2"]
    if arguments.what == "time":
        result: dict = benchmark_scoring(arguments)
    elif arguments.what == "memory":
        command = [sys.executable, __file__, "--rows", str(arguments.rows), "--width", str(arguments.width), "--json"]
        done = {
            name: subprocess.run([*command, name], check=True, capture_output=True, text=True).stdout
            for name in LARGE_METRICS
        }
        result = {name: json.loads(text)[name] for name, text in done.items()}
    else:
        result = {arguments.what: measure_peak_memory(arguments.what, arguments.rows, arguments.width)}
    if arguments.json:
        print(json.dumps({**result, "machine": platform.machine(), "threads": torch.get_num_threads()}))
        return
    for name, value in result.items():
        shown = value if isinstance(value, list) else [f"{key} {number:.4g}" for key, number in value.items()]
        print(f"{name:24s}{'   '.join(map(str, shown))}")


if __name__ == "__main__":
    main()
