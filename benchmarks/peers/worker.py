"""Run the commands of `exchange.py` in a peer's environment: JSON on standard input, answers on standard output.

The calls of `lycoris-lora` run in this library's own environment as well, as a test of its drop-in.

make   attach the peer's adapter to the UNet, randomize it, save a file, compute the output
open   load a file onto the UNet, compute the output
names  return the peer's name of every layer that it would adapt in a tree of `trees.py`
"""

from __future__ import annotations

import copy
import json
import logging
import sys
import traceback
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from peer import answer_stream, peft_config
from safetensors.torch import load_file, save_file
from torch import nn


def randomize_parameters(parameters: list[nn.Parameter]) -> None:
    """Move the parameters away from their initial values, as training does."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def unet_output(unet: nn.Module, folder: Path) -> torch.Tensor:
    """The UNet's output for the exchange's input."""
    batch = load_file(folder / "input.safetensors")
    with torch.no_grad():
        return unet(batch["latent"], batch["time"], batch["text"]).sample


class LycorisLora:
    """`lycoris-lora`, through the module that kohya's trainer calls."""

    def make(self, unet: nn.Module, algorithm: str, options: dict, file: Path) -> nn.Module:
        from lycoris import kohya

        options = dict(options)
        rank = options.pop("rank", None) or options.get("factor", 0)
        alpha = options.pop("alpha", rank)
        renamed = {"tucker": "use_tucker", "block": "block_size", "dora": "dora_wd"}
        more = {renamed.get(name, name): value == "output" or value for name, value in options.items()}
        if algorithm == "lokr" and "rank" not in options and "alpha" not in options and rank == options.get("factor"):
            rank, alpha, more["full_matrix"] = 10000, 10000, True
        if algorithm in ("diag-oft", "boft"):
            alpha = 0
        algo = {"t-lora": "tlora"}.get(algorithm, algorithm)
        preset = file.with_suffix(".toml")
        preset.write_text(PRESET)
        bare = copy.deepcopy(unet)
        more |= {"preset": str(preset), "train_norm": algorithm == "full"}
        network = kohya.create_network(1.0, rank or 4, alpha or 1, None, [], unet, algo=algo, **more)
        network.apply_to([], unet, False, True)
        randomize_parameters([parameter for parameter in network.parameters() if parameter.requires_grad])
        network.eval()
        network.save_weights(str(file), None, {})
        return self._open_reshaped(bare, file) if algorithm == "dylora" else unet

    def _open_reshaped(self, unet: nn.Module, file: Path) -> nn.Module:
        """Open a DyLoRA file as a LoRA, with the trailing ones that `lora_up` of convolutions lacks.

        DyLoRA's own forward uses a random rank each time, in evaluation too.
        """
        tensors = load_file(file)
        for name in [name for name in tensors if name.endswith("lora_up.weight")]:
            kernel = tensors[name.replace("lora_up", "lora_down")].shape[2:]
            tensors[name] = tensors[name].view(*tensors[name].shape, *(1 for _ in kernel))
        reshaped = file.with_suffix(".reshaped.safetensors")
        save_file(tensors, reshaped)
        return self.open(unet, reshaped)

    def open(self, unet: nn.Module, file: Path, **_: object) -> nn.Module:
        from lycoris import kohya

        network, weights = kohya.create_network_from_weights(1.0, str(file), None, [], unet)
        network.apply_to([], unet, False, True)
        layers = {key.split(".")[0] for key in weights}
        if len(network.unet_loras) != len(layers):
            raise RuntimeError(f"{len(network.unet_loras)} of {len(layers)} layers were read")
        return unet.eval()

    def names(self, parts: dict[str, nn.Module]) -> dict[str, str]:
        from lycoris import kohya

        network = kohya.LycorisNetworkKohya
        network.UNET_TARGET_REPLACE_MODULE = ["Transformer2DModel", "ResnetBlock2D", "Downsample2D", "Upsample2D"]
        network.UNET_TARGET_REPLACE_MODULE += ["JointTransformerBlock", "FluxTransformerBlock"]
        network.UNET_TARGET_REPLACE_MODULE += ["FluxSingleTransformerBlock"]
        network.UNET_TARGET_REPLACE_NAME = []
        network.TEXT_ENCODER_TARGET_REPLACE_MODULE = ["CLIPAttention", "CLIPMLP", "T5Block"]
        encoders = [part for name, part in parts.items() if name.startswith("text_encoder")]
        if type(parts.get("transformer")).__name__ == "FluxTransformer2DModel":
            encoders.insert(1, nn.Module())  # kohya's trainer counts T5 as the third, in Flux as in SD 3
        encoders = [Clip(part) if "CLIP" in type(part).__name__ else part for part in encoders]
        main = parts.get("unet", parts.get("transformer"))
        adapters = network(encoders if len(encoders) > 1 else encoders[0], main, lora_dim=1, conv_lora_dim=1)
        paths = {id(module): f"{name}.{path}" for name, part in parts.items() for path, module in part.named_modules()}
        return {paths[id(lora.org_module[0])]: lora.lora_name for lora in adapters.loras}


PRESET = """
enable_conv = true
unet_target_module = ["Transformer2DModel", "ResnetBlock2D", "Downsample2D", "Upsample2D"]
unet_target_name = []
text_encoder_target_module = []
text_encoder_target_name = []
"""
"""Of `lycoris-lora`: its own preset `full` names the time embedding twice and fails on diffusers' UNet."""


class Clip(nn.Module):
    """A CLIP text model with the extra level that transformers had when the names in files were defined."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.text_model = getattr(model, "text_model", model)


class Peft:
    """`peft`, which saves and opens folders."""

    def make(self, unet: nn.Module, algorithm: str, options: dict, file: Path) -> nn.Module:
        import peft

        layers = [n for n, m in unet.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        model = peft.get_peft_model(unet, peft_config(algorithm, options, layers)).eval()
        randomize_parameters([parameter for parameter in model.parameters() if parameter.requires_grad])
        model.save_pretrained(file)
        return unet

    def open(self, unet: nn.Module, file: Path, **_: object) -> nn.Module:
        import peft

        model = peft.PeftModel.from_pretrained(unet, file).eval()
        read, tensors = peft.get_peft_model_state_dict(model), load_file(file / "adapter_model.safetensors")
        wrong = {name for name in tensors if name not in read or not torch.equal(read[name], tensors[name])}
        if wrong or set(read) - set(tensors):
            raise RuntimeError(f"not read or not there: {sorted(wrong | set(read) - set(tensors))[:3]}")
        return unet


PEERS = {"lycoris-lora": LycorisLora, "peft": Peft}


def run_command(peer: str, folder: Path, command: dict) -> dict:
    """Return the answer of one command; an exception is an answer too."""
    library = PEERS[peer]()
    try:
        if command["do"] == "names":
            from trees import tree

            return {"names": library.names(tree(command["tree"]))}
        unet = UNet2DConditionModel.from_pretrained(folder / "unet").eval().requires_grad_(False)
        call = {name: command[name] for name in ("algorithm", "options")} | {"file": Path(command["file"])}
        unet = getattr(library, command["do"])(unet, **call)
        save_file({"sample": unet_output(unet, folder)}, command["out"])
        return {}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}


def main() -> None:
    output = answer_stream()
    logging.disable(logging.WARNING)
    request = json.load(sys.stdin)
    answers = [run_command(sys.argv[1], Path(request["folder"]), command) for command in request["commands"]]
    json.dump(answers, output)


if __name__ == "__main__":
    main()
