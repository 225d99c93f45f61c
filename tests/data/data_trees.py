"""Random data folders of the kinds that people have: names, formats, encodings and links at random."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

from PIL import Image

NAMES = ("00", "1.2", "IMG_1", "a b", "ü", "u\u0308", "雪", "-x", "a,b", "metadata", "meta_cap", "x" * 60, ".hidden")
SUFFIXES = (".png", ".jpg", ".JPG", ".webp", ".gif", ".bmp", ".avif", ".heic", ".jxl", ".jfif", ".svg", ".mp4", "")
CAPTION_SUFFIXES = (".txt", ".TXT", ".caption", ".json", ".png.txt", ".jpg.json", ".text", ".mask.png", ".npz")
TABLES = ("metadata.jsonl", "metadata.csv", "meta_lat.json", "metadata.parquet", "concepts.txt", "Thumbs.db")
FOLDERS = (
    ("",),
    ("cat", "dog", "2023_holiday", "ink"),
    ("toys/cat", "toys/dog", "styles/ink", "toys/cat/red", ".cache/x"),
    ("img/10_sks dog", "img/3_zwx cat", "reg/1_dog"),
    ("toys/cat", "img/3_zwx", "cat", "", "a/b/c/d"),
)
TEXTS = (
    *("red hat, table", "", "a cat, red\na dog, blue", "{a|b} cat", "(red:1.2)", "{", "[]", "a\\,b", "{2$$a|b}"),
    *('{"caption": "a cat"}', '{"tags": ["a", "b"]}', '{"caption": 3}', '{"0": 1}', "file_name,text\n00.png,a cat\n"),
    *('{"file_name": "00.png", "text": "a cat"}\n', '{"file_name": "cat/00.png", "tags": "x, y"}'),
    *('{"00": {"tags": "x"}}', "\u202e"),
)
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le")


def image_bytes(chance: random.Random, suffix: str) -> bytes:
    """An image in the format of the suffix, or now and then something else."""
    stream = io.BytesIO()
    image = Image.new("RGB", (chance.choice((8, 16, 40)), 16), (chance.randrange(256), 9, 9))
    kind = {".png": "PNG", ".webp": "WEBP", ".gif": "GIF", ".bmp": "BMP"}.get(suffix.lower(), "JPEG")
    image.save(stream, kind)
    content = stream.getvalue()
    return content[: len(content) // 2] if chance.random() < 0.05 else content


def write_tree(root: Path, chance: random.Random) -> Path:
    """Write a data folder, and return it."""
    data, store = root / "data", root / "store"
    data.mkdir(parents=True)
    store.mkdir()
    group = chance.choice(FOLDERS)
    for folder in chance.sample(group, chance.randrange(1, min(4, len(group) + 1))):
        place = data / folder
        place.mkdir(parents=True, exist_ok=True)
        names = chance.sample(NAMES, chance.randrange(1, 4))
        for name in names:
            suffix = chance.choice(SUFFIXES[:5] if chance.random() < 0.7 else SUFFIXES)
            _write(chance, store, place / f"{name}{suffix}", image_bytes(chance, suffix))
        for _ in range(chance.randrange(4)):
            name = f"{chance.choice(names)}{chance.choice(CAPTION_SUFFIXES)}"
            _write(chance, store, place / (name if chance.random() < 0.7 else chance.choice(TABLES)), _text(chance))
    if chance.random() < 0.1:
        (data / "nowhere").symlink_to(root / "missing")
    if chance.random() < 0.1:
        (data / "linked").symlink_to(store)
    if chance.random() < 0.05:
        (data / "loop").symlink_to(data)
    return data


def _text(chance: random.Random) -> bytes:
    if chance.random() < 0.05:
        return chance.randbytes(20)
    text = chance.choice(TEXTS) if chance.random() < 0.9 else json.dumps({"caption": [1]})
    return text.encode(chance.choice(ENCODINGS))


def _write(chance: random.Random, store: Path, file: Path, content: bytes) -> None:
    """Write a file, or a link to one in the store."""
    if file.exists() or file.is_symlink():
        return
    if chance.random() < 0.1:
        blob = store / f"blob{len(list(store.iterdir()))}"
        blob.write_bytes(content)
        file.symlink_to(blob)
    else:
        file.write_bytes(content)
