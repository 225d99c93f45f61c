"""Models without weights: modules of fake tensors from configurations, and tokenizers where the files have none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch.autograd.function import once_differentiable

from lycoris.bases.files.model_files import ModelFiles
from lycoris.bases.quantization import QUANTIZED, quantized_layers
from lycoris.planning.meter import MAX_KNOWN

MARKS = ("<pad>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|> {{ m['role'] }} {% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endif %} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)


@contextmanager
def fake_tensors() -> Iterator[None]:
    """Operations in the block compute shapes and no values, except those of small tensors from Python numbers."""
    limit = fake_tensor.CONSTANT_NUMEL_LIMIT
    fake_tensor.CONSTANT_NUMEL_LIMIT = MAX_KNOWN
    try:
        with fake_tensor.FakeTensorMode():
            yield
    finally:
        fake_tensor.CONSTANT_NUMEL_LIMIT = limit


class FakeFiles:
    """The files of a base of which only configurations are read; see `lycoris.bases.ModelFiles`.

    Args:
        files: the files, or the configurations alone.
        precisions: part -> ``"nf4"``, ``"int8"`` or ``"fp8"`` where its Linear layers are quantised.
    """

    def __init__(self, files: ModelFiles, precisions: Mapping[str, str] | None = None) -> None:
        self._files, self._precisions = files, precisions or {}
        self.path: Path = files.path

    def model_index(self) -> Mapping[str, Any]:
        return self._files.model_index()

    def has_part(self, part: str) -> bool:
        return self._files.has_part(part)

    def check_parts(self, parts: Mapping[str, str]) -> None:
        """Accept files without weights and tokenizers; a configuration that is missing is an error when it is read."""

    def empty_module(self, part: str, model_class: Any, device: str = "meta") -> nn.Module:
        return self._files.empty_module(part, model_class, device)

    def load_module(self, part: str, model_class: Any, dtype: torch.dtype) -> nn.Module:
        """Build a module of fake tensors in a precision, with its quantised layers."""
        module: Any = self._files.empty_module(part, model_class, "cpu")
        if hasattr(module, "tie_weights"):
            module.tie_weights()
        fill_with_fakes(module, dtype)
        if (precision := self._precisions.get(part)) is not None:
            quantize_fakes(module, precision)
        return module

    def unused_tensors(self, classes: Mapping[str, Any]) -> list[str]:
        return []

    def load_tokenizer(self, part: str, tokenizer_class: Any) -> Any:
        """Load the tokenizer, or build one in its place that makes every word a token."""
        folder = self.path / part
        if not self.path.is_dir() or (folder / "tokenizer_config.json").is_file():
            return self._files.load_tokenizer(part, tokenizer_class)
        encoder = self._files.path / part.replace("tokenizer", "text_encoder") / "config.json"
        return word_tokenizer(77 if "CLIP" in tokenizer_class.__name__ else 512, encoder)

    def scheduler_config(self) -> Mapping[str, Any]:
        return self._files.scheduler_config()

    def latent_scale(self) -> tuple[float, float | None]:
        return self._files.latent_scale()

    def digest(self, parts: Iterable[str]) -> str:
        """A fixed word: nothing that a plan computes is stored."""
        return "plan"


def fill_with_fakes(module: Any, dtype: torch.dtype) -> None:
    """Replace the parameters and buffers of a module without values by fake tensors, as its files would fill them.

    Args:
        module: a model of diffusers or transformers.
        dtype: of the floating-point parameters, without those that its class keeps in float32.
    """
    keep = set(getattr(module, "_keep_in_fp32_modules_strict", None) or ())
    if dtype is torch.float16 or type(module).__module__.startswith("diffusers"):
        keep |= set(getattr(module, "_keep_in_fp32_modules", None) or ())
    known: dict[int, nn.Parameter] = {}
    for path, owner in module.named_modules():
        for name, parameter in owner._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in known:
                wide = bool(keep.intersection((*path.split("."), name)))
                own = dtype if parameter.is_floating_point() and not wide else parameter.dtype
                own = torch.float32 if wide and parameter.is_floating_point() else own
                known[id(parameter)] = nn.Parameter(torch.empty(parameter.shape, dtype=own), requires_grad=False)
            owner._parameters[name] = known[id(parameter)]
        for name, buffer in owner._buffers.items():
            if buffer is not None:
                owner._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
    module._apply = partial(_apply_to_fakes, module)  # PyTorch's own cannot exchange fake parameters


def _apply_to_fakes(module: nn.Module, function: Any, recurse: bool = True) -> nn.Module:
    """`nn.Module._apply` for fake tensors: what moves or converts a module."""
    known: dict[int, nn.Parameter] = {}
    for owner in module.modules() if recurse else (module,):
        for name, parameter in owner._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in known:
                known[id(parameter)] = nn.Parameter(function(parameter.detach()), parameter.requires_grad)
            owner._parameters[name] = known[id(parameter)]
        for name, buffer in owner._buffers.items():
            if buffer is not None:
                owner._buffers[name] = function(buffer)
    return module


def quantize_fakes(module: nn.Module, precision: str) -> None:
    """Replace the layers that a base would quantise by ones that hold as many bytes, and compute as they do.

    Args:
        module: a part of fake tensors.
        precision: a key of `lycoris.bases.quantization.QUANTIZED`.
    """
    for name, layer in list(quantized_layers(module)) if precision in QUANTIZED else ():
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, FakeQuantizedLinear(layer, precision))


class FakeQuantizedLinear(nn.Linear):
    """A Linear layer with codes in place of a weight, which is computed from them in forward and again in backward."""

    def __init__(self, layer: nn.Linear, precision: str) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias
        count = layer.weight.numel()
        is_packed = precision == "nf4"
        shape = (count // 2, 1) if is_packed else tuple(layer.weight.shape)
        self.weight = nn.Parameter(torch.empty(shape, dtype=torch.uint8), requires_grad=False)
        scales = count // 64 + 4 * (count // (64 * 256) + 1) if is_packed else 4 * layer.out_features
        self.register_buffer("scales", torch.empty(scales, dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return _QuantizedProduct.apply(x, bias, self.out_features, self.in_features)


class _QuantizedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, rows: int, columns: int) -> Tensor:
        ctx.shape = rows, columns
        return nn.functional.linear(x, torch.empty(rows, columns, dtype=x.dtype), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient @ torch.empty(ctx.shape, dtype=gradient.dtype), None, None, None


def module_bytes(module: nn.Module) -> int:
    """Bytes of the parameters and buffers of a module, shared ones once."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum({tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def word_tokenizer(length: int, encoder_config: Path) -> Any:
    """Build a tokenizer that makes every word and punctuation mark one token.

    Args:
        length: tokens that it reads at most, where the text encoder does not state fewer.
        encoder_config: configuration of the text encoder.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    from lycoris.bases.files.diffusers_folder import read_json

    own = read_json(encoder_config).get("max_position_embeddings") if encoder_config.is_file() else None
    words = Tokenizer(models.WordLevel({mark: index for index, mark in enumerate(MARKS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=list(MARKS[3:]), model_max_length=min(length, own or length),
    )  # fmt: skip
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
