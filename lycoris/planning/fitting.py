"""Choose what makes a workload fit a card: first what changes no result, at last fewer bits for the weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from lycoris.bases.quantization import BYTES_PER_WEIGHT
from lycoris.errors import InputError
from lycoris.planning.records import Workload, WorkPlan
from lycoris.planning.sizes import gigabytes

MARGIN = 0.1
"""Share of a card that is left for what a plan does not know: the CUDA context, fragments, other programs."""
ORDER = (
    "parts of the base leave the card while they do not work",
    "gradient checkpointing",
    "fewer images at once, with as many accumulated",
    "fewer images generated at once",
    "text encoders in 8, then 4 bits",
    "the denoiser in 8, then 4 bits",
)
"""What is tried, in this order. The first four change no result beyond rounding, the last two do."""


@dataclass(frozen=True)
class FitChoice:
    """A workload that fits.

    Attributes:
        workload: with what was chosen.
        plan: its plan.
        memory: of the card, in bytes.
        changes: what was changed and why, a sentence each; empty if it fitted as it was.
    """

    workload: Workload
    plan: WorkPlan
    memory: int
    changes: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """What was chosen and why, in sentences."""
        end = (
            f"Planned peak {gigabytes(self.plan.peak)} in {self.plan.peak_phase}, of {gigabytes(usable(self.memory))} "
            f"that may be used of {gigabytes(self.memory)}."
        )
        return [*(self.changes or ("Nothing has to be changed.",)), end]


def fit_card(
    workload: Workload,
    memory: int,
    plan: Callable[[Workload], WorkPlan],
    precisions: Collection[str] = ("int8", "nf4"),
) -> FitChoice:
    """Change a workload, in the order of `ORDER`, until its planned peak fits a card with `MARGIN` left.

    A change is kept only if it lowers the peak.

    Args:
        workload: as it was asked for.
        memory: of the card, in bytes.
        plan: plans a workload.
        precisions: keys of `lycoris.bases.quantization.QUANTIZED` that may be chosen: whose packages are there.

    Raises:
        InputError: nothing fits; the message has the least peak that was planned.
    """
    current, changes = plan(workload), list[str]()
    while current.peak > usable(memory):
        for name, candidate in _candidates(workload, precisions, current.peak_phase):
            try:
                planned = plan(candidate)
            except InputError:  # the algorithm does not train on quantised weights
                continue
            if planned.peak < current.peak:
                changes.append(
                    f"{name[0].upper()}{name[1:]}: {current.peak_phase} needed {gigabytes(current.peak)}, and all of "
                    f"it now {gigabytes(planned.peak)}."
                )
                workload, current = candidate, planned
                break
        else:
            raise InputError(
                f"Option `fit` is {gigabytes(memory)}, of which {gigabytes(usable(memory))} may be used, but the least "
                f"planned peak is {gigabytes(current.peak)}, in {current.peak_phase}, after: "
                f"{' '.join(changes) or 'nothing that helps.'}"
            )
    return FitChoice(workload, current, memory, tuple(changes))


def usable(memory: int) -> int:
    """Bytes of a card that a plan may take."""
    return round(memory * (1 - MARGIN))


def _candidates(workload: Workload, precisions: Collection[str], phase: str) -> Iterator[tuple[str, Workload]]:
    """Yield one further change of each kind that can lower the peak of a phase, in order, with its name."""
    training, generation = workload.training, workload.generation
    if workload.on_gpu and not workload.offload:
        yield ORDER[0], dataclasses.replace(workload, offload=True)
    if phase == "training" and not training.gradient_checkpointing:
        yield ORDER[1], _with_training(workload, gradient_checkpointing=True)
    if phase == "training" and training.batch_size > 1:
        total, smaller = training.effective_batch_size, _next_divisor(training.batch_size)
        name = f"{smaller} image{'s' * (smaller > 1)} at once and {total // smaller} times accumulated"
        yield name, _with_training(workload, batch_size=smaller, gradient_accumulation_steps=total // smaller)
    if phase in ("denoising", "decoding") and generation.batch_size > 1:
        smaller = generation.batch_size // 2
        own = dataclasses.replace(generation, batch_size=smaller)
        yield f"{smaller} images generated at once", dataclasses.replace(workload, generation=own)
    for part, title in {"text_encoders": "text encoders", "denoiser": "denoiser"}.items():
        before = workload.precisions.get(part)
        for precision in ("int8", "nf4"):
            if precision in precisions and BYTES_PER_WEIGHT[precision] < BYTES_PER_WEIGHT.get(before or "", 2.0):
                own_precisions = {**workload.precisions, part: precision}
                yield f"{title} in {precision}", dataclasses.replace(workload, precisions=own_precisions)
                break


def _with_training(workload: Workload, **changes: object) -> Workload:
    return dataclasses.replace(workload, training=dataclasses.replace(workload.training, **changes))  # type: ignore[arg-type]


def _next_divisor(count: int) -> int:
    """The largest divisor below a number."""
    return next(each for each in range(count // 2, 0, -1) if count % each == 0)
