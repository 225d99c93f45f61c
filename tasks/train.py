"""Train adapters, one by one or several at once, and keep their files, checkpoints and curves."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task

from lycoris.adapters.files.safetensors_header import in_order
from lycoris.cache.store import Store, code_version, key
from tasks.artifacts import Cell, Place, Trained
from tasks.runtime import progress, resources
from tasks.runtime.cache import stages
from tasks.runtime.transfer import Sent, here

if TYPE_CHECKING:
    from lycoris.adapters.network import Network
    from lycoris.bases import Base
    from lycoris.training import Job, TrainingResult

FILE = "adapter.safetensors"
FACTS = "training.json"
SAMPLES = "samples"
ENCODINGS = "encodings"
CODE = ("training", "bases", "adapters", "data/images.py")


@task(name="adapter", task_run_name="adapter {cell.name}")
def adapter(
    place: Place,
    cell: Cell,
    *,
    base: str,
    base_digest: str,
    pictures: Sequence[Path],
    picture_digest: str,
    captions: Sequence[str],
    settings: Mapping[str, Any],
    set_aside: Mapping[str, str] | None = None,
    checkpoints: Sequence[int] = (),
    watch: Mapping[str, Any] | None = None,
    sent: Sent | None = None,
) -> Trained:
    """Train an adapter on captioned pictures, unless the same was done before.

    Each checkpoint is a stage of its own: a shorter list finds what is there, and one that is missing is made by
    training again.

    Args:
        place: where to keep it.
        cell: which adapter of the study.
        base: the base's source.
        base_digest: hash of its files.
        pictures: file paths.
        picture_digest: hash of their bytes.
        captions: one a picture.
        settings: ``{"algorithm", "preset", "rank", "alpha", "factor", "training": {...}}``.
        set_aside: path to what is wrong with it, of the dataset's files that are not among `pictures`.
        checkpoints: epochs, or steps if the training's length is in steps, after which the adapter is kept too.
        watch: ``{"validation": {"hold_out", "every", "times"}, "samples": {"every", "prompts", "seeds", "drawing"}}``;
            either may be absent.
        sent: the pictures, for machines that do not see those files.

    Returns:
        The stages; each folder holds ``adapter.safetensors`` and ``training.json``, that of the end ``samples`` too.
    """
    place = here(place)
    training = Training(
        place,
        cell,
        base=base,
        base_digest=base_digest,
        pictures=pictures if sent is None else sent.paths(place),
        picture_digest=picture_digest,
        captions=captions,
        settings=settings,
        set_aside=set_aside,
        checkpoints=checkpoints,
        watch=watch,
    )

    def work(folders: dict[int | None, Path], bar: progress.Bar) -> None:
        if not training.trained:
            train([training], bar)
        for checkpoint, folder in folders.items():
            training.keep(checkpoint, folder)

    made = stages(place, "adapter", cell.label, training.stages, work)
    shutil.rmtree(training.kept, ignore_errors=True)
    return Trained(made[None], {each: made[each] for each in checkpoints})


@task(name="adapters", task_run_name="adapters {label}")
def adapters(place: Place, label: str, asked: Sequence[Mapping[str, Any]]) -> None:
    """Train several adapters at once on one base, so that `adapter` has only to keep them.

    What cannot be trained is left to `adapter`, which says why.

    Args:
        place: where to keep them.
        label: what the user reads.
        asked: for each what `adapter` is asked, `cell` included.
    """
    from lycoris.errors import InputError

    trainings = [Training(place, **each) for each in asked]
    store, began = Store(place.store), time.monotonic()
    text = f"{'adapters':<9}{label} · {len(trainings)} at once"
    with ExitStack() as stack:
        for name in sorted(training.key for training in trainings):
            stack.enter_context(store.alone(f"together-{name}"))
        waiting = [training for training in trainings if not (training.trained or training.finished(store))]
        if len(waiting) > 1:
            with resources.turn(place, gpu=True), progress.step(place.progress, text) as bar, suppress(InputError):
                train(waiting, bar)
    progress.finished(place.progress, text, cached=len(waiting) < 2, seconds=time.monotonic() - began)


@dataclass(frozen=True)
class Training:
    """A training as `adapter` is asked for it, and the folder in which it goes on until its stages are kept."""

    place: Place
    cell: Cell
    base: str
    base_digest: str
    pictures: Sequence[Path]
    picture_digest: str
    captions: Sequence[str]
    settings: Mapping[str, Any]
    set_aside: Mapping[str, str] | None = None
    checkpoints: Sequence[int] = ()
    watch: Mapping[str, Any] | None = None

    @property
    def stages(self) -> dict[int | None, dict[str, Any]]:
        """What the stage of the end, and that of each checkpoint, depends on."""
        whole = {
            "base": self.base_digest,
            "pictures": self.picture_digest,
            "captions": list(self.captions),
            "settings": dict(self.settings),
            "seed": self.cell.seed,
            "watch": dict(self.watch or {}),
            "code": code_version(*CODE),
        }
        return {None: whole, **{each: {**whole, "after": each} for each in self.checkpoints}}

    @property
    def key(self) -> str:
        """Of the whole training."""
        return key("adapter", {**self.stages[None], "checkpoints": list(self.checkpoints)})

    @property
    def kept(self) -> Path:
        """Where the training goes on until its stages are kept."""
        return self.place.store / "unfinished" / self.key

    @property
    def trained(self) -> bool:
        """Whether all is there that the stages will hold."""
        return (self.kept / FACTS).is_file()

    def finished(self, store: Store) -> bool:
        """Whether all stages are kept."""
        return all(store.find("adapter", inputs) is not None for inputs in self.stages.values())

    def attach(self, base: Base) -> Network:
        """The network to train."""
        import lycoris

        names = ("preset", "rank", "alpha", "factor")
        options = {name: self.settings[name] for name in names if self.settings.get(name) is not None}
        return lycoris.attach(base.parts, algorithm=self.settings["algorithm"], seed=self.cell.seed, **options)

    @property
    def header(self) -> dict[str, str]:
        """Lineage in the adapter's file."""
        return {
            "concept": self.cell.concept,
            "captions": self.cell.captions,
            "seed": str(self.cell.seed),
            "settings": json.dumps(self.settings, sort_keys=True),
            "base": Path(self.base).name if Path(self.base).exists() else self.base,
            "base_digest": self.base_digest,
        }

    def job(self, base: Base, network: Network) -> Job:
        """What to train, and what to look at on the way."""
        from lycoris.training import Checkpoints, Example, Job, TrainingSettings, When
        from tasks.runtime.monitoring import held_out_examples, looks

        self.kept.mkdir(parents=True, exist_ok=True)
        pairs = zip(self.pictures, self.captions, strict=True)
        watch = self.watch or {}
        examples, held_out = held_out_examples([Example(Path(picture), caption) for picture, caption in pairs], watch)
        checkpoints = Checkpoints(self.kept / "checkpoints", When(at=self.checkpoints), self.header)
        return Job(
            network,
            examples,
            TrainingSettings(**self.settings["training"]),
            self.cell.seed,
            self.kept / "state.safetensors",
            [checkpoints, *looks(base, held_out, watch, self.kept / SAMPLES, self.place.store / ENCODINGS)],
        )

    def conclude(self, network: Network, result: TrainingResult, among: int, peak: int | None) -> None:
        """Write the adapter and what is known of its training, of which so many went on at once.

        Args:
            network: trained.
            result: of its training.
            among: how many were trained at once.
            peak: bytes that they took together beyond the opened base; None where that is not known.
        """
        from lycoris.training.callbacks import said

        taken = said(result.steps, result.epochs)
        network.save(self.kept / FILE, metadata={**self.header, **taken})
        facts = {
            "step": result.steps,
            "epoch": float(taken["epoch"]),
            "losses": [round(loss, 6) for loss in result.losses],
            "bands": {
                name: [None if loss is None else round(loss, 6) for loss in losses]
                for name, losses in result.bands.items()
            },
            "seen": result.seen,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "layers": len(network),
            "seconds": result.seconds / among * result.steps / max(1, result.steps - result.resumed_at),
            "at_once": among,
            "peak_memory": peak,
            "pictures": result.pictures,
            "upscaled": result.upscaled,
            "set_aside": {**(self.set_aside or {}), **result.set_aside},
        }
        part = self.kept / f"{FACTS}.part"
        part.write_text(json.dumps(facts))
        part.replace(self.kept / FACTS)  # whole, since it says that all is there

    def keep(self, checkpoint: int | None, folder: Path) -> None:
        """Fill the folder of the end, or of a checkpoint, which knows of the training what was known then."""
        from lycoris import read_metadata

        facts = json.loads((self.kept / FACTS).read_text())
        if checkpoint is None:
            shutil.copyfile(self.kept / FILE, folder / FILE)
            if (self.kept / SAMPLES).is_dir():
                shutil.copytree(self.kept / SAMPLES, folder / SAMPLES)
        else:
            shutil.copyfile(self.kept / "checkpoints" / f"{checkpoint}.safetensors", folder / FILE)
            header = read_metadata(folder / FILE)
            step = int(header["step"])
            facts |= {
                "seconds": facts["seconds"] * step / facts["step"],
                "step": step,
                "epoch": float(header["epoch"]),
                "losses": facts["losses"][:step],
                "bands": {name: losses[:step] for name, losses in facts["bands"].items()},
                "seen": [row for row in facts["seen"] if row["step"] <= step],
            }
        in_order(folder / FILE)
        (folder / FACTS).write_text(json.dumps(facts))


