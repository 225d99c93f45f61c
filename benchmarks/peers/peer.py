"""What `worker.py` and `measure.py` share in a peer's environment: PEFT's configuration, and where answers go."""

from __future__ import annotations

import os
from typing import TextIO


def answer_stream() -> TextIO:
    """Standard output for answers alone: whatever a library prints goes to standard error from now on."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return output


def peft_config(algorithm: str, options: dict, layers: list[str]):
    """PEFT's configuration for an algorithm with the options that this library has for it."""
    import peft

    rank = options.get("rank", 10000)
    alpha = options.get("alpha", rank)
    if algorithm == "lora":
        more = {"use_dora": "dora" in options, "use_rslora": options.get("rank_stabilised", False)}
        return peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers, **more)
    more = {"use_effective_conv2d": options.get("tucker", False)}
    if algorithm == "loha":
        return peft.LoHaConfig(r=rank, alpha=alpha, target_modules=layers, **more)
    more |= {"decompose_factor": options["factor"], "decompose_both": options.get("decompose_both", False)}
    return peft.LoKrConfig(r=rank, alpha=alpha, target_modules=layers, **more)
