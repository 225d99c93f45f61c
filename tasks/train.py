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

from lycoris.adapters.files.safetensors_header import sort_metadata
from lycoris.cache.store import Store, source_hash, stage_key
from tasks.artifacts import RunContext, RunSpec, TrainedAdapter
from tasks.runtime import progress, resources
from tasks.runtime.cache import get_or_compute_many
from tasks.runtime.transfer import ImageBundle, local_context

if TYPE_CHECKING:
    from lycoris.adapters.network import Network
    from lycoris.bases import Base
    from lycoris.training import TrainingJob, TrainingResult

ADAPTER_FILE = "adapter.safetensors"
SUMMARY_FILE = "training.json"
SAMPLES_DIR = "samples"
ENCODINGS_DIR = "encodings"
TRAINING_SOURCES = ("training", "bases", "adapters", "data/images.py")


@task(name="adapter", task_run_name="adapter {cell.name}")
def train_adapter(
    context: RunContext,
    cell: RunSpec,
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
    sent: ImageBundle | None = None,
) -> TrainedAdapter:
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
        watch: ``{"validation": {"hold_out", "every", "noise_levels"}, "samples": {"every", "prompts", "seeds",
            "drawing"}}``; either may be absent.
        sent: the pictures, for machines that do not see those files.

    Returns:
        The stages; each folder holds ``adapter.safetensors`` and ``training.json``, that of the end ``samples`` too.
    """
    context = local_context(context)
    training = AdapterTraining(
        context,
        cell,
        base=base,
        base_digest=base_digest,
        pictures=pictures if sent is None else sent.paths(context),
        picture_digest=picture_digest,
        captions=captions,
        settings=settings,
        set_aside=set_aside,
        checkpoints=checkpoints,
        watch=watch,
    )

    def work(folders: dict[int | None, Path], bar: progress.StepProgress) -> None:
        if not training.is_trained:
            run_trainings([training], bar)
        for checkpoint, folder in folders.items():
            training.write_artifact(checkpoint, folder)

    made = get_or_compute_many(context, "adapter", cell.label, training.stage_inputs, work)
    shutil.rmtree(training.work_dir, ignore_errors=True)
    return TrainedAdapter(made[None], {each: made[each] for each in checkpoints})


@task(name="adapters", task_run_name="adapters {label}")
def co_train_adapters(context: RunContext, label: str, asked: Sequence[Mapping[str, Any]]) -> None:
    """Train several adapters at once on one base, so that `adapter` has only to keep them.

    What cannot be trained is left to `adapter`, which says why.

    Args:
        place: where to keep them.
        label: what the user reads.
        asked: for each what `adapter` is asked, `cell` included.
    """
    from lycoris.errors import InputError

    trainings = [AdapterTraining(context, **each) for each in asked]
    store, began = Store(context.store), time.monotonic()
    text = f"{'adapters':<9}{label} · {len(trainings)} at once"
    with ExitStack() as stack:
        for name in sorted(training.key for training in trainings):
            stack.enter_context(store.lock(f"together-{name}"))
        waiting = [training for training in trainings if not (training.is_trained or training.is_cached(store))]
        if len(waiting) > 1:
            with (
                resources.exclusive_compute(context, gpu=True),
                progress.track_step(context.progress, text) as bar,
                suppress(InputError),
            ):
                run_trainings(waiting, bar)
    progress.step_finished(context.progress, text, cached=len(waiting) < 2, seconds=time.monotonic() - began)


@dataclass(frozen=True)
class AdapterTraining:
    """A training as `adapter` is asked for it, and the folder in which it goes on until its stages are kept."""

    place: RunContext
    cell: RunSpec
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
    def stage_inputs(self) -> dict[int | None, dict[str, Any]]:
        """What the stage of the end, and that of each checkpoint, depends on."""
        whole = {
            "base": self.base_digest,
            "pictures": self.picture_digest,
            "captions": list(self.captions),
            "settings": dict(self.settings),
            "seed": self.cell.seed,
            "watch": dict(self.watch or {}),
            "code": source_hash(*TRAINING_SOURCES),
        }
        return {None: whole, **{each: {**whole, "after": each} for each in self.checkpoints}}

    @property
    def key(self) -> str:
        """Of the whole training."""
        return stage_key("adapter", {**self.stage_inputs[None], "checkpoints": list(self.checkpoints)})

    @property
    def work_dir(self) -> Path:
        """Where the training goes on until its stages are kept."""
        return self.place.store / "unfinished" / self.key

    @property
    def is_trained(self) -> bool:
        """Whether all is there that the stages will hold."""
        return (self.work_dir / SUMMARY_FILE).is_file()

    def is_cached(self, store: Store) -> bool:
        """Whether all stages are kept."""
        return all(store.find("adapter", inputs) is not None for inputs in self.stage_inputs.values())

    def attach(self, base: Base) -> Network:
        """The network to train."""
        import lycoris

        names = ("preset", "rank", "alpha", "factor")
        options = {name: self.settings[name] for name in names if self.settings.get(name) is not None}
        return lycoris.attach(base.parts, algorithm=self.settings["algorithm"], seed=self.cell.seed, **options)

    @property
    def metadata(self) -> dict[str, str]:
        """Lineage in the adapter's file."""
        return {
            "concept": self.cell.concept,
            "captions": self.cell.strategy,
            "seed": str(self.cell.seed),
            "settings": json.dumps(self.settings, sort_keys=True),
            "base": Path(self.base).name if Path(self.base).exists() else self.base,
            "base_digest": self.base_digest,
        }

    def job(self, base: Base, network: Network) -> TrainingJob:
        """What to train, and what to look at on the way."""
        from lycoris.training import CallbackSchedule, CheckpointCallback, Example, TrainingJob, TrainingSettings
        from tasks.runtime.monitoring import build_callbacks, split_examples

        self.work_dir.mkdir(parents=True, exist_ok=True)
        pairs = zip(self.pictures, self.captions, strict=True)
        watch = self.watch or {}
        examples, held_out = split_examples([Example(Path(picture), caption) for picture, caption in pairs], watch)
        checkpoints = CheckpointCallback(
            self.work_dir / "checkpoints", CallbackSchedule(at=self.checkpoints), self.metadata
        )
        return TrainingJob(
            network,
            examples,
            TrainingSettings(**self.settings["training"]),
            self.cell.seed,
            self.work_dir / "state.safetensors",
            [
                checkpoints,
                *build_callbacks(base, held_out, watch, self.work_dir / SAMPLES_DIR, self.place.store / ENCODINGS_DIR),
            ],
        )

    def save_result(self, network: Network, result: TrainingResult, co_trained: int, peak_bytes: int | None) -> None:
        """Write the adapter and what is known of its training, of which so many went on at once.

        Args:
            network: trained.
            result: of its training.
            among: how many were trained at once.
            peak: bytes that they took together beyond the opened base; None where that is not known.
        """
        from lycoris.training.callbacks import progress_metadata

        taken = progress_metadata(result.steps, result.epochs)
        network.save(self.work_dir / ADAPTER_FILE, metadata={**self.metadata, **taken})
        facts = {
            "step": result.steps,
            "epoch": float(taken["epoch"]),
            "losses": [round(loss, 6) for loss in result.losses],
            "bands": {
                name: [None if loss is None else round(loss, 6) for loss in losses]
                for name, losses in result.binned_losses.items()
            },
            "seen": result.callback_records,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "layers": len(network),
            "seconds": result.seconds / co_trained * result.steps / max(1, result.steps - result.resume_step),
            "at_once": co_trained,
            "peak_memory": peak_bytes,
            "pictures": result.image_count,
            "upscaled": result.upscaled_count,
            "set_aside": {**(self.set_aside or {}), **result.skipped_images},
        }
        part = self.work_dir / f"{SUMMARY_FILE}.part"
        part.write_text(json.dumps(facts))
        part.replace(self.work_dir / SUMMARY_FILE)  # whole, since it says that all is there

    def write_artifact(self, checkpoint: int | None, folder: Path) -> None:
        """Fill the folder of the end, or of a checkpoint, which knows of the training what was known then."""
        from lycoris import read_metadata

        facts = json.loads((self.work_dir / SUMMARY_FILE).read_text())
        if checkpoint is None:
            shutil.copyfile(self.work_dir / ADAPTER_FILE, folder / ADAPTER_FILE)
            if (self.work_dir / SAMPLES_DIR).is_dir():
                shutil.copytree(self.work_dir / SAMPLES_DIR, folder / SAMPLES_DIR)
        else:
            shutil.copyfile(self.work_dir / "checkpoints" / f"{checkpoint}.safetensors", folder / ADAPTER_FILE)
            header = read_metadata(folder / ADAPTER_FILE)
            step = int(header["step"])
            facts |= {
                "seconds": facts["seconds"] * step / facts["step"],
                "step": step,
                "epoch": float(header["epoch"]),
                "losses": facts["losses"][:step],
                "bands": {name: losses[:step] for name, losses in facts["bands"].items()},
                "seen": [row for row in facts["seen"] if row["step"] <= step],
            }
        sort_metadata(folder / ADAPTER_FILE)
        (folder / SUMMARY_FILE).write_text(json.dumps(facts))


def run_trainings(trainings: Sequence[AdapterTraining], bar: progress.StepProgress) -> None:
    """Train one adapter, or several at once, each into its folder, in which a later call goes on.

    Raises:
        InputError: something is wrong with the data or the settings; of one alone, also that it diverged.
    """
    from lycoris.training import TrainingDivergedError, co_train
    from lycoris.training.memory_profiling import peak_memory

    first = trainings[0]
    base = resources.cached_base(first.base, first.place.device)
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
            results = co_train(base, jobs, progress=tell, cache_folder=first.place.store / ENCODINGS_DIR)
        for training, network, result in zip(trainings, networks, results, strict=True):
            if not isinstance(result, TrainingDivergedError):
                training.save_result(network, result, len(trainings), peak.bytes)
            elif len(trainings) == 1:
                raise result
    finally:
        for network in networks:
            network.detach()
