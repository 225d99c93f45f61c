"""The places that names in a file stand for, without a model: family, part and paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from lycoris.adapters.files.dialects import DIALECTS
from lycoris.adapters.files.dialects.dialect import ANY_PART, DENOISER, Prefix
from lycoris.adapters.files.families import FAMILIES, Family, family_of_architecture
from lycoris.adapters.files.families.unet import SD_1, SD_XL, diffusers_unet_path
from lycoris.adapters.files.keys import without_wrappers
from lycoris.adapters.files.layer_names import PIPELINE_PARTS
from lycoris.adapters.files.module_paths import dotted_path, part_from_path, text_encoder_part


@dataclass(frozen=True)
class Place:
    """Where a layer of a file is in its model.

    Attributes:
        part: name of the part.
        paths: dotted paths in the part, of more than one layer where the file has them fused. Where the path is not
            certain, the file's name as it is, with `_` for every dot.
        is_certain: whether the paths are known.
        halves_swapped: whether the halves of the rows are the other way round in the file, by their number of rows and
            columns.
    """

    part: str
    paths: tuple[str, ...]
    is_certain: bool = True
    halves_swapped: Callable[[int | None, int | None], bool] = lambda rows, columns: False


def resolve_names(names: Iterable[str], metadata: Mapping[str, str]) -> tuple[dict[str, Place], Family | None]:
    """Resolve the layers' names in a file to places.

    Args:
        names: of the layers.
        metadata: the header's strings.

    Returns:
        Name → place, and the denoiser's family where names or header identify it.
    """
    split = {name: _split(name) for name in names}
    text_prefixes = {"_".join(name.split("_", 2)[:2]) for name in split if name.startswith("lora_te")}
    denoiser = [(prefix.flat, path) for prefix, path in split.values() if _is_denoiser(prefix, path)]
    family, agrees = _find_family(denoiser, metadata.get("modelspec.architecture", ""))
    is_unet = any(_is_unet_path(path, flat=flat) for flat, path in denoiser)
    part = "unet" if is_unet else "transformer"
    places = {}
    for name, (prefix, path) in split.items():
        if _is_denoiser(prefix, path):
            places[name] = _place_in_denoiser(part, path, family if agrees else None, flat=prefix.flat)
        else:
            places[name] = _place_elsewhere(prefix, path, text_prefixes, has_transformer=bool(denoiser) and not is_unet)
    return places, _unet_family(denoiser, family) if is_unet else family


def _split(name: str) -> tuple[Prefix, str]:
    """Split a name into the longest beginning that a dialect has, and the path."""
    name = without_wrappers(name)
    found = [split for dialect in DIALECTS.values() if (split := dialect.split_name(name)) is not None]
    return max(found, key=lambda each: len(each[0].text), default=(Prefix("", ANY_PART), name))


def _is_denoiser(prefix: Prefix, path: str) -> bool:
    if prefix.role in (DENOISER, "unet", "transformer"):
        return True
    if prefix.role != ANY_PART or prefix.text == "lycoris_":
        return prefix.text == "lycoris_" and _known_transformer_path(path)
    return part_from_path(path) in ("unet", "transformer") or any(
        family.diffusers_paths(path, flat=False) for family in FAMILIES.values()
    )


def _known_transformer_path(flat_path: str) -> bool:
    path = dotted_path(flat_path)
    return path is not None and part_from_path(path) in ("unet", "transformer")


def _is_unet_path(path: str, *, flat: bool) -> bool:
    dotted = dotted_path(path) if flat else path
    return diffusers_unet_path(path, flat=flat) is not None or (dotted is not None and part_from_path(dotted) == "unet")


def _find_family(paths: list[tuple[bool, str]], architecture: str) -> tuple[Family | None, bool]:
    """Return the family that the header names, else the one that renames most of these paths.

    Returns:
        The family, and whether the paths in diffusers are certain: those of every family that fits as well are equal.
    """
    named = family_of_architecture(architecture)
    if named is not None:
        return named, True
    counts = Counter[str]()
    for flat, path in paths:
        dotted = dotted_path(path) if flat else path
        for name, family in FAMILIES.items():
            is_original = family.diffusers_paths(path, flat=flat) is not None
            counts[name] += is_original or (dotted is not None and family.has_path(dotted))
    best = max(counts.values(), default=0)
    fitting = [FAMILIES[name] for name, count in counts.items() if count == best and best]
    if not fitting:
        return None, True
    agree = all(len({family.diffusers_paths(path, flat=flat) for family in fitting}) == 1 for flat, path in paths)
    return (fitting[0] if len(fitting) == 1 else None), agree


def _place_in_denoiser(part: str, path: str, family: Family | None, *, flat: bool) -> Place:
    if part == "unet":
        converted = diffusers_unet_path(path, flat=flat)
        path = path if converted is None else converted
        head, _, rest = path.rpartition(".") if converted is not None else ("", "", path)
        dotted = dotted_path(rest) if flat else rest
        certain = path if dotted is None else f"{head}.{dotted}" if head else dotted
        return Place(part, (certain,), dotted is not None)
    candidates = FAMILIES.values() if family is None else [family]
    for each in candidates:
        paths = each.diffusers_paths(path, flat=flat)
        if paths is not None:
            return Place(part, paths, halves_swapped=partial(each.is_swapped, path, flat=flat))
    dotted = dotted_path(path) if flat else path
    return Place(part, (path if dotted is None else dotted,), dotted is not None)


def _place_elsewhere(prefix: Prefix, path: str, text_prefixes: set[str], *, has_transformer: bool) -> Place:
    if prefix.flat:
        dotted = dotted_path(path)
        certain = path if dotted is None else dotted
        if prefix.text.startswith("lora_te"):
            part = text_encoder_part(prefix.text.rstrip("_"), text_prefixes, has_transformer)
        else:
            part = "model"
        return Place(part, (certain,), dotted is not None)
    if prefix.role == ANY_PART:
        part, _, rest = path.partition(".")
        part, path = (part, rest) if part in PIPELINE_PARTS and rest else (part_from_path(path), path)
    elif prefix.role == "t5":
        part = "text_encoder_2" if has_transformer else "text_encoder_3"
    else:
        part = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}.get(prefix.role, prefix.role)
    clip = part.startswith("text") and path.startswith(("encoder.layers.", "final_layer_norm", "embeddings."))
    return Place(part, (f"text_model.{path}" if clip else path,))


def _unet_family(paths: list[tuple[bool, str]], family: Family | None) -> Family:
    """Return the UNet's family: XL by the header or the original paths, which only its files have, else 1."""
    if family is not None:
        return family
    is_xl = any("add_embedding" in path or diffusers_unet_path(path, flat=flat) for flat, path in paths)
    return SD_XL if is_xl else SD_1