def train(trainings: Sequence[Training], bar: progress.Bar) -> None:
    """Train one adapter, or several at once, each into its folder, in which a later call goes on.

    Raises:
        InputError: something is wrong with the data or the settings; of one alone, also that it diverged.
    """
    from lycoris.training import TrainingDiverged, train_together
    from lycoris.training.memory_profiling import peak_memory

    first = trainings[0]
    base = resources.base(first.base, first.place.device)
    networks: list[Network] = []
    now: dict[int, tuple[int, int, float]] = {}

    def tell(number: int, done: int, steps: int, loss: float) -> None:
        now[number] = (done, steps, loss)
        all_done, all_steps, losses = (sum(some) for some in zip(*now.values(), strict=True))
        bar(int(all_done), int(all_steps), losses / len(now))

    try:
        with peak_memory(base.device) as peak:
            for training in trainings:
                networks.append(training.attach(base))
            jobs = [training.job(base, network) for training, network in zip(trainings, networks, strict=True)]
            results = train_together(base, jobs, progress=tell, cache=first.place.store / ENCODINGS)
        for training, network, result in zip(trainings, networks, results, strict=True):
            if not isinstance(result, TrainingDiverged):
                training.conclude(network, result, len(trainings), peak.bytes)
            elif len(trainings) == 1:
                raise result
    finally:
        for network in networks:
            network.detach()
