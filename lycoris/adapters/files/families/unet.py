"""The UNets of Stable Diffusion 1, 2 and XL: their original paths, on a model or from a path alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lycoris.adapters.files.families.family import Family

_READ = ("lycoris", "kohya")
SD_1 = Family(
    "stable-diffusion-1", (), "stable-diffusion-v1", "sd_v1", None, resolution="512x512", diffusers_reads=_READ
)
SD_2 = Family(
    "stable-diffusion-2", (), "stable-diffusion-v2", "sd_v2", None, resolution="768x768", diffusers_reads=_READ
)
SD_XL = Family("stable-diffusion-xl", (), "stable-diffusion-xl-v1-base", "sdxl_base_v1-0", None, diffusers_reads=_READ)

UNETS_BY_TEXT_WIDTH = {768: SD_1, 1024: SD_2, 2048: SD_XL}
"""Width of the text states that the cross-attention reads → family."""

_LAYERS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_RESNETS_PER_BLOCK = 2
"""Of every published UNet; the decoder has one more."""


@dataclass(frozen=True)
class Layout:
    """The blocks of a UNet.

    Attributes:
        down: resnets of each block of the encoder, and whether a downsampler follows.
        mid: resnets of the middle block.
        up: resnets of each block of the decoder, and whether it has attentions.
    """

    down: tuple[tuple[int, bool], ...]
    mid: int
    up: tuple[tuple[int, bool], ...]


SD_LAYOUT = Layout(((2, True), (2, True), (2, True), (2, False)), 2, ((3, False), (3, True), (3, True), (3, True)))
SDXL_LAYOUT = Layout(((2, True), (2, True), (2, False)), 2, ((3, True), (3, True), (3, False)))


def find_layout(unet: Any) -> Layout | None:
    """Return the blocks of diffusers' UNet; None where a module is not one."""
    if not all(hasattr(unet, name) for name in ("down_blocks", "up_blocks", "mid_block")):
        return None
    if not hasattr(unet.mid_block, "resnets"):
        return None
    return Layout(
        tuple((len(down.resnets), getattr(down, "downsamplers", None) is not None) for down in unet.down_blocks),
        len(unet.mid_block.resnets),
        tuple((len(up.resnets), bool(getattr(up, "attentions", None))) for up in unet.up_blocks),
    )


def contradicts(layout: Layout, paths: Iterable[str]) -> bool:
    """Whether adapted layers can hardly be those of a UNet with a layout.

    They are not if there is a block or a resnet too many, or if of several blocks of the encoder only the first resnet
    or attention is adapted.

    Args:
        layout: of a published UNet.
        paths: of the layers in diffusers' UNet.
    """
    counts = {f"down_blocks.{i}": resnets for i, (resnets, _) in enumerate(layout.down)}
    counts |= {f"up_blocks.{i}": resnets for i, (resnets, _) in enumerate(layout.up)}
    indices: dict[str, set[int]] = {}
    for path in paths:
        if found := re.match(r"((?:down|up)_blocks\.\d+)\.(?:resnets|attentions)\.(\d+)\.", path):
            indices.setdefault(found[1], set()).add(int(found[2]))
    if any(block not in counts or max(each) >= counts[block] for block, each in indices.items()):
        return True
    encoder = [each for block, each in indices.items() if block.startswith("down")]
    return len(encoder) > 1 and all(each == {0} for each in encoder)


def original_unet_paths(layout: Layout) -> dict[str, str]:
    """Map paths of blocks and lone layers in diffusers' UNet to paths in the original implementation."""
    paths = dict(_LAYERS)

    def add_resnet(path: str, number: str, index: int) -> None:
        paths.update({f"{path}.{old}": f"{number}.{index}.{new}" for old, new in _RESNET.items()})

    def add_block(path: str, resnets: int, number: str, count: int) -> int:
        """Add the resnets of a block, each with the attention that follows it, and return the count after them."""
        for j in range(resnets):
            add_resnet(f"{path}.resnets.{j}", f"{number}.{count}", 0)
            paths[f"{path}.attentions.{j}"] = f"{number}.{count}.1"
            count += 1
        return count

    count = 1
    for i, (resnets, has_downsampler) in enumerate(layout.down):
        count = add_block(f"down_blocks.{i}", resnets, "input_blocks", count)
        if has_downsampler:
            paths[f"down_blocks.{i}.downsamplers.0.conv"] = f"input_blocks.{count}.0.op"
            count += 1
    for j in range(layout.mid):
        add_resnet(f"mid_block.resnets.{j}", "middle_block", 2 * j)
        paths[f"mid_block.attentions.{j}"] = f"middle_block.{2 * j + 1}"
    count = 0
    for i, (resnets, has_attentions) in enumerate(layout.up):
        count = add_block(f"up_blocks.{i}", resnets, "output_blocks", count)
        paths[f"up_blocks.{i}.upsamplers.0.conv"] = f"output_blocks.{count - 1}.{1 + has_attentions}.conv"
    return paths


def to_original_path(path: str, original_paths: Mapping[str, str]) -> str | None:
    """Replace the longest known beginning of a path; None where it has none."""
    head, tail = path, ""
    while head and head not in original_paths:
        head, _, last = head.rpartition(".")
        tail = f".{last}{tail}"
    return original_paths[head] + tail if head else None


def diffusers_unet_path(original: str, *, flat: bool) -> str | None:
    """Return a path in diffusers' UNet, of two resnets a block, from a path in the original; None where it is none.

    Args:
        original: ``"input_blocks.4.1.proj_in"``, or flat ``"input_blocks_4_1_transformer_blocks_0_attn1_to_q"``.
        flat: whether it has `_` for every dot; the end of the result then has it too.
    """
    dot = "_" if flat else "."
    for path, name in _LAYERS.items():
        if original == name.replace(".", dot):
            return path
    match = re.fullmatch(rf"(input_blocks|middle_block|output_blocks){dot}(\d+){dot}(.+)", original)
    if match is None:
        return None
    blocks, number, rest = match[1], int(match[2]), match[3]
    if blocks == "middle_block":
        if number == 1:
            return f"mid_block.attentions.0.{rest}"
        inner = _resnet_layer(rest, dot)
        return f"mid_block.resnets.{number // 2}.{inner}" if inner and number in (0, 2) else None
    index, _, rest = rest.partition(dot)
    level, j = divmod(number - (blocks == "input_blocks"), _RESNETS_PER_BLOCK + 1)
    block = f"{'down' if blocks == 'input_blocks' else 'up'}_blocks.{level}"
    if number == 0 and blocks == "input_blocks":
        return None
    if rest == "op" and index == "0" and j == _RESNETS_PER_BLOCK:
        return f"{block}.downsamplers.0.conv"
    if rest == "conv" and index in ("1", "2"):
        return f"{block}.upsamplers.0.conv"
    if index == "1":
        return f"{block}.attentions.{j}.{rest}"
    inner = _resnet_layer(rest, dot)
    return f"{block}.resnets.{j}.{inner}" if inner and index == "0" else None


def _resnet_layer(name: str, dot: str) -> str | None:
    return next((path for path, original in _RESNET.items() if original.replace(".", dot) == name), None)
