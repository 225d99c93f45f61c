"""What an adapter file is: dialect, family, algorithms, ranks, norms, training facts, and what is odd about it."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike

import torch
from torch import Tensor

from lycoris.adapters.algorithms import Adapter
from lycoris.adapters.files.checkpoint_reader import AdapterFile, read_adapter_file
from lycoris.adapters.files.keys import find_dialect
from lycoris.adapters.files.metadata import algorithm_title
from lycoris.adapters.low_rank_approximation import exact_factors, frobenius_distance
from lycoris.adapters.toolbox.file_layers import FileLayer, read_file_layers
from lycoris.errors import InputError
from lycoris.pocket import EMBEDDED_BASES

_FACTS = {
    "trigger phrase": ("modelspec.trigger_phrase",),
    "title": ("modelspec.title", "ss_output_name"),
    "author": ("modelspec.author",),
    "base": ("base", "ss_sd_model_name", "ss_base_model_version"),
    "concept": ("concept",),
    "captions": ("captions",),
    "resolution": ("ss_resolution", "modelspec.resolution"),
    "images": ("ss_num_train_images",),
    "steps": ("step", "ss_steps"),
    "epochs": ("epoch", "ss_epoch", "ss_num_epochs"),
    "batch size": ("ss_batch_size_per_device", "ss_total_batch_size"),
    "learning rate": ("ss_learning_rate", "ss_unet_lr"),
    "optimizer": ("ss_optimizer",),
    "scheduler": ("ss_lr_scheduler",),
    "seed": ("seed", "ss_seed"),
    "trained with": ("ss_network_module", "software"),
    "date": ("modelspec.date", "ss_training_finished_at"),
    "comment": ("ss_training_comment", "modelspec.description"),
    "hash": ("sshs_model_hash", "modelspec.hash_sha256"),
}
"""Fact → entries of the header that have it, the first that is there."""
_USUAL_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_MAX_TAGS = 10
_BLOCK = re.compile(r"(?:text_model\.)?(?:(?:\w+\.)*?\w*(?:blocks?|layers)\.\d+|[^.]+)")


@dataclass(frozen=True)
class LayerSummary:
    """One layer of a file.

    Attributes:
        name: in the file.
        part: of the model; ``"model"`` where it is not known.
        block: of the part.
        algorithm: name in `ALGORITHMS`.
        rank: None where the algorithm has none.
        alpha: None where the file has none.
        norm: Frobenius norm of ΔW; None where it depends on the base's weights or a value is not finite.
        parameters: number of values.
    """

    name: str
    part: str
    block: str
    algorithm: str
    rank: int | None
    alpha: float | None
    norm: float | None
    parameters: int


@dataclass(frozen=True)
class AdapterSummary:
    """What an adapter file is.

    Attributes:
        path: of the file.
        dialect: its name in the table of dialects.
        written_by: the tools that write the dialect.
        family: of the model; None where it is not known.
        architecture: as headers name it; None where the family is not known.
        parts: parts of the model, each with its number of layers.
        algorithms: each with its number of layers.
        ranks: each with its number of layers, in order.
        dtypes: each with its number of tensors.
        norm: Frobenius norm of all updates that are known.
        blocks: part and block → Frobenius norm of its updates.
        training: facts from the header.
        tags: the most frequent tags of the captions, each with its number.
        oddities: what is unusual or wrong, a sentence each.
        layers: the layers.
    """

    path: str
    dialect: str
    written_by: str
    family: str | None
    architecture: str | None
    parts: Mapping[str, int]
    algorithms: Mapping[str, int]
    ranks: Mapping[int, int]
    dtypes: Mapping[str, int]
    norm: float
    blocks: Mapping[str, float]
    training: Mapping[str, str]
    tags: Mapping[str, int]
    oddities: Sequence[str] = ()
    layers: Sequence[LayerSummary] = field(default=(), repr=False)

    @property
    def opens_on(self) -> str:
        """What the file is loaded on: the family and its parts."""
        if (base := self.training.get("base")) in EMBEDDED_BASES:
            return f"the {base} alone, whose layers are smaller than those of real models: {', '.join(self.parts)}"
        return f"{self.family or 'a model that its names do not tell'}: {', '.join(self.parts)}"


def inspect_adapter(path: str | PathLike[str]) -> AdapterSummary:
    """Describe an adapter file without a model.

    Args:
        path: a safetensors file of any dialect, or a PEFT folder.

    Raises:
        InputError: it is no adapter file, such as a checkpoint.
    """
    file = read_adapter_file(path)
    found = read_file_layers(file)
    layers, oddities = [], []
    for layer in found.layers:
        summary, odd = _inspect_layer(file, layer)
        layers.append(summary)
        oddities += odd
    norms: dict[str, list[float]] = {}
    for each in layers:
        norms.setdefault(f"{each.part}.{each.block}", []).append(each.norm or 0.0)
    dialect = find_dialect(file.keys)
    return AdapterSummary(
        path=str(path),
        dialect=dialect.name,
        written_by=dialect.written_by,
        family=None if found.family is None else found.family.name,
        architecture=None if found.family is None else found.family.architecture,
        parts=dict(Counter(each.part for each in layers)),
        algorithms=dict(Counter(each.algorithm for each in layers)),
        ranks=dict(sorted(Counter(each.rank for each in layers if each.rank is not None).items())),
        dtypes=_dtypes(file),
        norm=math.hypot(*(each.norm or 0.0 for each in layers)),
        blocks={block: math.hypot(*norms[block]) for block in sorted(norms, key=_natural_order)},
        training=_facts(file.metadata),
        tags=_tags(file.metadata),
        oddities=[*_file_oddities(file, layers), *_grouped(oddities)],
        layers=layers,
    )


def _inspect_layer(file: AdapterFile, layer: FileLayer) -> tuple[LayerSummary, list[tuple[str, str]]]:
    """Return a layer's summary, and its oddities, each as (kind, layer)."""
    tensors = file.layers[layer.name]
    odd = [(text, layer.name) for text in _tensor_oddities(tensors)]
    finite = all(values.numel() and torch.isfinite(values).all() for values in tensors.values())
    adapter, norm = None, None
    alpha = tensors.get("alpha")
    has_effect = alpha is None or alpha.numel() != 1 or float(alpha) != 0
    if finite:
        try:
            adapter = layer.build(file, tensors if has_effect else {**tensors, "alpha": torch.ones(())})
            norm = _norm(layer, adapter) if has_effect else 0.0
        except InputError as error:
            odd.append((f"cannot be loaded: {str(error).partition(': ')[2] or error}", layer.name))
    rank = getattr(getattr(adapter, "inner", adapter), "rank", None)
    if norm == 0 and has_effect:
        odd.append(("no effect: a factor is zero", layer.name))
    path = layer.place.paths[0]
    match = _BLOCK.match(path)
    summary = LayerSummary(
        layer.name,
        layer.place.part,
        match[0] if match and layer.place.is_certain else path,
        layer.algorithm,
        rank if isinstance(rank, int) else None,
        float(alpha) if alpha is not None and alpha.numel() == 1 else None,
        norm,
        sum(values.numel() for name, values in tensors.items() if name != "alpha"),
    )
    return summary, odd


