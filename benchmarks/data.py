"""Measure the speed and memory of scanning training data.

    python benchmarks/data.py                       # 10,000 distinct JPEGs, then 100,000 names of them
    python benchmarks/data.py --latents 20000          # also compares latents in one file each with shards of 1,000
    python benchmarks/data.py --json

A scan reads every image's header: size, orientation, validity and bucket. The 100,000 names are hard links. Each
measurement runs in its own process; memory is the growth of the process's peak resident size, including pages of mapped
files but not the list of names.
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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SIDES = [(640, 480), (480, 640), (800, 600), (512, 512), (900, 400), (1024, 768)]
LATENT = (4, 64, 64)  # Stable Diffusion at 512 pixels, 64 kB
SHARD_SIZE = 1000


def make_images(folder: Path, count: int) -> None:
    """Create distinct JPEGs of several shapes, one in four rotated, one in a thousand truncated in its header."""
    from PIL import Image

    noise = Image.effect_noise((1200, 1200), 60).convert("RGB")
    rng = random.Random(0)
    for number in range(count):
        width, height = SIDES[number % len(SIDES)]
        left, top = rng.randrange(1200 - width), rng.randrange(1200 - height)
        exif = Image.Exif()
        exif[0x0112] = rng.choice([1, 1, 1, 6])
        path = folder / f"{number:06d}.jpg"
        noise.crop((left, top, left + width, top + height)).save(path, quality=60, exif=exif)
        if number % 1000 == 999:
            path.write_bytes(path.read_bytes()[:100])


def link_images(folder: Path, files: list[Path], count: int) -> None:
    """Create hard links to existing files."""
    for number in range(count):
        os.link(files[number % len(files)], folder / f"{number:06d}.jpg")


def scan(folder: Path) -> dict[str, float]:
    """Measure time and memory of one scan in this process."""
    from lycoris.data.images import list_images
    from lycoris.training.data.buckets import bucket_sizes
    from lycoris.training.data.header_scan import HeaderScan

    before_names = _peak_memory()
    paths = list_images(folder)
    before = _peak_memory()
    started = time.perf_counter()
    scanned = HeaderScan(paths, bucket_sizes(512, 8))
    seconds = time.perf_counter() - started
    return {
        "images": len(paths),
        "skipped": len(scanned.skipped),
        "seconds": seconds,
        "per_second": len(paths) / seconds,
        "names_mb": (before - before_names) / 2**20,
        "peak_growth_mb": (_peak_memory() - before) / 2**20,
    }


def read_latents(folder: Path, count: int) -> dict[str, float]:
    """Read latents in random order from one file each, and from shards that stay mapped, in this process."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    from lycoris.training.data.tensor_cache import TensorCache, content_key

    latent = torch.randn(LATENT)
    order = random.Random(0).sample(range(count), count)
    keys = [content_key(number) for number in range(count)]

    started = time.perf_counter()
    cache = TensorCache(folder / "files", memory_limit=0)
    for key in keys:
        cache.write(key, {"latent": latent})
    write_files = time.perf_counter() - started
    before, started = _peak_memory(), time.perf_counter()
    for number in order:
        cache.read(keys[number])["latent"].sum()
    read_files, grown_files = time.perf_counter() - started, _peak_memory() - before

    started = time.perf_counter()
    (folder / "shards").mkdir()
    for first in range(0, count, SHARD_SIZE):
        save_file({key: latent.clone() for key in keys[first : first + SHARD_SIZE]}, folder / "shards" / f"{first}")
    write_shards = time.perf_counter() - started
    before, started = _peak_memory(), time.perf_counter()
    opened = [safe_open(folder / "shards" / f"{first}", "pt") for first in range(0, count, SHARD_SIZE)]
    for number in order:
        opened[number // SHARD_SIZE].get_tensor(keys[number]).sum()
    read_shards, grown_shards = time.perf_counter() - started, _peak_memory() - before
    return {
        "latents": count,
        "files_write_us": write_files / count * 1e6,
        "files_read_us": read_files / count * 1e6,
        "files_peak_growth_mb": grown_files / 2**20,
        "shards_write_us": write_shards / count * 1e6,
        "shards_read_us": read_shards / count * 1e6,
        "shards_peak_growth_mb": grown_shards / 2**20,
    }


def _peak_memory() -> int:
    """Peak resident memory of this process in bytes, including pages of mapped files."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _run_isolated(*arguments: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=10_000, help="distinct files")
    parser.add_argument("--names", type=int, default=100_000, help="hard links to them")
    parser.add_argument("--latents", type=int, default=0, help="latents to write and read with both layouts")
    parser.add_argument("--folder", type=Path, help="where to make the files; a temporary folder by default")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--scan", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.scan or arguments.read:
        print(json.dumps(scan(arguments.scan) if arguments.scan else read_latents(arguments.read, arguments.latents)))
        return
    results: dict[str, object] = {"machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores"}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        few, many, latents = (Path(name) / part for part in ("few", "many", "latents"))
        for folder in (few, many, latents):
            folder.mkdir()
        make_images(few, arguments.images)
        link_images(many, sorted(few.iterdir()), arguments.names)
        results["scans"] = [_run_isolated("--scan", str(folder)) for folder in (few, many)]
        if arguments.latents:
            results["latents"] = _run_isolated("--read", str(latents), "--latents", str(arguments.latents))
    if arguments.json:
        print(json.dumps(results))
        return
    print(results["machine"])
    for entry in results["scans"]:
        print(
            f"{entry['images']:>8,} images: {entry['per_second']:>8,.0f} per second, {entry['seconds']:.1f} s; "
            f"peak grew by {entry['peak_growth_mb']:.1f} MB (names: {entry['names_mb']:.0f} MB); "
            f"{entry['skipped']} skipped"
        )
    if arguments.latents:
        for kind in ("files", "shards"):
            measures = ("write_us", "read_us", "peak_growth_mb")
            write, read, grown = (results["latents"][f"{kind}_{measure}"] for measure in measures)
            print(
                f"{kind:>8}: {write:.0f} us to write a latent, {read:.0f} us to read one; peak grew by {grown:.1f} MB"
            )


if __name__ == "__main__":
    main()
