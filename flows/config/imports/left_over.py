"""Keys of other trainers that were not carried over, by what they ask of the user: nothing, a look, or a decision."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

NO_EFFECT_NAMES = frozenset(
    (
        *("allow_tf32", "attention_implementation", "attention_mechanism", "caption_extension"),
        *("debug_mode", "disable_benchmark", "disable_sampling", "highvram"),
        *("latent_caching", "license", "lowram", "mem_eff_attn"),
        *("no_metadata", "num_cpu_threads_per_process", "num_train_images", "only_cache"),
        *("performance_log_every", "push_to_hub", "report_to", "sdpa"),
        *("temp_device", "train_device", "training_comment", "training_folder"),
        *("trust_remote_code", "vae_batch_size", "workspace_dir", "write_batch_size"),
        *("xformers", "__version", "enable_activation_offloading", "enable_async_offloading"),
        *("persistent_data_loader_workers",),
    )
)
NO_EFFECT_BEGINNINGS = (
    *(
        "save",
        "sample",
        "samples",
        "validation",
        "log",
        "logging",
        "tracker",
        "wandb",
        "tensorboard",
        "meta",
        "metadata",
    ),
    *(
        "huggingface",
        "hub",
        "backup",
        "checkpoint",
        "checkpoints",
        "checkpointing",
        "resume",
        "output",
        "cache",
        "device",
    ),
    *("dataloader", "max_data_loader", "console"),
)
"""First words of keys and groups about speed, memory, files, logs and previews: no adapter depends on them."""

_BUCKETS = "images keep their shape, in buckets of about the base's area"
_PRECISION = "bf16 where the GPU has it, else float32; another: `precision`"
_BASE = "read from the base's files"
INSTEAD: Mapping[str, str] = {
    "resolution": "images are trained at the base's own resolution",
    **dict.fromkeys(("enable_bucket", "min_bucket_reso", "max_bucket_reso", "bucket_reso_steps"), _BUCKETS),
    **dict.fromkeys(("bucket_no_upscale", "aspect_ratio_bucketing"), _BUCKETS),
    **dict.fromkeys(("mixed_precision", "train_dtype", "dtype", "weight_dtype"), _PRECISION),
    **dict.fromkeys(("model_type", "model_family", "v2", "v_parameterization"), _BASE),
    "noise_scheduler": "the base's own",
    "fused": "PyTorch's choice",
}
"""Key -> what is done instead, without a decision of the user."""
_OFF = frozenset(("False", "0", "0.0", "", "none", "NONE", "off", "OFF", "[]", "{}"))


@dataclass(frozen=True)
class LeftOver:
    """Keys that were not carried over, as ``key = value``, each with what is known about it.

    Attributes:
        decide: the training may differ without them: the user decides.
        instead: something else is done or set.
        no_effect: no adapter depends on them.
    """

    decide: dict[str, str] = field(default_factory=dict)
    instead: dict[str, str] = field(default_factory=dict)
    no_effect: dict[str, str] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, str]:
        """Every key, the serious ones first."""
        return {**self.decide, **self.instead, **self.no_effect}

    def lines(self) -> list[tuple[str, str]]:
        """Return (label, text) of each line to print; the harmless keys share one."""
        unknown = "not known here: the training goes on without it"
        lines = [("to decide", f"{text}  ({reason or unknown})") for text, reason in self.decide.items()]
        lines += [("set otherwise", f"{text}  ({reason})") for text, reason in self.instead.items()]
        return [*lines, ("no effect here", ", ".join(self.no_effect))] if self.no_effect else lines


def sort_left_over(keys: Mapping[str, str], to_decide: Set[str]) -> LeftOver:
    """Sort the keys that were not carried over.

    Args:
        keys: ``key = value`` -> reason; empty where none is known.
        to_decide: those whose reason asks for a decision.
    """
    left = LeftOver()
    for text, reason in keys.items():
        path, _, value = text.partition(" = ")
        words = re.sub(r"\[\d+\]", "", path).split(".")
        if text in to_decide:
            left.decide[text] = reason
        elif reason:
            left.instead[text] = reason
        elif words[-1] in NO_EFFECT_NAMES or any(_begins(word) for word in words):
            left.no_effect[text] = "speed, memory, files, logs or previews"
        elif words[-1] in INSTEAD:
            left.instead[text] = INSTEAD[words[-1]]
        elif value in _OFF:
            left.no_effect[text] = "switched off"
        else:
            left.decide[text] = ""
    return left


def _begins(word: str) -> bool:
    return any(word == start or word.startswith(f"{start}_") for start in NO_EFFECT_BEGINNINGS)
