"""How many GPUs train an adapter together."""

from __future__ import annotations

from flows.config.experiment import LOCAL_RUNNERS, Experiment
from lycoris.errors import InputError


def training_processes(experiment: Experiment) -> int:
    """Return how many processes, one for each GPU, train an adapter of an experiment together.

    Raises:
        InputError: This machine has fewer GPUs, the work is done elsewhere or by several workers, or a step has fewer
            images than there are GPUs.
    """
    if experiment.gpus is None:
        return 1
    import torch

    available = torch.cuda.device_count()
    count = available if experiment.gpus == "all" else experiment.gpus
    if not 1 <= count <= available:
        raise InputError(
            f"Option `gpus` must be left out or at most the number of GPUs of this machine, which is {available}, but "
            f"is `{experiment.gpus}`."
        )
    if experiment.runner not in LOCAL_RUNNERS or (experiment.workers or 1) > 1:
        raise InputError(
            f"Option `gpus` must be left out with a runner on other machines and with several workers, but runner is "
            f"`{experiment.runner}` and workers is {experiment.workers or 1}."
        )
    for adapter in experiment.algorithms:
        training = experiment.adapter_settings(adapter).training
        images = training["batch_size"] * training.get("gradient_accumulation_steps", 1)
        if images < count:
            raise InputError(
                f"Adapter `{adapter.label}`: a step must have at least one image for each of the {count} GPUs, but has "
                f"{images}: set `batch_size` to {count} or more, or leave out `gpus`."
            )
    return count
