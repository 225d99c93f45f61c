"""PEFT's `adapter_config.json`: type, ranks and alphas, also by pattern, which its tensor files lack."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lycoris.errors import InputError

CONFIG_FILE = "adapter_config.json"
CONFIG_KEY = "lycoris.adapter_config"
"""Where the header of a lone file of ours has the configuration."""
_DIFFUSERS_KEY = "lora_adapter_metadata"
"""Where diffusers writes it, for several parts with their names in front."""
_MAX_BYTES = 10_000_000
"""Size that no configuration reaches."""
ALPHA_NAMES = {"LORA": "lora_alpha", "LOHA": "alpha", "LOKR": "alpha"}
"""PEFT type → name of alpha."""
_UNSUPPORTED_TYPES = {
    peft_type: f"{peft_type} rotates what goes into a layer, where this library rotates what comes out: merge it in "
    "PEFT and `extract` it"
    for peft_type in ("OFT", "BOFT")
}
SAFE_INITIALIZATIONS = ("true", "false", "gaussian", "eva", "orthogonal", "mica", "lycoris")
"""Beginnings of initializations that leave the base as it is; the others move a part of it into the adapter."""
_UNSUPPORTED_OPTIONS = (
    "alora_invocation_tokens",
    "use_qalora",
    "layer_replication",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
)
"""Options with which A and B are not the whole adapter, or mean something else."""


@dataclass(frozen=True)
class PeftConfig:
    """One configuration.

    Attributes:
        source: the file, for messages.
        values: its content.

    Raises:
        InputError: an unsupported type, or an option under which the tensors mean something else.
    """

    source: str
    values: Mapping[str, object]

    def __post_init__(self) -> None:
        if self.peft_type in _UNSUPPORTED_TYPES:
            raise InputError(f"File `{self.source}`: {_UNSUPPORTED_TYPES[self.peft_type]}.")
        if self.peft_type not in (*ALPHA_NAMES, "IA3"):
            raise InputError(
                f"File `{self.source}`: `peft_type` must be LORA, LOHA, LOKR or IA3, but is {self.peft_type}."
            )
        start = str(self.values.get("init_lora_weights", True)).lower()
        if not start.startswith(SAFE_INITIALIZATIONS):
            raise InputError(
                f"File `{self.source}`: with `init_lora_weights` {start!r} the adapter goes with a changed base. "
                "Save it in PEFT with `path_initial_model_for_weight_conversion`."
            )
        unsupported = [name for name in _UNSUPPORTED_OPTIONS if self.values.get(name)]
        if unsupported:
            raise InputError(f"File `{self.source}`: adapters with `{unsupported[0]}` cannot be read.")

    @property
    def peft_type(self) -> str:
        """PEFT's name of the algorithm: ``"LORA"``, ``"LOHA"``, ``"LOKR"`` or ``"IA3"``."""
        return str(self.values.get("peft_type", "LORA")).rpartition(".")[2].upper()

    def rank(self, layer: str) -> int:
        """Return the rank of a layer, given by its path in the model.

        Raises:
            InputError: it is not a rank.
        """
        rank = self._by_pattern("rank_pattern", layer, self.values.get("r", 8))
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise InputError(f"File `{self.source}`: the rank of `{layer}` must be at least 1, but is {rank!r}.")
        return rank

    def alpha(self, layer: str) -> float:
        """Return the alpha of a layer, with which its scale is alpha / rank.

        Raises:
            InputError: it is not an alpha.
        """
        alpha = self._by_pattern("alpha_pattern", layer, self.values.get(ALPHA_NAMES[self.peft_type], 8))
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 < alpha < math.inf:
            raise InputError(f"File `{self.source}`: alpha of `{layer}` must be positive, but is {alpha!r}.")
        return alpha * math.sqrt(self.rank(layer)) if self.values.get("use_rslora") is True else float(alpha)

    def on_input(self, layer: str) -> bool:
        """Tell whether (IA)³ scales the inputs of a layer."""
        modules = self.values.get("feedforward_modules") or []
        if isinstance(modules, str):
            return _compile_pattern(modules, self.source).fullmatch(layer) is not None
        return isinstance(modules, list) and any(isinstance(end, str) and layer.endswith(end) for end in modules)

    def _by_pattern(self, name: str, layer: str, default: object) -> object:
        patterns = self.values.get(name) or {}
        if not isinstance(patterns, dict):
            raise InputError(f"File `{self.source}`: `{name}` must be a JSON object, but is {patterns!r}.")
        for pattern, value in patterns.items():
            if _compile_pattern(rf"(.*\.)?({pattern})$", self.source).match(layer):
                return value
        return default


def read_configs(path: Path, metadata: Mapping[str, str], *, peft_names: bool) -> dict[str, PeftConfig]:
    """Read the configurations of a file: part → configuration, under ``""`` where the file is for one part.

    A lone file of ours has it in the header, as has one of diffusers; PEFT's lies beside the tensors.

    Args:
        path: of the tensors.
        metadata: the header's strings.
        peft_names: whether the tensors have PEFT's own names, so that a configuration beside the file belongs to it.

    Raises:
        InputError: it is not a JSON object, or `PeftConfig` does not support it.
    """
    for name in (CONFIG_KEY, _DIFFUSERS_KEY):
        if name in metadata:
            return _split_by_part(_parse_json(metadata[name], f"{path}"), f"{path}")
    beside = path.parent / CONFIG_FILE
    values = read_config_file(beside) if peft_names else None
    return {} if values is None else {"": PeftConfig(str(beside), values)}


def read_config_file(file: Path) -> dict[str, object] | None:
    """Read an ``adapter_config.json``; None if there is none.

    Raises:
        InputError: it cannot be read, is too large, or is not a JSON object.
    """
    try:
        if not file.is_file():
            return None
        if file.stat().st_size > _MAX_BYTES:
            raise InputError(f"File `{file}` must have at most {_MAX_BYTES} bytes.")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read `{file}`: {error}.") from error
    return _parse_json(text, str(file))


def _parse_json(text: str, source: str) -> dict[str, object]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InputError(f"File `{source}` has an adapter configuration that is not a JSON object.")
    return values


def _split_by_part(values: Mapping[str, object], source: str) -> dict[str, PeftConfig]:
    if "peft_type" in values or "r" in values:
        return {"": PeftConfig(source, values)}
    parts: dict[str, dict[str, object]] = {}
    for key, value in values.items():
        part, _, name = key.partition(".")
        parts.setdefault(part, {})[name] = value
    return {part: PeftConfig(source, part_values) for part, part_values in parts.items()}


def _compile_pattern(pattern: str, source: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(
            f"File `{source}` has a pattern {pattern!r} that is not a regular expression: {error}."
        ) from None
