"""Helpers of `worker.py` and `measure.py` in a peer's environment: PEFT's configuration and the stream of answers."""

from __future__ import annotations

import os
from typing import TextIO


def answer_stream() -> TextIO:
    """Reserve standard output for answers; what libraries print goes to standard error from now on."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return output


def peft_config(algorithm: str, options: dict, layers: list[str]):
    """Return PEFT's configuration of an algorithm with this library's options."""
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
