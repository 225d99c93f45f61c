"""The cost of scoring compared with the encoders' forward passes, and the memory of large sets.

    python benchmarks/metrics.py                            1,000 images, the embedded encoders
    python benchmarks/metrics.py --encoder DIR --style FILE  any others, as `lycoris run` takes them
    python benchmarks/metrics.py memory                     Vendi and Fréchet of 50,000 x 1,024 features

`time` alternates between complete scoring (PNG files decoded, images prepared and encoded by every encoder, every
metric with intervals next to a base that is already encoded) and bare forward passes of the same networks over prepared
tensors in the same batches. It prints wall-clock and processor seconds. `memory` starts one process per metric and
reads its peak.
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
"""Every metric applies to styles."""
REFERENCE_COUNT = 20
LARGE_METRICS = ("vendi", "frechet_distance")


def write_noise_images(folder: Path, count: int, side: int) -> list[Path]:
    """Write soft noise as PNG files."""
    files = []
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        files.append(folder / f"{number:05d}.png")
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(files[-1])
    return files


def split_by_prompt_type(files: list[Path]) -> dict[str, GeneratedImages]:
    """Assign a quarter of the files to each prompt type."""
    result = {}
    for index, prompt_type in enumerate(TRIGGER_PROMPTS):
        own = files[index :: len(TRIGGER_PROMPTS)]
        prompts = [PromptSpec(f"a sks cat {n % 10}", f"a red cat {n % 10}", n, n % 10) for n in range(len(own))]
        result[prompt_type] = GeneratedImages(prompt_type, ImageFiles(own), prompts)
    return result


@contextmanager
def timer(times: dict[str, list[np.ndarray]], name: str) -> Iterator[None]:
    """Append the wall-clock and processor seconds of a block to the times under a name."""
    started = np.array([time.perf_counter(), time.process_time()])
    yield
    times.setdefault(name, []).append(np.array([time.perf_counter(), time.process_time()]) - started)


def benchmark_scoring(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Return the median wall-clock and processor seconds of each part, and the median ratio."""
    encoders = [open_encoder(source, arguments.device) for source in arguments.encoder]
    style = open_style_encoder(arguments.style, arguments.device)
    times: dict[str, list[np.ndarray]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = write_noise_images(Path(folder), arguments.images, arguments.side)
        images = [read_image(file) for file in files]
        reference_features = encode_references(images[:REFERENCE_COUNT], encoders, style, category=CATEGORY)
        base = encode(split_by_prompt_type(files[::-1]), encoders, style, category=CATEGORY)
        networks = [*((e._forward, e.preprocessing, 32) for e in encoders), (style._forward, style.preprocessing, 16)]
        for _ in range(arguments.turns):
            with timer(times, "decoding and encoding"):
                features = encode(split_by_prompt_type(files), encoders, style, category=CATEGORY)
            with timer(times, "metrics"):
                compare(reference_features, features, base, category=CATEGORY)
            parts: dict[str, list[np.ndarray]] = {}
            for network, preprocessing, batch in networks:
                inputs = torch.stack([preprocessing(image) for image in images])
                with timer(parts, "bare"), torch.inference_mode():
                    for part in inputs.split(batch):
                        network(part.to(arguments.device)).cpu()
            times.setdefault("bare", []).append(sum(parts["bare"]))
    whole = np.array(times["decoding and encoding"]) + np.array(times["metrics"])
    times["scoring / bare"] = list(whole / np.array(times["bare"]))
    return {name: np.median(values, axis=0).round(3).tolist() for name, values in times.items()}


def measure_peak_memory(name: str, rows: int, width: int) -> dict[str, float]:
    """Compute a metric of float32 noise; return seconds and this process's peak memory in GB, libraries included."""
    generator = np.random.default_rng(0)
    metric = METRICS[name]
    sets = [generator.normal(size=(rows, width)).astype(np.float32) for _ in (*metric.inputs, "generated")]
    started = time.perf_counter()
    value = metric.function(*sets)
    seconds = time.perf_counter() - started
    return {"value": value, "seconds": seconds, "GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["time", "memory", *LARGE_METRICS], default="time")
    parser.add_argument("--encoder", action="append", help="short name, folder or hub name; repeatable")
    parser.add_argument("--style", default="vgg", help="style encoder")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=50_000, help="for `memory`")
    parser.add_argument("--width", type=int, default=1024, help="for `memory`")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    arguments.encoder = arguments.encoder or ["clip", "dinov2", "convnextv2"]
    if arguments.what == "time":
        result: dict = benchmark_scoring(arguments)
    elif arguments.what == "memory":
        command = [sys.executable, __file__, "--rows", str(arguments.rows), "--width", str(arguments.width), "--json"]
        outputs = {
            name: subprocess.run([*command, name], check=True, capture_output=True, text=True).stdout
            for name in LARGE_METRICS
        }
        result = {name: json.loads(text)[name] for name, text in outputs.items()}
    else:
        result = {arguments.what: measure_peak_memory(arguments.what, arguments.rows, arguments.width)}
    if arguments.json:
        print(json.dumps({**result, "machine": platform.machine(), "threads": torch.get_num_threads()}))
        return
    for name, value in result.items():
        images = value if isinstance(value, list) else [f"{key} {number:.4g}" for key, number in value.items()]
        print(f"{name:24s}{'   '.join(map(str, images))}")


if __name__ == "__main__":
    main()
