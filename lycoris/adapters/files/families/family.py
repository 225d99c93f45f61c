"""What differs between families of denoisers in files: the original implementation's paths and the header's names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

Renames = Mapping[str, "str | tuple[str, ...]"]
"""Path in the original implementation → path in diffusers, `{}` for a block's number. Several paths of diffusers are
the rows of one original weight, in this order."""


@dataclass(frozen=True)
class OriginalRows:
    """Where a layer of diffusers is in the original implementation: the rows of a weight.

    Attributes:
        path: of the original layer.
        index: of this layer among those that share the original weight.
        first: its first row in the original weight.
        count: number of its rows.
        total: number of rows of the original weight.
        halves_swapped: whether the two halves of the rows are in the other order.
    """

    path: str
    index: int
    first: int
    count: int
    total: int
    halves_swapped: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the two weights are the same."""
        return self.count == self.total and not self.halves_swapped


@dataclass(frozen=True, eq=False)
class Family:
    """A family of denoisers.

    Attributes:
        name: short and unique.
        class_names: diffusers' classes.
        architecture: `modelspec.architecture` of a checkpoint.
        base_model_version: kohya's `ss_base_model_version`.
        renames: paths that differ; the others are equal in both implementations. None where they are not known.
        swapped: original paths whose halves (shift, scale) are the other way round in diffusers.
        swapped_if_two: the same for paths of which the last block alone has two such parts, rather than six.
        resolution: that the base was trained for, `modelspec.resolution`.
        comfyui_reads_diffusers: whether ComfyUI also reads `transformer.<path in diffusers>`.
        diffusers_reads: formats that `load_lora_weights` of diffusers opens for a LoRA, beside its own.
        diffusers_reads_blocks: formats that it opens only where every layer of the blocks is adapted.
    """

    name: str
    class_names: tuple[str, ...]
    architecture: str
    base_model_version: str
    renames: Renames | None
    swapped: tuple[str, ...] = ()
    swapped_if_two: tuple[str, ...] = ()
    resolution: str = "1024x1024"
    comfyui_reads_diffusers: bool = True
    diffusers_reads: tuple[str, ...] = ()
    diffusers_reads_blocks: tuple[str, ...] = ()

    def original_rows(self, sizes: Mapping[str, tuple[int, int]]) -> dict[str, OriginalRows]:
        """Return where each layer is in the original implementation; those whose place is not known are left out.

        Args:
            sizes: path in diffusers → rows and columns of the layer's weight.
        """
        if self.renames is None:
            return {}
        found: dict[str, OriginalRows] = {}
        rows = {path: size[0] for path, size in sizes.items()}
        for path in rows:
            if path in found:
                continue
            matched = self._match_diffusers(path)
            if matched is None:
                found[path] = OriginalRows(path, 0, 0, rows[path], rows[path])
                continue
            original, members = matched
            if not all(member in rows for member in members):
                continue
            total, first = sum(rows[member] for member in members), 0
            swapped = self.is_swapped(original, total, sizes[path][1], flat=False)
            for index, member in enumerate(members):
                found[member] = OriginalRows(original, index, first, rows[member], total, swapped)
                first += rows[member]
        return found

    def diffusers_paths(self, original: str, *, flat: bool) -> tuple[str, ...] | None:
        """Return the paths in diffusers of an original path, in the order of the rows; None where it is not renamed.

        Args:
            original: the path.
            flat: whether it has `_` for every dot.
        """
        for pattern, members in self._flat_rules if flat else self._dotted_rules:
            match = pattern.fullmatch(original)
            if match is not None:
                return tuple(member.format(*match.groups()) for member in members)
        return None

    def is_swapped(self, original: str, rows: int | None, columns: int | None, *, flat: bool) -> bool:
        """Tell whether the halves of an original path's rows are the other way round in diffusers."""
        has_two = rows is not None and columns is not None and rows == 2 * columns
        templates = (*self.swapped, *(self.swapped_if_two if has_two else ()))
        return any(re.fullmatch(_pattern(template, flat=flat), original) for template in templates)

    def has_path(self, path: str) -> bool:
        """Tell whether a path in diffusers is renamed in this family."""
        return self._match_diffusers(path) is not None

    def _match_diffusers(self, path: str) -> tuple[str, tuple[str, ...]] | None:
        for pattern, members, original in self._reverse:
            match = pattern.fullmatch(path)
            if match is not None:
                numbers = match.groups()
                return original.format(*numbers), tuple(member.format(*numbers) for member in members)
        return None

    @cached_property
    def _dotted_rules(self) -> list[tuple[re.Pattern[str], tuple[str, ...]]]:
        return [(re.compile(_pattern(original, flat=False)), members) for original, members in self._rules()]

    @cached_property
    def _flat_rules(self) -> list[tuple[re.Pattern[str], tuple[str, ...]]]:
        return [(re.compile(_pattern(original, flat=True)), members) for original, members in self._rules()]

    @cached_property
    def _reverse(self) -> list[tuple[re.Pattern[str], tuple[str, ...], str]]:
        return [
            (re.compile(_pattern(member, flat=False)), members, original)
            for original, members in self._rules()
            for member in members
        ]

    def _rules(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        for original, members in (self.renames or {}).items():
            yield original, (members,) if isinstance(members, str) else members


def block_renames(original: str, diffusers: str, renames: Renames) -> dict[str, str | tuple[str, ...]]:
    """Put the paths of a block in front of the paths in it."""
    return {
        f"{original}.{path}": (
            f"{diffusers}.{members}" if isinstance(members, str) else tuple(f"{diffusers}.{m}" for m in members)
        )
        for path, members in renames.items()
    }


def _pattern(template: str, *, flat: bool) -> str:
    text = template.replace(".", "_") if flat else template
    return re.escape(text).replace(r"\{\}", r"(\d+)")
