"""Adapters in training: the work folder in which a training continues, and what is stored of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lycoris.adapters.files.metadata import MAX_TOKENS_KEY, PRECISION_KEY
from lycoris.adapters.files.safetensors_header import sort_metadata
from lycoris.cache.atomic import atomic_write_text
from lycoris.cache.keys import source_hash, stage_key
from lycoris.cache.store import Store
from lycoris.data.images import IMAGE_SOURCES
from lycoris.safety.redaction import redact
from tasks.artifacts import RunContext
from tasks.runtime import progress, resources
from tasks.runtime.thumbnail import last_sample_thumbnail
from tasks.trainings import SUMMARY_FILE, TrainingRequest, TrainingSummary

if TYPE_CHECKING:
    from lycoris.adapters.network import Network
    from lycoris.bases import Base
    from lycoris.training import Callback, Example, TrainingJob, TrainingResult

ADAPTER_FILE = "adapter.safetensors"
STATE_FILE = "state.safetensors"
CONTINUED_FILE = "continued.json"
"""Holds the step of a finished training that this one continues from."""
SAMPLES_DIR = "samples"
ENCODINGS_DIR = "encodings"
TRAINING_SOURCES = ("training", "bases", "adapters", "pretrained.py", *IMAGE_SOURCES)
"""Library code that a training's result depends on."""


