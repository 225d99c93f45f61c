"""The plan of one adapter on one base: parameters, the peak memory of each phase, and the FLOPs of a step."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import lycoris
from lycoris.bases import Base, resolve_family
from lycoris.bases.parameter_count import find_configs
from lycoris.bases.quantization import PLAIN, QUANTIZED, Precisions
from lycoris.bases.sampling import Denoising
from lycoris.bases.tokenization import TruncatedPromptWarning
from lycoris.planning.fake_models import FakeFiles, FakeQuantizedLinear, fake_tensors, module_bytes
from lycoris.planning.gpu_autocast import GpuAutocast
from lycoris.planning.meter import Meter
from lycoris.planning.records import CAPTION_WORDS, BasePlan, Phase, TrainingPlan, Workload, WorkPlan
from lycoris.planning.scoring import plan_scoring
from lycoris.planning.training_step import TrainingStep
from lycoris.training.data.caption_encoding import text_parameter_positions
from lycoris.training.data.image_dataset import MAX_BATCH_IMAGES, MAX_BATCH_PIXELS
from lycoris.training.data.sampler import Batch

if TYPE_CHECKING:
    from lycoris.adapters.network import Network
    from lycoris.bases import Family, ModelFiles, TextConditioning


def plan_work(files: ModelFiles, family: Family, source: str, workload: Workload) -> WorkPlan:
    """Plan a workload by running its steps on fake tensors; no weight is read and no value computed.

    Args:
        files: the base's files; their configurations are enough.
        family: the family that matches them.
        source: name of the base, for messages.
        workload: the work.

    Raises:
        InputError: a configuration is missing, or a setting does not fit the base.
    """
    with fake_tensors(), GpuAutocast(workload.on_gpu), warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncatedPromptWarning)  # the caption stands for any
        with Meter():  # for the values of the noise schedule
            base = _open(files, family, source, workload)
        work = _Work(base, workload)
        phases = {"captions": work.captions(), "latents": work.latents()}
        phases["training"], training = work.training()
        phases |= work.generation()
        base_plan = work.base_plan()
    scoring = plan_scoring(tuple(workload.encoders))
    if scoring is not None:  # without offloading, base and encoders stay loaded
        if not workload.offload:
            phases = {
                name: dataclasses.replace(each, resident=each.resident + scoring.resident)
                for name, each in phases.items()
            }
        base_bytes = 0 if workload.offload else sum(base_plan.bytes.values())
        phases["scoring"] = Phase(base_bytes + scoring.resident, scoring.working, scoring.flops)
    return WorkPlan(base_plan, training, phases)


def _open(files: ModelFiles, family: Family, source: str, workload: Workload) -> Base:
    plain = {name: value for name, value in workload.precisions.items() if value in PLAIN}
    quantized = {
        part: workload.precisions.get("text_encoders" if part.startswith("text_encoder") else "denoiser", "")
        for part in family.part_classes(files)
        if not part.startswith("tokenizer") and part != "vae"
    }
    fakes = FakeFiles(files, {part: value for part, value in quantized.items() if value in QUANTIZED})
    dtype = PLAIN.get(
        workload.precisions.get("denoiser", ""), workload.dtype
    )  # of its weights unless they are quantised
    precisions = Precisions(**plain)  # type: ignore[arg-type]  # checked by the class
    return Base(family, fakes, source, "cpu", dtype, precisions=precisions, **workload.base_options)


class _Work:
    """The phases of one workload on a base of fake tensors."""

    def __init__(self, base: Base, workload: Workload) -> None:
        self._base, self._workload = base, workload
        self._caption = workload.caption or " ".join(["word"] * CAPTION_WORDS)
        side = workload.resolution or base.resolution
        self._side = side - side % base.size_multiple
        modules: dict[str, nn.Module] = {**base.modules}
        self._bytes = {part: module_bytes(module) for part, module in modules.items()}
        self._parameters = {part: _count(module) for part, module in modules.items()}
        self._text = tuple(part for part in modules if part.startswith("text_encoder"))
        self._rest = tuple(part for part in modules if part != "vae" and not part.startswith("text_encoder"))
        self._conditioning: TextConditioning | None = None
        self._originals: dict[str, int] = {}

    def base_plan(self) -> BasePlan:
        """What is known of the base."""
        assert self._conditioning is not None
        dtype = str(self._base.dtype).removeprefix("torch.")
        tokens = self._conditioning.hidden_states.shape[1]
        return BasePlan(self._base.family, self._parameters, self._bytes, self._side, tokens, dtype)

    def captions(self) -> Phase:
        """Encode one caption, as a training does before its first step."""
        with Meter() as meter, torch.no_grad(), meter.count_flops() as flops:
            self._conditioning = self._base.encode_text([self._caption])
        return Phase(self._resident(*self._text), meter.peak, flops[0])

    def latents(self) -> Phase:
        """Encode as many images as are encoded at once."""
        count = max(1, min(MAX_BATCH_IMAGES, MAX_BATCH_PIXELS // self._side**2)) if self._workload.on_gpu else 1
        with Meter() as meter, torch.no_grad(), meter.count_flops() as flops:
            self._base.encode_images(torch.empty(count, 3, self._side, self._side))
        return Phase(self._resident("vae"), meter.peak, flops[0] // count)

    def training(self) -> tuple[Phase, TrainingPlan]:
        """Attach the adapter and take an optimizer step, with an optimizer that has its state."""
        settings = self._workload.training
        with Meter() as meter:
            network = lycoris.attach(self._base.parts, **self._workload.network)
            layers = Counter(layer.part for layer in network.layers.values())
            if not self._workload.is_quantized:
                self._originals = _weights_by_part(network)
            named = {name: each for name, each in network.named_parameters() if each.requires_grad}
            network.eval()
            positions = text_parameter_positions(self._base, list(named.values()))
            step = TrainingStep(self._base, network, named, positions, settings, self._batch)
            flops = step.run(meter)
        network.detach()
        parts = (*self._rest, *self._text) if positions else self._rest
        plan = TrainingPlan(_count_all(named.values()), dict(layers), flops, bool(positions))
        return Phase(self._resident(*parts), meter.peak, flops), plan

    def generation(self) -> dict[str, Phase]:
        """Encode prompts, predict once with guidance, and decode; the schedulers' own tensors are a few latents.

        Adapters are merged into the weights, whose originals are kept, unless these are quantised.
        """
        base, settings = self._base, self._workload.generation
        scale = base.guidance.default if settings.guidance is None else settings.guidance
        guided = base.guidance.kind == "classifier-free" and scale != 1.0
        count, side = settings.batch_size, self._side // base.vae_scale_factor
        phases = {}
        with Meter() as meter, torch.no_grad():
            uses_negative = guided and not base.has_unconditional_denoiser
            encoded = base.encode_text([self._caption] * (self._workload.prompts + uses_negative))
            negative = base.encode_text([""], negative=True) if uses_negative else None
            phases["prompts"] = Phase(self._resident(*self._text, merged=True), meter.peak)
            meter.reset_peak()
            latents = torch.empty(count, base.latent_channels, side, side)
            denoising = Denoising(
                encoded[[0] * count],
                None if negative is None else negative[[0] * count],
                guided,
                scale,
                settings.steps,
                (self._side // base.size_multiple) ** 2,
            )
            time = torch.tensor(500.0 if base.noise_by_token or base.denoiser != "unet" else 500)
            with meter.count_flops() as flops:
                prediction = denoising.predict(base, latents, time)
            phases["denoising"] = Phase(
                self._resident(*self._rest, merged=True), meter.peak, flops[0] * settings.steps // count
            )
            meter.reset_peak()
            with meter.count_flops() as flops:
                base.decode_latents(prediction)
            phases["decoding"] = Phase(self._resident("vae", merged=True), meter.peak, flops[0] // count)
        return phases

    def _resident(self, *parts: str, merged: bool = False) -> int:
        """Bytes of the weights that are on the card while some parts work, with the originals of merged ones."""
        present = [part for part in self._bytes if part in parts or not self._workload.offload]
        return sum(self._bytes[part] + merged * self._originals.get(part, 0) for part in present)

    def _batch(self, count: int, is_encoded: bool) -> Batch:
        """A batch as the sampler yields it; its captions are encoded already, or now."""
        base, side = self._base, self._side // self._base.vae_scale_factor
        if is_encoded:
            assert self._conditioning is not None
            conditioning = type(self._conditioning).cat([self._conditioning] * count)
        else:
            conditioning = base.encode_text([self._caption] * count)
        shape = (count, base.latent_channels, side, side)
        times = torch.tensor([500.0 if base.denoiser != "unet" else 500] * count)
        size = torch.tensor([[self._side, self._side, 0, 0, self._side, self._side]] * count, dtype=torch.float32)
        return Batch(torch.empty(shape), torch.empty(shape), times, conditioning, size, torch.ones(count))


def _weights_by_part(network: Network) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for layer in network.layers.values():
        weight: Any = layer.module.weight
        sizes[layer.part] = sizes.get(layer.part, 0) + weight.nbytes
    return sizes


def _count(module: nn.Module) -> int:
    packed = [each for each in module.modules() if isinstance(each, FakeQuantizedLinear)]
    hidden = sum(each.in_features * each.out_features - each.weight.numel() for each in packed)
    return _count_all(module.parameters()) + hidden


def _count_all(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def find_files(source: str | Path, **options: Any) -> tuple[ModelFiles, Family]:
    """Find the configurations of a base and its family; of a hub model that is not cached, only they are fetched.

    Args:
        source: as for `lycoris.bases.open_base`.
        options: ``tokenizer``, ``prediction_type`` and ``vae`` as for `lycoris.bases.open_base`.

    Raises:
        InputError: there is no such base, or no family matches it.
    """
    return resolve_family(find_configs(source), **options)
