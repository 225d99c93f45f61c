"""Hostile inputs of doors that are open to other people: studies, tables, archives, caches, the registry, requests."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from lycoris.errors import InputError

Attempts = Iterator[Callable[[], Any]]
ESCAPES = "\x1b]0;x\x07\x9b31m\u202e"


def studies(
    folder: Path, chance: random.Random, count: int, value: Callable[..., Any], mutate: Callable[..., bytes]
) -> Attempts:
    """Study files: wrong shapes, unknown names, documents that expand, damaged bytes."""
    from flows.studies.definition import load_study

    good = {"question": "Which?", "factors": ["algorithm"], "experiment": {"algorithms": ["lora", "lokr"]}}
    fields = [*good, "reports", "match_budget", "on_pocket", "factor", "unknown"]
    for number in range(count):
        file = folder / f"{number}.yaml"
        content = yaml.safe_dump({**good, chance.choice(fields): value(chance)}).encode("utf-8", "surrogatepass")
        if number == 0:
            content = yaml.safe_dump(good).encode()
        elif number == 1:
            content = b"experiment: !!python/object/apply:os.system ['touch escaped']"
        elif number % 3 == 0:
            content = mutate(yaml.safe_dump(good).encode(), chance)
        file.write_bytes(content)
        yield lambda file=file: load_study(str(file))


def tables(
    folder: Path, chance: random.Random, count: int, value: Callable[..., Any], mutate: Callable[..., bytes]
) -> Attempts:
    """Tables of scores: cells of any content, columns that lack or repeat, damaged bytes."""
    import pandas as pd

    from lycoris.analysis.io.csv_files import read_csv
    from lycoris.analysis.io.reading import read_table
    from lycoris.analysis.statistics.ranking import rank_table

    rows = [
        {"concept": "a", "config": name, "algorithm": name, "captions": "all", "seed": seed, "learning_rate": 0.1,
         "name": "vendi/alter/clip", "value": place + seed / 9}
        for place, name in enumerate(("lora", "lokr", "loha")) for seed in range(2)
    ]  # fmt: skip
    whole = pd.DataFrame(rows).to_csv(index=False).encode()

    def work(file: Path) -> None:
        read_csv(file)
        rank_table(read_table(file))

    for number in range(count):
        file = folder / f"{number}.csv"
        table = pd.DataFrame(rows).astype(object)
        for _ in range(chance.randrange(1, 4)):
            table.loc[chance.randrange(len(table)), chance.choice(list(table))] = str(value(chance))
        if chance.random() < 0.2:
            table = table.drop(columns=chance.choice(list(table)))
        content = table.to_csv(index=False).encode("utf-8", "surrogatepass")
        file.write_bytes(whole if number == 0 else mutate(whole, chance) if number % 3 == 0 else content)
        yield lambda file=file: work(file)


def archives(
    folder: Path, chance: random.Random, count: int, value: Callable[..., Any], mutate: Callable[..., bytes]
) -> Attempts:
    """Folders of generated images that others hand on: their ``prompts.json`` and the names in it."""
    from lycoris.captions.prompt_file import PROMPTS_FILE, read_captioned_images
    from lycoris.data.concepts import Concept

    concept = Concept("bear", "toys", "sks", "toy", "toy", None, (), (), ())
    good = {"train": [{"text": "a bear", "evaluation": "a toy", "seed": 1, "group": 0}]}
    for number in range(count):
        root = folder / str(number)
        (root / "train").mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(root / "train" / "000.png")
        entry = {**good["train"][0], chance.choice(["text", "seed", "group", "x"]): value(chance)}
        content = json.dumps(chance.choice([value(chance), {"train": value(chance)}, {"train": [entry]}]))
        text = content.encode("utf-8", "surrogatepass")
        whole = json.dumps(good).encode()
        (root / PROMPTS_FILE).write_bytes(whole if number == 0 else mutate(whole, chance) if number % 2 else text)
        yield lambda root=root: read_captioned_images(root, concept)


def caches(
    folder: Path, chance: random.Random, count: int, value: Callable[..., Any], mutate: Callable[..., bytes]
) -> Attempts:
    """A shared cache that another machine has written: its records, its names of files, its bytes."""
    from lycoris.cache.remote import RemoteStore
    from lycoris.cache.store import RECORD_FILE, Store

    store = Store(folder / "source")
    with store.create("images", {"x": 1}) as made:
        (made / "a.txt").write_text("content")
    (key,) = (path.name for path in (store.root / "images").iterdir())
    record = (store.root / "images" / key / RECORD_FILE).read_bytes()

    def work(shared: Path, local: Path) -> None:
        RemoteStore(f"file://{shared}").fetch(local, "images", key)
        stage = Store(local).find("images", {"x": 1})
        assert stage is None or (stage.folder / "a.txt").read_text() == "content"
        names = {path.relative_to(local).parts[0] for path in local.rglob("*")}
        assert names <= {"images"}, names
        if stage is None:
            raise InputError(f"The stage `{key}` of the shared store `{shared}` counts as missing.")

    for number in range(count):
        shared, local = folder / f"{number}" / "shared", folder / f"{number}" / "local"
        stage = shared / "images" / key
        stage.mkdir(parents=True)
        local.mkdir()
        (stage / "a.txt").write_bytes(b"content" if number % 2 == 0 else mutate(b"content", chance))
        parsed = json.loads(record)
        if number % 4 == 2:
            parsed[chance.choice(list(parsed))] = value(chance)
            parsed["files"] = chance.choice([parsed["files"], value(chance), {"../../escaped": [1, "x"]}, {"a.txt": 1}])
        content = record if number == 0 or number % 2 else json.dumps(parsed).encode("utf-8", "surrogatepass")
        (stage / RECORD_FILE).write_bytes(mutate(content, chance) if number % 4 == 3 else content)
        if number % 5 == 4:
            (stage / chance.choice(["-rf", "a\nb", ESCAPES, "..x", "é" * 60, "stage.json.x"])).write_bytes(b"x")
        if number % 7 == 6:
            (stage / "link").symlink_to("/etc/hostname")
        yield lambda shared=shared, local=local: work(shared, local)


def registries(
    folder: Path, chance: random.Random, count: int, value: Callable[..., Any], mutate: Callable[..., bytes]
) -> Attempts:
    """Tags of registered versions, which anybody with access to the registry may write."""
    from types import SimpleNamespace

    from tasks.tracking.registry import _from_mlflow, lineage

    good = {"seed": "1", "settings": json.dumps({"algorithm": "lora"}), "scores": "{}", "adapter.file": "a.safetensors"}
    for number in range(count):
        tags = dict(good)
        for name in chance.sample(list(good), chance.randrange(1, 4)) if number else ():
            text = chance.choice([str(value(chance)), json.dumps(value(chance)), ESCAPES, "[" * 100_000, "9" * 5000])
            tags[name] = text if number % 2 else mutate(good[name].encode(), chance).decode("latin-1")
        version = SimpleNamespace(name="bear", version=1, aliases=["champion"], tags=tags)
        yield lambda version=version: json.dumps(lineage(_from_mlflow(version)))


def requests(
    folder: Path, chance: random.Random, count: int, value: Callable[..., Any], mutate: Callable[..., bytes]
) -> Attempts:
    """Requests and websockets at the guard of both servers; a refused one must not reach the server."""
    from lycoris.safety.request_guard import RequestGuard

    hosts = [b"localhost", b"127.0.0.1:4200", b"[::1]:5050", b"attacker.test", b"localhost.attacker.test", b"", b"\xff"]
    origins = [b"http://localhost", b"null", b"http://attacker.test", b"\x00", b"file://", b"http://127.0.0.1:4200"]

    async def ask(scope: dict[str, Any]) -> tuple[bool, list[Any]]:
        reached, sent = False, []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            nonlocal reached
            reached = True

        async def send(message: Any) -> None:
            sent.append(message)

        await RequestGuard(application, ["head"])(scope, lambda: None, send)
        return reached, sent

    def work(scope: dict[str, Any]) -> None:
        reached, sent = asyncio.run(ask(scope))
        named = [content for name, content in scope["headers"] if name == b"host"]
        pages = [content for name, content in scope["headers"] if name == b"origin"]
        assert reached == (not sent)
        if reached:
            assert len(named) == 1
            assert b"attacker" not in named[0]
            assert all(
                page.lower() in (b"http://" + named[0].lower(), b"https://" + named[0].lower()) for page in pages
            )
        else:
            raise InputError(f"The request is refused: {sent[0]!r:.200}")

    for number in range(count):
        host = chance.choice(hosts)
        headers = [(b"host", host if number % 3 else mutate(host or b"x", chance))] * chance.choice([1, 1, 1, 2, 0])
        headers += [(b"origin", chance.choice(origins))] * chance.choice([0, 1, 2])
        headers += [(b"x" * 5000, b"y" * 5000), (b"cookie", bytes(range(256)))]
        if number == 0:
            headers = [(b"host", b"localhost:4200")]
        chance.shuffle(headers)
        scope = {"type": chance.choice(["http", "websocket"]), "headers": headers, "path": str(value(chance))}
        yield lambda scope=scope: work(scope)


DOORS = {
    "study": (studies, 150), "table": (tables, 150), "archive": (archives, 80), "cache": (caches, 120),
    "registry": (registries, 100), "request": (requests, 150),
}  # fmt: skip
"""Name -> what yields the attempts, and how many."""