@torch.no_grad()
def _norm(layer: FileLayer, adapter: Adapter) -> float | None:
    if adapter.uses_base_weight:
        return None
    structure = adapter.structure(layer.layer.weight)
    product = exact_factors(structure) if layer.algorithm in ("lora", "dylora", "t-lora") else None
    return structure.dense().norm().item() if product is None else frobenius_distance(product)


def _tensor_oddities(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    for name, values in tensors.items():
        if not values.numel():
            yield f"`{name}` is empty"
        elif not torch.isfinite(values).all():
            yield f"NaN or infinite values in `{name}`"
        elif name == "alpha":
            if values.numel() != 1:
                yield "`alpha` is not one number"
            elif float(values) == 0:
                yield "`alpha` is 0, so that the layer has no effect"
            elif float(values) < 0:
                yield "`alpha` is negative"
        elif values.is_floating_point() and values.dtype not in _USUAL_DTYPES:
            yield f"`{name}` has dtype {str(values.dtype).removeprefix('torch.')}"


def _grouped(oddities: Sequence[tuple[str, str]]) -> list[str]:
    """Return one sentence for each kind, with the number of layers and the first."""
    names: dict[str, list[str]] = {}
    for kind, layer in oddities:
        names.setdefault(kind, []).append(layer)
    return [f"{kind} ({len(layers)} layers, first `{layers[0]}`)" for kind, layers in names.items()]


def _file_oddities(file: AdapterFile, layers: Sequence[LayerSummary]) -> Iterator[str]:
    ranks = Counter(each.rank for each in layers if each.rank is not None)
    if (
        len(ranks) > 1 and "lycoris.converted_from" not in file.metadata
    ):  # a converted file has the rank each layer needs
        yield f"mixed ranks: {', '.join(f'{rank} ({count} layers)' for rank, count in sorted(ranks.items()))}"
    alphas = {each.alpha / each.rank for each in layers if each.alpha is not None and each.rank}
    if len(alphas) > 1:
        yield f"mixed scales alpha / rank: {', '.join(f'{scale:g}' for scale in sorted(alphas))}"
    if file.unread:
        yield f"{len(file.unread)} keys that no adapter has, first `{file.unread[0]}`"
    if file.embeddings:
        yield f"{len(file.embeddings)} keys of textual-inversion embeddings, first `{file.embeddings[0]}`"
    unknown = [each.name for each in layers if each.part == "model"]
    if unknown:
        yield f"{len(unknown)} layers of a model that their names do not tell, first `{unknown[0]}`"


def _dtypes(file: AdapterFile) -> dict[str, int]:
    counts = Counter(
        str(values.dtype).removeprefix("torch.") for tensors in file.layers.values() for values in tensors.values()
    )
    return dict(counts.most_common())


def _facts(metadata: Mapping[str, str]) -> dict[str, str]:
    facts = {}
    for fact, entries in _FACTS.items():
        value = next((metadata[entry] for entry in entries if metadata.get(entry) not in (None, "", "None")), None)
        if value is not None:
            facts[fact] = value
    if origin := read_origin(metadata):
        facts["converted from"] = algorithm_title(origin)
    if "modelspec.thumbnail" in metadata:
        facts["thumbnail"] = f"{len(metadata['modelspec.thumbnail'])} characters"
    return facts


def read_origin(metadata: Mapping[str, str]) -> str | None:
    """Return the algorithm that a file was converted from; None where it was not, or the header does not say it."""
    try:
        return str(json.loads(metadata["lycoris.converted_from"])["algorithm"])
    except (KeyError, ValueError, TypeError, RecursionError):
        return None


def _tags(metadata: Mapping[str, str]) -> dict[str, int]:
    """Return the most frequent tags of `ss_tag_frequency`; none where it is not kohya's form."""
    try:
        folders = json.loads(metadata.get("ss_tag_frequency", "{}"))
        counts = Counter[str]()
        for tags in folders.values():
            counts.update({str(tag): int(count) for tag, count in tags.items()})
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}
    return dict(counts.most_common(_MAX_TAGS))


def _natural_order(text: str) -> list[tuple[int, str]]:
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in re.split(r"(\d+)", text)]


def histogram(summary: AdapterSummary, width: int = 40) -> list[str]:
    """Return one line for each block: its name, the norm of its update, and a bar.

    Args:
        summary: the file's summary.
        width: of the longest bar, in characters.

    Raises:
        InputError: a width below 1.
    """
    if width < 1:
        raise InputError(f"Argument `width` must be at least 1, but got {width!r}.")
    largest = max(summary.blocks.values(), default=0.0) or 1.0
    column = max((len(block) for block in summary.blocks), default=0)
    return [
        f"{block:<{column}} {norm:10.4g} {'█' * round(width * norm / largest)}".rstrip()
        for block, norm in summary.blocks.items()
    ]
