"""Keys of adapter files, split into layer and tensor, and the dialect that wrote them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from lycoris.adapters.files.dialects import DIALECTS
from lycoris.adapters.files.dialects.dialect import Dialect
from lycoris.adapters.files.dialects.peft import PEFT_TENSORS
from lycoris.errors import InputError

EMBEDDING_PREFIXES = ("bundle_emb.", "emb_params")
"""Beginnings of keys of textual-inversion embeddings, which OneTrainer and others put beside an adapter."""
_FLAT_PREFIXES = tuple({prefix.text for dialect in DIALECTS.values() for prefix in dialect.prefixes if prefix.flat})
_ENDINGS = {ending: name for dialect in DIALECTS.values() for ending, name in dialect.endings.items()}
_BY_LENGTH = sorted((ending for ending in _ENDINGS if ending != ".weight"), key=len, reverse=True)
_ADAPTER_NAME = re.compile(rf"(.+\.(?:{'|'.join(PEFT_TENSORS)}))\.(?!weight$|bias$)[^.]+(\.weight|\.bias)?")
_ROTATION_KEY = re.compile(r".+\.b?oft_(R|s)(\.\w+)?(\.weight)?")


def split_key(key: str) -> tuple[str, str] | None:
    """Split a key into the layer's name and LyCORIS's or PEFT's name of the tensor; None where it has no such end.

    Raises:
        InputError: the key belongs to PEFT's OFT or BOFT.
    """
    if _ROTATION_KEY.fullmatch(key):
        raise InputError(
            f"Tensor `{key}` is of PEFT's OFT or BOFT, which rotate what goes into a layer, where this library rotates "
            "what comes out: merge it in PEFT and `extract` it."
        )
    key = without_adapter_name(key)
    flat = key.startswith(_FLAT_PREFIXES)
    layer, _, tensor = key.partition(".")
    if flat and layer not in _FLAT_PREFIXES and f".{tensor}" in _ENDINGS:
        return layer, _ENDINGS[f".{tensor}"]
    ending = next(
        (
            ending
            for ending in _BY_LENGTH
            if key.endswith(ending) and key.removesuffix(ending) not in ("", *_FLAT_PREFIXES)
        ),
        None,
    )
    if ending is not None:
        name = key.removesuffix(ending)
        return (name.replace(".", "_") if flat else name), _ENDINGS[ending]
    return (layer, tensor) if flat and tensor and layer not in _FLAT_PREFIXES else None


def without_adapter_name(key: str) -> str:
    """Take the name of a PEFT adapter out of a key: `lora_A.default_0.weight` is `lora_A.weight`."""
    match = _ADAPTER_NAME.fullmatch(key)
    return key if match is None else f"{match[1]}{match[2] or ''}"


_WRAPPERS = "_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module"


def without_wrappers(name: str) -> str:
    """Take the names of wrappers out of a layer's name: `_orig_mod` of compiled modules, `module` of parallel ones.

    Modules wrapped by FSDP and by activation checkpointing have names of their own too.
    """
    if name.startswith(_FLAT_PREFIXES):
        return re.sub(rf"_({_WRAPPERS})_", "_", name)
    name = re.sub(rf"(^|\.)({_WRAPPERS})\.", r"\1", name)
    return re.sub(r"^((?:[a-z_0-9]+\.)?(?:base_model\.model\.)?)module\.", r"\1", name)


def find_dialect(keys: Iterable[str]) -> Dialect:
    """Return the dialect that may have written most of these keys; of several, the one whose prefixes say most."""
    counts, lengths = Counter[str](), Counter[str]()
    names = [without_wrappers(without_adapter_name(key)) for key in keys]
    for name in names:
        for dialect in DIALECTS.values():
            if (prefix := dialect.prefix_of(name)) is not None:
                counts[dialect.name] += 1
                lengths[dialect.name] += len(prefix.text)
    order = list(DIALECTS)
    return DIALECTS[max(order, key=lambda name: (counts[name], lengths[name], -order.index(name)))]
