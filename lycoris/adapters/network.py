"""Networks: give layers of a model an adapter each, take them off again, fold them in and out."""

from __future__ import annotations

import datetime
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, cast

import torch
from torch import nn

from lycoris.adapters.algorithms.adapter import Adapter, TargetLayer
from lycoris.adapters.files.layer_names import LayerRef, named_parts
from lycoris.adapters.layers.adapted_layer import as_adapted, eject, inject
from lycoris.adapters.layers.batch_partition import BatchPartition
from lycoris.adapters.layers.dropout import Dropout
from lycoris.adapters.layers.layer_options import AdapterSpec
from lycoris.adapters.layers.target_modules import select_layers
from lycoris.errors import InputError, unknown_name_error


class Network(nn.Module):
    """Adapters on the layers of one model. Its parameters are the trainable ones; the model's own are frozen.

    Attributes:
        algorithm: name in `ALGORITHMS`, or ``"mixed"``.
        settings: what the network was made with, as plain JSON values.
        adapters: file name of the layer → adapter.
        places: file name of the layer → where it is.
        name: the network's name in `layer.adapters`.
        merged: whether the weights hold the network at the moment.
    """

    def __init__(self, algorithm: str, settings: dict[str, Any], layer_adapters: Sequence[tuple[LayerRef, Adapter]]):
        super().__init__()
        self.algorithm = algorithm
        self.settings = settings
        held = nn.ModuleDict({place.key: adapter for place, adapter in layer_adapters})
        self.adapters = cast("Mapping[str, Adapter]", held)  # which says less of what it holds
        self.layers = {place.key: place for place, _ in layer_adapters}
        self.merged = False
        self._attached = True
        self._scale = 1.0
        self._timestep: torch.Tensor | None = None
        self._batch_partition: BatchPartition | None = None
        taken = {name for place, _ in layer_adapters for name in getattr(place.layer, "adapters", ())}
        stem = algorithm.replace("-", "_")
        self.name = next(n for n in (stem, *(f"{stem}_{i}" for i in range(2, 1000))) if n not in taken)
        for place, adapter in layer_adapters:
            inject(place.layer, self.name, adapter)

    def __len__(self) -> int:
        """Number of adapted layers."""
        return len(self.adapters)

    @property
    def scale(self) -> float:
        """Factor on every change of weight; 1 as trained, 0 is the base."""
        return self._scale

    @scale.setter
    def scale(self, value: float) -> None:
        merged = self.merged
        if merged:
            self.unmerge()
        self._scale = float(value)
        for adapter in self.adapters.values():
            adapter.multiplier = self._scale
        if merged:
            self.merge()

    def part_parameters(self, part: str) -> Iterator[nn.Parameter]:
        """The trainable parameters of one part: ``"unet"``, ``"text_encoder"``.

        Raises:
            InputError: no layer of that part is adapted.
        """
        known = sorted({place.part for place in self.layers.values()})
        if part not in known:
            raise unknown_name_error("part", part, known)
        for key, place in self.layers.items():
            if place.part == part:
                yield from self.adapters[key].parameters()

    def parameter_groups(self, learning_rate: float, *, ratio: float = 16.0) -> list[dict[str, Any]]:
        """The parameters for an optimiser, `up` of LoRA and DyLoRA learning `ratio` times faster.

        LoRA+ (Hayou et al. 2024, arXiv 2402.12354): with one rate for both factors, wide layers learn badly.

        Args:
            learning_rate: of every other parameter.
            ratio: at least 1 for LoRA+; 1 is one rate for all.

        Returns:
            Groups with `params` and `lr`, as `torch.optim` takes them.

        Raises:
            InputError: a rate or ratio that is not positive and finite; a ratio where nothing could be faster.
        """
        for argument, value in (("learning_rate", learning_rate), ("ratio", ratio)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise InputError(f"Argument `{argument}` must be a positive finite number, but got {value!r}.")
        adapters = [module for module in self.modules() if isinstance(module, Adapter)]
        fast = {id(getattr(adapter, name)) for adapter in adapters for name in adapter.loraplus_parameters}
        if not fast and ratio != 1:
            raise InputError(f"Argument `ratio` needs `lora` or `dylora`, but this network is `{self.algorithm}`.")
        groups = [
            {"params": [p for p in self.parameters() if id(p) not in fast], "lr": learning_rate},
            {"params": [p for p in self.parameters() if id(p) in fast], "lr": learning_rate * ratio},
        ]
        return [group for group in groups if group["params"]]

    @property
    def timestep(self) -> torch.Tensor | None:
        """Timesteps of the batch, [batch], for algorithms that look at them (`t-lora`); None is none in particular."""
        return self._timestep

    @timestep.setter
    def timestep(self, value: torch.Tensor | int | None) -> None:
        self._timestep = None if value is None else torch.as_tensor(value).reshape(-1)
        for module in self.modules():
            if isinstance(module, Adapter) and hasattr(module, "timestep"):
                module.timestep = self._timestep

    @property
    def batch_partition(self) -> BatchPartition | None:
        """Which rows of a batch the network acts on while several are trained together; None is all."""
        return self._batch_partition

    @batch_partition.setter
    def batch_partition(self, value: BatchPartition | None) -> None:
        self._batch_partition = value
        for adapter in self.adapters.values():
            adapter.batch_partition = value

    @property
    def parts(self) -> list[str]:
        """Names of the parts that have adapters, in order."""
        return list(dict.fromkeys(place.part for place in self.layers.values()))

    def merge(self) -> Network:
        """Fold the network into the weights; `unmerge` brings back the very bits."""
        self._check_attached()
        for place in self.layers.values() if not self.merged else ():
            as_adapted(place.layer).merge(self.name)
        self.merged = True
        return self

    def unmerge(self) -> Network:
        """Take the network out of the weights again; the adapters are live as before."""
        self._check_attached()
        for place in self.layers.values() if self.merged else ():
            as_adapted(place.layer).unmerge(self.name)
        self.merged = False
        return self

    def detach(self) -> Network:
        """Take every adapter off; the base is bit for bit what it was. The network can still be saved."""
        if self._attached:
            for place in self.layers.values():
                eject(place.layer, self.name)
        self._attached = self.merged = False
        return self

    def reattach(self) -> Network:
        """Put a detached network back on its model."""
        if not self._attached:
            for key, place in self.layers.items():
                inject(place.layer, self.name, self.adapters[key])
        self._attached = True
        return self

    def save(
        self,
        path: str | PathLike[str],
        *,
        format: str = "lycoris",
        metadata: Mapping[str, str] | None = None,
        dtype: str = "float32",
        date: datetime.date | None = None,
    ) -> None:
        """Write a safetensors file, or PEFT's folder of one; see `lycoris.adapters.files.formats.save`."""
        from lycoris.adapters.files.formats import save

        save(self, path, format=format, metadata=metadata, dtype=dtype, date=date)

    def extra_repr(self) -> str:
        """Algorithm, number of layers, scale."""
        state = "merged" if self.merged else "live" if self._attached else "detached"
        return f"{self.algorithm}, {len(self)} layers, scale={self.scale:g}, {state}"

    def _check_attached(self) -> None:
        if not self._attached:
            raise InputError("The network is detached from its model: `reattach()` it first.")


def attach(
    model: object,
    algorithm: str = "lora",
    *,
    preset: str | None = None,
    layers: Sequence[str] | Mapping[str, Mapping[str, object]] | None = None,
    exclude: Sequence[str] = (),
    rank: int | None = None,
    alpha: float | None = None,
    factor: int | None = None,
    dora: Literal["output", "input"] | None = None,
    scalar: bool = False,
    dropout: float = 0.0,
    rank_dropout: float = 0.0,
    module_dropout: float = 0.0,
    seed: int = 0,
    **options: object,
) -> Network:
    """Freeze a model and give its layers adapters, which change nothing until they are trained.

    Args:
        model: a module, a dict of named modules (``{"unet": ..., "text_encoder": ...}``) or a diffusers pipeline.
        algorithm: a name of `ALGORITHMS`; ``"native"`` is ``"full"``.
        preset: a name of `PRESETS`; ``"attn-mlp"`` when neither this nor `layers` is given, ``"everything"`` for
            a lone module of no known kind.
        layers: instead of a preset, regular expressions; a layer is chosen when one matches its whole path, with or
            without the part's name in front. A dict gives each pattern options of its own, the first that matches
            deciding: ``{r".*attn.*": {"rank": 16}, r".*ff.*": {"algorithm": "lokr", "factor": 8}}``. A rule that names
            an algorithm has that one's defaults, any other the options of this call.
        exclude: regular expressions of layers to leave out.
        rank, alpha, factor: as the algorithm has them; None is its default.
        dora: learn the weight's lengths apart, per output or per input, whatever the algorithm.
        scalar: multiply the change by a trained number that starts at 0, and no factor at 0 (`lora`, `loha`, `lokr`,
            `glora`, `dylora`).
        dropout: probability of dropping elements of the delta's output while training.
        rank_dropout: the same for output channels of the delta.
        module_dropout: the same for whole adapters.
        seed: of the parameters' first values; a layer's depend on it and on the layer's name alone.
        options: further options of the algorithm, such as `tucker`.

    Returns:
        The network, attached.

    Raises:
        InputError: an unknown algorithm, preset, part or option; a value that a layer does not allow; no match.
    """
    given = {"rank": rank, "alpha": alpha, "factor": factor, **options}
    recipe = AdapterSpec(algorithm, given, dora, scalar)
    given_rules = layers if isinstance(layers, Mapping) else {}
    rules = {pattern: AdapterSpec.from_rule(rule, recipe) for pattern, rule in given_rules.items()}
    lost = list(recipe.settings())
    if lost and rules and all("algorithm" in rule for rule in given_rules.values()):
        raise InputError(f"Every rule of `layers` names its algorithm, so that none has the call's {lost}.")
    drop = Dropout(dropout, rank_dropout, module_dropout)

    parts = named_parts(model)
    chosen, preset = select_layers(parts, rules or recipe, preset=preset, layers=layers, exclude=exclude)
    made = []
    for place, own in chosen:
        adapter = own.build(TargetLayer(place.name, place.layer, layer_generator(seed, place.key), scalar=own.scalar))
        adapter.dropout = drop
        made.append((place, adapter))
    freeze(parts)
    used = {own.algorithm for _, own in chosen}
    plain = {pattern: dict(rule) for pattern, rule in given_rules.items()} or list(layers or ())
    settings: dict[str, Any] = {"preset": preset, "layers": plain, "exclude": list(exclude), "seed": seed}
    settings |= {**recipe.settings(), "dropout": dropout, "rank_dropout": rank_dropout}
    settings["module_dropout"] = module_dropout
    return Network(used.pop() if len(used) == 1 else "mixed", settings, made)


def freeze(parts: Mapping[str, nn.Module]) -> None:
    """No parameter of the base is trained; those of adapters stay as they are."""
    for part in parts.values():
        adapters = {id(p) for m in part.modules() if isinstance(m, Adapter) for p in m.parameters()}
        for parameter in part.parameters():
            if id(parameter) not in adapters:
                parameter.requires_grad_(False)


def layer_generator(seed: int, key: str) -> torch.Generator:
    """Where a layer's first values come from: its own stream, of the seed and its file name alone.

    Raises:
        InputError: the seed is not a whole number of at least 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"Argument `seed` must be a whole number of at least 0, but got {seed!r}.")
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
