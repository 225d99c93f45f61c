"""What a dialect of adapter files is: who writes it, and how its keys name parts, paths and tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lycoris.adapters.files.families import OriginalRows
from lycoris.adapters.files.layer_names import LayerRef

Spelling = tuple[str, "OriginalRows | None"]
"""A spelling of a layer's path, and which rows of the file's tensors are the layer's; None for all."""

DENOISER = "denoiser"
ANY_PART = "any"

LYCORIS_TENSORS = (
    *("lora_up.weight", "lora_down.weight", "lora_mid.weight", "alpha", "dora_scale"),
    *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
    *("diff", "diff_b", "w_norm", "b_norm", "on_input", "oft_blocks", "rescale"),
    *("a1.weight", "a2.weight", "b1.weight", "b2.weight"),
    *("bias_indices", "bias_values", "bias_size"),
)
"""Names of tensors in files of LyCORIS, kohya's tools and ComfyUI."""

Endings = Mapping[str, str]
"""Ending of a key → LyCORIS's or PEFT's name of the tensor."""

LYCORIS_ENDINGS: Endings = {f".{name}": name for name in LYCORIS_TENSORS}


@dataclass(frozen=True)
class Prefix:
    """A beginning of layer names.

    Attributes:
        text: the beginning itself, such as ``"lora_unet_"``.
        role: whose layers have it: the denoiser's, those of a text encoder by its name in a pipeline or by its kind
            (`clip_l`, `clip_g`, `t5`), or of any part.
        flat: whether paths have `_` for every dot.
    """

    text: str
    role: str
    flat: bool = False


def spell_diffusers(layer: LayerRef) -> Iterator[Spelling]:
    """Yield the layer's path, in a text encoder also with and without `text_model.`, which versions differ in."""
    if layer.kind != "text":
        yield layer.path, None
        return
    bare = layer.path.removeprefix("text_model.")
    yield from ((path, None) for path in dict.fromkeys((layer.path, bare, f"text_model.{bare}")))


def spell_original(layer: LayerRef) -> Iterator[Spelling]:
    """Yield the path in the original implementation, where it is known; text encoders have that of transformers."""
    if layer.kind == "text":
        yield from spell_diffusers(layer)
    elif layer.original is not None:
        yield layer.original.path, None if layer.original.is_whole else layer.original


def spell_both(layer: LayerRef) -> Iterator[Spelling]:
    """Yield the path in diffusers and that in the original implementation."""
    yield from spell_diffusers(layer)
    yield from spell_original(layer)


@dataclass(frozen=True)
class Dialect:
    """A way to write adapter files.

    Attributes:
        name: short and unique.
        written_by: the tools that write it.
        example: a key.
        prefixes: beginnings of layer names.
        endings: endings of keys and the tensors that they stand for.
        spell: the spellings of a layer's path.
        restore: the usual spelling of a path as the dialect spells it: the inverse of `spell`, where it respells.
        paths: regular expression of the paths, where they identify the dialect.
    """

    name: str
    written_by: str
    example: str
    prefixes: tuple[Prefix, ...]
    endings: Endings
    spell: Callable[[LayerRef], Iterator[Spelling]] = spell_both
    restore: Callable[[str], str] = str
    paths: str = r".+"

    def layer_names(self, layer: LayerRef) -> Iterator[Spelling]:
        """Yield the names that files have for a layer, each with the rows that are the layer's."""
        for prefix in self.prefixes:
            if prefix.role in layer.roles:
                for path, rows in self.spell(layer):
                    yield prefix.text + (path.replace(".", "_") if prefix.flat else path), rows

    def split_name(self, name: str) -> tuple[Prefix, str] | None:
        """Split a layer's name into its beginning and its path; None where no beginning fits."""
        prefixes = [prefix for prefix in self.prefixes if name.startswith(prefix.text)]
        prefix = max(prefixes, key=lambda prefix: len(prefix.text), default=None)
        if prefix is None or not re.fullmatch(self.paths, name[len(prefix.text) :]):
            return None
        return prefix, self.restore(name[len(prefix.text) :])

    def prefix_of(self, key: str) -> Prefix | None:
        """Return the beginning of a key without an adapter's name; None where it is not of this dialect."""
        names = (key.removesuffix(ending) for ending in self.endings if key.endswith(ending))
        return next((split[0] for name in names if (split := self.split_name(name)) is not None), None)
