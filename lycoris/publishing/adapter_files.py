"""The adapter files of a publication: the registered tensors as they are, and a plain LoRA that diffusers loads."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

from lycoris.adapters.conversion import convert
from lycoris.adapters.files.metadata import training_metadata
from lycoris.adapters.files.safetensors_header import sort_metadata
from lycoris.cache.atomic import apply_umask
from lycoris.errors import InputError
from lycoris.safety.machine_paths import find_machine_path
from lycoris.safety.redaction import redact


def publish_tensors(source: Path, target: Path, trigger: str | None) -> list[str]:
    """Copy an adapter file with the trigger in its header, without entries that name paths or secrets.

    Returns:
        Names of the entries that were left out.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(source, framework="pt") as stream:
        header = dict(stream.metadata() or {})
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    private = [name for name, text in header.items() if find_machine_path(text) is not None or redact(text) != text]
    header = {name: text for name, text in header.items() if name not in private}
    save_file(tensors, target, metadata={**header, **training_metadata(trigger=trigger)})
    sort_metadata(target)
    apply_umask(target)
    return sorted(private)


def convert_for_diffusers(source: Path, target: Path, parts: Mapping | None) -> str:
    """Write an adapter as a plain LoRA by the names of diffusers.

    Args:
        source: a published file.
        parts: the base's modules; without them algorithms whose update depends on the weights cannot be converted.

    Returns:
        How far it differs, for readers; empty where nothing was written because a LoRA cannot hold it.

    Raises:
        InputError: the conversion needs the base, which was not given.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            report = convert(source, target, format="diffusers", model=parts)
        except InputError as error:
            if "has nothing that a LoRA can hold" in str(error):
                return ""
            raise
    notes = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    left_out = f"; left out: {', '.join(report.left_out)}" if report.left_out else ""
    return f"a plain LoRA, relative error {report.error:.1e}{left_out}{''.join(f'; {note}' for note in notes)}"
