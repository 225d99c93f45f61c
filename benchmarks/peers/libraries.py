"""Adapters of each library behind one interface, for `measure.py`; a library is imported when it is used."""

from __future__ import annotations

import json
import tempfile
from contextlib import nullcontext
from pathlib import Path

import numpy
import torch
from peer import peft_config
from torch import nn


class Ours:
    """`lycoris` of this repository."""

    def __init__(self, unet: nn.Module, algorithm: str, layers: list[str], options: dict):
        import lycoris

        self.unet = unet
        part = "unet" if "UNet" in type(unet).__name__ else "transformer"
        network = lycoris.attach(
            {part: unet}, algorithm, layers=[name.replace(".", r"\.") for name in layers], **options
        )
        self.network, self.load_file = network, lycoris.load

    def parameters(self) -> list[nn.Parameter]:
        return list(self.network.parameters())

    def save(self, path: Path) -> None:
        self.network.save(path)

    def load(self, path: Path) -> None:
        self.network.detach()
        self.network = self.load_file(path, {"unet": self.unet})

    def detach(self) -> None:
        self.network.detach()

    def reattach(self) -> None:
        self.network.reattach()


class LycorisLora:
    """`lycoris-lora`, with its default forward, which builds the delta."""

    def __init__(self, unet: nn.Module, algorithm: str, layers: list[str], options: dict):
        import logging

        from lycoris import create_lycoris

        logging.disable(logging.WARNING)
        preset = {"target_module": [], "target_name": layers, "use_fnmatch": True, "enable_conv": True}
        rank = options.get("rank", 10000)
        more = {"factor": options["factor"], "full_matrix": True} if algorithm == "lokr" else {}
        path = Path(tempfile.mkdtemp()) / "preset.toml"
        path.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in preset.items()))
        alpha = options.get("alpha", rank)
        tensor = torch.tensor  # it multiplies a kernel's sizes as a tensor, whose value a fake one would not have
        with unet.device if unet.device.type != "cpu" else nullcontext():
            torch.tensor = lambda data, **more: numpy.array(data) if isinstance(data, tuple) else tensor(data, **more)
            try:
                self.network = create_lycoris(unet, 1.0, rank, alpha, algo=algorithm, preset=str(path), **more)
            finally:
                torch.tensor = tensor
        self.network.apply_to()

    def parameters(self) -> list[nn.Parameter]:
        return [p for p in self.network.parameters() if p.requires_grad]

    def save(self, path: Path) -> None:
        self.network.save_weights(str(path), None, {})

    def load(self, path: Path) -> None:
        self.network.load_weights(str(path))


class Peft:
    """`peft`."""

    def __init__(self, unet: nn.Module, algorithm: str, layers: list[str], options: dict):
        import peft

        self.unet, self.peft = unet, peft
        peft.inject_adapter_in_model(peft_config(algorithm, options, layers), unet)

    def parameters(self) -> list[nn.Parameter]:
        return [p for p in self.unet.parameters() if p.requires_grad]

    def save(self, path: Path) -> None:
        from safetensors.torch import save_file

        save_file(self.peft.get_peft_model_state_dict(self.unet), path)

    def load(self, path: Path) -> None:
        from safetensors.torch import load_file

        self.peft.set_peft_model_state_dict(self.unet, load_file(path))


LIBRARIES = {"ours": Ours, "drop-in": LycorisLora, "lycoris-lora": LycorisLora, "peft": Peft}
"""The drop-in is the calls of `lycoris-lora` in this library's own environment."""