@dataclass(frozen=True)
class AdapterTraining:
    """A requested training, and the folder in which it continues until its stages are stored."""

    context: RunContext
    request: TrainingRequest

    @property
    def stage_inputs(self) -> dict[int | None, dict[str, Any]]:
        """Everything that the adapter at the end (None), and that of each checkpoint, depends on."""
        from lycoris.training.assistant import assistant_identity

        request = self.request
        common = {
            "base": request.base.digest,
            "images": request.images.digest,
            "captions": list(request.captions),
            "settings": request.settings.as_dict(),
            "seed": request.spec.seed,
            "validation": None if request.validation is None else asdict(request.validation),
            "samples": None if request.samples is None else asdict(request.samples),
            "code": source_hash(*TRAINING_SOURCES),
        }
        prior = request.prior and [request.prior.images.digest, list(request.prior.captions)]
        assistant = request.settings.training.get("assistant")
        optional = {
            **assistant_identity(assistant),
            "alternatives": list(request.alternatives),
            "repeats": list(request.repeats),
            "prior": prior,
            "trigger": request.trigger,
        }
        common |= {name: value for name, value in optional.items() if value}
        return {None: common, **{count: {**common, "after": count} for count in request.checkpoints}}

    @property
    def key(self) -> str:
        """Content key of the training with all its checkpoints."""
        return stage_key("adapter", {**self.stage_inputs[None], "checkpoints": list(self.request.checkpoints)})

    @property
    def work_dir(self) -> Path:
        """The folder in which the training continues until its stages are stored."""
        return self.context.store / "unfinished" / self.key

    @property
    def is_trained(self) -> bool:
        """Whether the work folder holds everything that the stages need."""
        return (self.work_dir / SUMMARY_FILE).is_file()

    def is_cached(self, store: Store) -> bool:
        """Whether all its stages are in the store."""
        return all(store.find("adapter", inputs) is not None for inputs in self.stage_inputs.values())

    def attach(self, base: Base) -> Network:
        """Attach the network to train."""
        import lycoris

        return lycoris.attach(base.parts, seed=self.request.spec.seed, **self.request.settings.network_options)

    def metadata(self, resolution: int, thumbnail: bytes | None = None) -> dict[str, str]:
        """Lineage and facts about the training for the header of the adapter's file.

        Args:
            resolution: side of the base's images in pixels.
            thumbnail: a JPEG image.
        """
        from lycoris.adapters.files.metadata import training_metadata

        request = self.request
        spec, base = request.spec, request.base
        tokens = base.options.max_token_length
        folders: dict[str, list[str]] = {}  # kohya's names of folders: how often an epoch shows the images, and of what
        for caption, repeats in zip(request.captions, request.repeats or (1,) * len(request.captions), strict=True):
            folders.setdefault(f"{repeats}_{spec.concept}", []).append(caption)
        return {
            **training_metadata(trigger=request.trigger, captions=folders, resolution=resolution, thumbnail=thumbnail),
            "concept": spec.concept,
            "captions": spec.strategy,
            "seed": str(spec.seed),
            "settings": json.dumps(self.request.settings.as_dict(), sort_keys=True),
            "base": Path(base.source).name if Path(base.source).exists() else redact(base.source),
            "base_digest": base.digest,
            **({} if tokens is None else {MAX_TOKENS_KEY: str(tokens)}),
            **({PRECISION_KEY: json.dumps(base.options.precision)} if base.options.precision else {}),
        }

    def job(self, base: Base, network: Network) -> TrainingJob:
        """The training and its callbacks."""
        from lycoris.training import (
            CallbackSchedule,
            CheckpointCallback,
            TrainingJob,
            TrainingSettings,
            split_examples,
        )

        request = self.request
        self.work_dir.mkdir(parents=True, exist_ok=True)
        examples = self._examples()
        held_out: Sequence[Example] = []
        if request.validation is not None:
            examples, held_out = split_examples(examples, request.validation.hold_out)
        schedule = CallbackSchedule(at=request.checkpoints)
        checkpoints = CheckpointCallback(self.work_dir / "checkpoints", schedule, self.metadata(base.resolution))
        return TrainingJob(
            network,
            examples,
            TrainingSettings(**request.settings.training),
            request.spec.seed,
            self.work_dir / STATE_FILE,
            [checkpoints, *self._monitoring(base, held_out)],
        )

    def _examples(self) -> list[Example]:
        """The images to train on, prior ones last."""
        from lycoris.training import Example

        request, count = self.request, len(self.request.images.files)
        repeats, alternatives = request.repeats or (1,) * count, request.alternatives or ((),) * count
        rows = zip(request.images.files, request.captions, repeats, alternatives, strict=True)
        examples = [Example(file, caption, often, alternatives=every) for file, caption, often, every in rows]
        if request.prior is not None:
            pairs = zip(request.prior.images.files, request.prior.captions, strict=True)
            examples += [Example(file, caption, prior=True) for file, caption in pairs]
        return examples

    def _monitoring(self, base: Base, held_out: Sequence[Example]) -> list[Callback]:
        """The callbacks that compute a validation loss and generate sample images."""
        from lycoris.training import CallbackSchedule, ImageCallback, ValidationCallback

        callbacks: list[Callback] = []
        if (validation := self.request.validation) is not None:
            schedule, cache = CallbackSchedule(every=validation.every), self.context.store / ENCODINGS_DIR
            callbacks.append(
                ValidationCallback(base, held_out, schedule, noise_levels=validation.noise_levels, cache_folder=cache)
            )
        if (samples := self.request.samples) is not None:
            schedule, folder = CallbackSchedule(every=samples.every), self.work_dir / SAMPLES_DIR
            settings = samples.sampling.generation
            callbacks.append(ImageCallback(base, folder, schedule, samples.prompts, samples.seeds, settings))
        return callbacks

    def save_result(
        self, base: Base, network: Network, result: TrainingResult, co_trained: int, peak_bytes: int | None
    ) -> None:
        """Write the adapter and the summary of its training to the work folder.

        Args:
            base: the base that it was trained on.
            network: the trained network.
            result: of its training.
            co_trained: how many adapters were trained at the same time.
            peak_bytes: memory that they took together beyond the loaded base; None where it was not measured.
        """
        from lycoris.training.callbacks import progress_metadata

        continued = self.work_dir / CONTINUED_FILE
        continued_from = int(continued.read_text()) if continued.is_file() else None
        position = progress_metadata(result.steps, result.epochs)
        if continued_from is not None:
            position["continued_from"] = str(continued_from)
        metadata = self.metadata(base.resolution, last_sample_thumbnail(self.work_dir / SAMPLES_DIR))
        network.save(self.work_dir / ADAPTER_FILE, metadata={**metadata, **position})
        summary = TrainingSummary(
            step=result.steps,
            epoch=float(position["epoch"]),
            losses=[round(loss, 6) for loss in result.losses],
            binned_losses={
                name: [None if loss is None else round(loss, 6) for loss in losses]
                for name, losses in result.binned_losses.items()
            },
            callback_records=result.callback_records,
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            layers=len(network),
            seconds=result.seconds / co_trained * result.steps / max(1, result.steps - result.resume_step),
            co_trained=co_trained,
            peak_memory=peak_bytes,
            image_count=result.image_count,
            upscaled_count=result.upscaled_count,
            skipped_images={**self.request.skipped_images, **result.skipped_images},
            cropped_images=result.cropped_images,
            continued_from=continued_from,
        )
        atomic_write_text(self.work_dir / SUMMARY_FILE, summary.to_json())  # last: it says that everything is there

    def write_artifact(self, checkpoint: int | None, folder: Path) -> None:
        """Fill the folder of the end (None) or of a checkpoint, with what was known of the training by then."""
        from lycoris import read_metadata

        summary = TrainingSummary.read(self.work_dir)
        if checkpoint is None:
            shutil.copyfile(self.work_dir / ADAPTER_FILE, folder / ADAPTER_FILE)
            if (self.work_dir / SAMPLES_DIR).is_dir():
                shutil.copytree(self.work_dir / SAMPLES_DIR, folder / SAMPLES_DIR)
        else:
            shutil.copyfile(self.work_dir / "checkpoints" / f"{checkpoint}.safetensors", folder / ADAPTER_FILE)
            header = read_metadata(folder / ADAPTER_FILE)
            summary = summary.truncated(int(header["step"]), float(header["epoch"]))
        sort_metadata(folder / ADAPTER_FILE)
        (folder / SUMMARY_FILE).write_text(summary.to_json())


