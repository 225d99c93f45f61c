"""Read two thousand hostile inputs, and report what happened.

``python -m tests.faults.hostile FOLDER`` writes only into FOLDER/run and prints one JSON object.
"""

from __future__ import annotations

import io
import itertools
import json
import random
import resource
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from lycoris.errors import InputError
from tests.faults.hostile_doors import DOORS

COUNTS = {"image": 350, "caption": 150, "concepts": 250, "adapter": 250, "parameters": 250}
NAMES = (
    *(
        "..",
        ".",
        "../../escaped",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:\\x",
        "c:",
        "NUL",
        "con.txt",
        "aux",
        "x\0y",
        " ",
        "",
    ),
    *("x.", "x ", ".hidden", "-rf", "<script>alert(1)</script>", "a\nb", "\x1b[31mred", "a" * 5000, "\ud800", "é" * 90),
    *("${HOME}", "$(reboot)", "`reboot`", "%s%s%n", "'; drop table runs; --", "x|y", "x*?", "\u202egnp", "\x7f"),
)
"""Names that are paths, that some operating system does not allow, or that some interpreter would evaluate."""
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n(escaped) (w) file\n%%EOF\n"


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Truncate, overwrite or repeat bytes, or change numbers in the header."""
    data = bytearray(content)
    way = chance.randrange(5)
    if way == 0:
        return bytes(data[: chance.randrange(len(data))])
    if way == 1:
        for _ in range(chance.randrange(1, 40)):
            data[chance.randrange(len(data))] = chance.randrange(256)
    elif way == 2:
        place = chance.randrange(max(1, len(data) - 4))
        data[place : place + 4] = chance.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0"])
    elif way == 3:
        start = chance.randrange(len(data))
        data[start:start] = data[start : start + chance.randrange(1, 200)] * chance.randrange(1, 30)
    else:
        header = min(64, len(data))
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(header)] = chance.randrange(256)
    return bytes(data)


def images(folder: Path, chance: random.Random) -> Iterator[Callable[[], Any]]:
    from lycoris.data.images import read_image

    kinds = {"png": {}, "jpg": {"quality": 80}, "webp": {}, "gif": {}, "tif": {}, "bmp": {}, "avif": {}}
    whole = {}
    for suffix, options in kinds.items():
        stream = io.BytesIO()
        image = Image.effect_noise((60, 40), 60).convert("RGB")
        image.save(stream, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()), **options)
        whole[suffix] = stream.getvalue()
    huge = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 2**31 - 1, 2**31 - 1, 8, 6, 0, 0, 0, 0)
    for number in range(COUNTS["image"]):
        suffix = chance.choice(list(whole))
        content = (huge, b"", POSTSCRIPT, whole[suffix])[number] if number < 4 else mutated(whole[suffix], chance)
        file = folder / f"{number}.{'png' if number == 0 else suffix}"
        file.write_bytes(content)
        yield lambda file=file: read_image(file)


def captions(folder: Path, chance: random.Random) -> Iterator[Callable[[], Any]]:
    from lycoris.captions import open_tagger
    from lycoris.data.images import read_image

    tagger = open_tagger("sidecar", device="cpu")
    texts = [name.encode("utf-8", "surrogatepass") for name in NAMES]
    texts += [b"\xff\xfe" + b"a\0" * 50, b"a," * 200_000, b"\\" * 999, b"(((((" * 999, b"\0" * 99]
    for number in range(COUNTS["caption"]):
        image = folder / f"{number}.png"
        Image.new("RGB", (16, 16)).save(image)
        text = texts[number] if number < len(texts) else chance.randbytes(chance.randrange(400))
        image.with_suffix(".txt").write_bytes(text)
        yield lambda image=image: tagger.tags([read_image(image)])


def concepts(folder: Path, chance: random.Random) -> Iterator[Callable[[], Any]]:
    from lycoris.data.concepts import load_concepts

    good = {"category": "toys", "trigger": "gqp", "class_noun": "toy", "description": "toy"}
    documents = [
        "!!python/object/apply:os.system ['touch escaped']",
        "concepts: !!python/name:os.system",
        billion_laughs("abcdefghi"),
        "&a [*a]", "{<<: {a: b}, concepts: 1}", "[" * 100_000, "{a: " * 5000, "x: 1\nx: 2", "concepts: {bear: {}}", "",
        "concepts: " + "9" * 5000, "concepts: 2001-99-99", "concepts: " + ":".join(["59"] * 4000), "\0", "--- a\n--- b",
        "a" * 1_100_000, "concepts: .nan", "concepts: {? [a, b] : c}", "concepts: {1: {category: toys}}",
        "%YAML 9.9\n---\na", "concepts: !!binary x", yaml.safe_dump({"concepts": {"bear": good}}),
    ]  # fmt: skip
    for number in range(COUNTS["concepts"]):
        root = folder / str(number)
        (root / "toys" / "bear").mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(root / "toys" / "bear" / "1.png")
        if number < len(documents):
            text = documents[number].encode("utf-8", "surrogatepass")
        elif number < len(documents) + 2 * len(NAMES):
            name = NAMES[(number - len(documents)) // 2]
            entry = {**good, "category": name} if number % 2 else good
            text = yaml.safe_dump({"concepts": {"bear" if number % 2 else name: entry}}).encode(
                "utf-8", "surrogatepass"
            )
        else:
            entry = {**good, chance.choice([*good, "subclasses", "inherent", "keep"]): value(chance)}
            text = mutated(yaml.safe_dump({"concepts": {"bear": entry}}).encode("utf-8", "surrogatepass"), chance)
        (root / "concepts.yaml").write_bytes(text)
        yield lambda root=root: inside(root, load_concepts(root))


def billion_laughs(names: str) -> str:
    """A small document that expands to 9 ** len(names) values."""
    lines = [f"{names[0]}: &{names[0]} [{','.join('x' * 9)}]"]
    for before, name in itertools.pairwise(names):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]")
    return "\n".join(lines)


def inside(root: Path, found: list[Any]) -> None:
    """Every image of accepted concepts is in the data folder."""
    for concept in found:
        for image in concept.images:
            assert image.path.resolve().is_relative_to(root.resolve()), image.path


def adapters(folder: Path, chance: random.Random) -> Iterator[Callable[[], Any]]:
    import torch
    from safetensors.torch import save

    import lycoris

    model = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Conv2d(3, 5, 3))
    network = lycoris.attach(model, algorithm="lora", preset="full", rank=2, seed=0)
    network.save(folder / "good.safetensors")
    network.detach()
    whole = (folder / "good.safetensors").read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + size])

    def with_header(changed: Any) -> bytes:
        text = changed if isinstance(changed, bytes) else json.dumps(changed).encode("utf-8", "surrogatepass")
        return struct.pack("<Q", len(text)) + text + whole[8 + size :]

    first = next(name for name in header if name != "__metadata__")
    made = [
        b"", b"\0" * 7, struct.pack("<Q", 2**63), struct.pack("<Q", 2**40) + b"{",
        with_header(b"{" * 5000), with_header([]),
        with_header({**header, first: {**header[first], "shape": [2**40, 2**40]}}),
        with_header({**header, first: {**header[first], "data_offsets": [0, 2**50]}}),
        with_header({**header, first: {**header[first], "data_offsets": [-1, 4]}}),
        with_header({**header, first: {**header[first], "dtype": "PICKLE"}}),
        with_header({**header, "__metadata__": {"lycoris.settings": "[" * 3000}}),
        with_header({**header, "__metadata__": {"lycoris.settings": "__import__('os').system('touch escaped')"}}),
        b"\x80\x04\x95" + b"cos\nsystem\n(S'touch escaped'\ntR.", b"PK\x03\x04" + b"\0" * 64,
        save({"../../escaped.weight": torch.ones(1)}),
        save({name: torch.ones(2, 2) for name in ("a\0b", "", "x" * 9000)}),
        save({first: torch.full((2, 2), float("nan"))}), save({first.replace("down", "up"): torch.ones(3, 3)}),
    ]  # fmt: skip
    for number in range(COUNTS["adapter"]):
        file = folder / f"{number}.safetensors"
        file.write_bytes(made[number] if number < len(made) else mutated(whole, chance))

        def work(file: Path = file) -> None:
            lycoris.read_metadata(file)
            lycoris.load(file, model).detach()

        yield work


def parameters(folder: Path, chance: random.Random) -> Iterator[Callable[[], Any]]:
    from flows.config.experiment import Experiment
    from flows.config.loading import parse_experiment
    from tasks.artifacts import RunSpec

    def work(values: Any) -> None:
        experiment = parse_experiment(values)
        for adapter in experiment.algorithms:
            file = experiment.output / experiment.name / f"{RunSpec('bear', adapter.label, 'none', 0).name}.safetensors"
            assert file.resolve().parent == (experiment.output / experiment.name).resolve(), file
            assert file.resolve().is_relative_to(experiment.output.resolve()), file

    fields = list(Experiment.model_fields)
    shaped = [
        *({"name": name, "output": str(folder / "runs")} for name in NAMES),
        *({"algorithms": [{"algorithm": "lora", "preset": name}]} for name in NAMES[:12]),
        *({"algorithms": [name], "concepts": [name], "data_rev": name} for name in NAMES[:12]),
        {"images": {"trigger": 10**12}}, {"seeds": [2**70]}, {"seeds": [-1]}, {"sampling": {"guidance": float("nan")}},
        {"sampling": {"guidance": float("inf")}}, {"steps": 10**400}, {"steps": True}, {"workers": 10**9},
        {"algorithms": [{"algorithm": "lora", "training": {"horizontal_flip": "__import__('os')"}}]},
        None, [], "x", 3, {"__class__": "x"}, {1: 2}, {"": 0},
        {"algorithms": []}, {"algorithms": [[[["lora"]]]]}, {"hold_out": -1}, {"hold_out": 1.5}, {"hold_out": "all"},
    ]  # fmt: skip
    for number in range(COUNTS["parameters"]):
        values = shaped[number] if number < len(shaped) else {chance.choice(fields): value(chance) for _ in range(3)}
        yield lambda values=values: work(values)


def value(chance: random.Random, depth: int = 0) -> Any:
    """Any JSON value, and some that JSON should not have."""
    if depth < 3 and chance.random() < 0.4:
        some = [value(chance, depth + 1) for _ in range(chance.randrange(4))]
        return some if chance.random() < 0.5 else {str(each)[:20]: each for each in some}
    return chance.choice([None, True, -1, 0, 10**30, -(10**30), 1.5, float("inf"), *NAMES])


FAMILIES: dict[str, Callable[[Path, random.Random], Iterator[Callable[[], Any]]]] = {
    "image": images,
    "caption": captions,
    "concepts": concepts,
    "adapter": adapters,
    "parameters": parameters,
    **{
        name: lambda folder, chance, make=make, count=count: make(folder, chance, count, value, mutated)
        for name, (make, count) in DOORS.items()
    },
}
TOTAL = sum(COUNTS.values()) + sum(count for _, count in DOORS.values())


def main(folder: Path) -> dict[str, Any]:
    """Read every input.

    Returns:
        ``{"tried", "rejected", "accepted": {family: count}, "wrong": [...], "unclear": [...], "megabytes"}``.
    """
    chance = random.Random(0)
    report: dict[str, Any] = {"tried": 0, "rejected": 0, "accepted": {}, "wrong": [], "unclear": []}
    for family, make in FAMILIES.items():
        work_dir = folder / "run" / family
        shutil.rmtree(work_dir, ignore_errors=True)
        work_dir.mkdir(parents=True)
        report["accepted"][family] = 0
        for number, attempt in enumerate(make(work_dir, chance)):
            report["tried"] += 1
            try:
                attempt()
                report["accepted"][family] += 1
            except InputError as error:
                report["rejected"] += 1
                if len(str(error)) < 15 or len(str(error)) > 10_000:
                    report["unclear"].append([family, number, str(error)[:200], len(str(error))])
            except BaseException as error:  # any other error fails the test
                report["wrong"].append([family, number, f"{type(error).__name__}: {str(error)[:300]}"])
    report["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return report


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