def run_trainings(
    trainings: Sequence[AdapterTraining],
    bar: progress.StepProgress,
    *,
    prepare: Callable[[AdapterTraining, TrainingJob], object] = lambda training, job: None,
    reporters: Sequence[Callable[[int, int, float], object]] = (),
) -> None:
    """Train one adapter, or several at the same time, each in its work folder, where a later call continues.

    In a process group, each step is divided among the processes, and the first one writes.

    Args:
        prepare: called with each training and its job before the first step.
        reporters: of each training, called with (steps done, steps in total, loss) after a step.

    Raises:
        InputError: something is wrong with the data or the settings; of a single training, also that it diverged.
    """
    from lycoris.training import TrainingDivergedError, co_train
    from lycoris.training.distributed import ProcessGroup
    from lycoris.training.memory_profiling import peak_memory

    group = ProcessGroup.current()
    context = trainings[0].context
    reference = trainings[0].request.base
    base = resources.cached_base(context, reference)
    networks: list[Network] = []
    latest: dict[int, tuple[int, int, float]] = {}

    def report(number: int, done: int, steps: int, loss: float) -> None:
        latest[number] = (done, steps, loss)
        if reporters:
            reporters[number](done, steps, loss)
        all_done, all_steps, losses = (sum(values) for values in zip(*latest.values(), strict=True))
        bar(int(all_done), int(all_steps), losses / len(latest))

    try:
        with peak_memory(base.device) as peak:
            for training in trainings:
                networks.append(training.attach(base))
            jobs = [training.job(base, network) for training, network in zip(trainings, networks, strict=True)]
            for training, job in zip(trainings, jobs, strict=True) if group.rank == 0 else ():
                prepare(training, job)
            group.wait()  # all read the same checkpoints
            results = co_train(base, jobs, progress=report, cache_folder=context.store / ENCODINGS_DIR)
        for training, network, result in zip(trainings, networks, results, strict=True):
            if not isinstance(result, TrainingDivergedError):
                if group.rank == 0:
                    training.save_result(base, network, result, len(trainings), peak.bytes)
            elif len(trainings) == 1:
                raise result
    finally:
        for network in networks:
            network.detach()
