"""VGG: a stack of 3x3 convolutions whose feature correlations describe style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from lycoris.errors import InputError

VGG19_CHANNELS = (64, 128, 256, 512, 512)
VGG19_DEPTHS = (2, 2, 4, 4, 4)


class VGG(nn.Module):
    """Blocks of 3x3 convolutions with ReLU; max pooling halves the resolution between blocks.

    Keys are numbered as torchvision numbers them (``features.0.weight``, ``features.2.weight``, ...), so the
    convolutions of its VGG-19 load unchanged. There is no classifier: train one on
    ``network.features(images)``.

    Args:
        channels: channels of each block.
        depths: number of convolutions in each block.

    Raises:
        InputError: the arguments differ in length, or a number is below 1.

    Source: Simonyan and Zisserman, arXiv 1409.1556.
    """

    def __init__(self, channels: Sequence[int] = VGG19_CHANNELS, depths: Sequence[int] = VGG19_DEPTHS) -> None:
        super().__init__()
        if len(channels) != len(depths) or not channels or min(*channels, *depths, 1) < 1:
            raise InputError(
                "Arguments `channels` and `depths` must be positive and of one length, but got "
                f"{tuple(channels)} and {tuple(depths)}."
            )
        self.channels = tuple(channels)
        self.depths = tuple(depths)
        layers: list[nn.Module] = []
        firsts: list[int] = []
        width = 3
        for block, depth in zip(self.channels, self.depths, strict=True):
            firsts.append(len(layers))
            for _ in range(depth):
                layers += [nn.Conv2d(width, block, 3, padding=1), nn.ReLU()]
                width = block
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.first_indices = tuple(firsts)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Return the output of the first convolution of each block, before its ReLU: conv1_1, conv2_1, ... conv5_1."""
        maps: list[Tensor] = []
        x = images
        for index in range(self.first_indices[-1] + 1):
            x = self.features[index](x)
            if index in self.first_indices:
                maps.append(x)
        return maps

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Tensor]) -> VGG:
        """Build the network of a state dict in float32; classifier weights are ignored.

        Raises:
            InputError: the keys are not those of a VGG without batch normalisation.
        """
        weights = {
            int(key.split(".")[1]): tensor
            for key, tensor in state_dict.items()
            if key.startswith("features.") and key.endswith(".weight")
        }
        channels: list[int] = []
        depths: list[int] = []
        expected = 0
        for index in sorted(weights):
            if weights[index].dim() != 4 or index not in (expected, expected + 1):
                raise InputError(
                    f"Key `features.{index}.weight` does not fit a VGG without batch normalisation, where "
                    f"the next convolution is at {expected} or, after pooling, at {expected + 1}."
                )
            if index == expected and depths:
                depths[-1] += 1
            else:
                channels.append(len(weights[index]))
                depths.append(1)
            expected = index + 2
        if not channels:
            raise InputError("A VGG's weights must have keys such as `features.0.weight`, but have none.")
        network = cls(channels, depths)
        network.load_state_dict(
            {key: tensor.float() for key, tensor in state_dict.items() if key.startswith("features.")}
        )
        return network


def gram_matrix(features: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels channels"]:
    """Compute the Gram matrix of feature maps: G = F Fᵀ with F of shape [c, h·w], divided by sqrt(c·h·w) first.

    Source: Gatys et al., arXiv 1508.06576; the scaling is that of arXiv 2309.14859.
    """
    channels, height, width = features.shape[1:]
    flat = features.flatten(2) / (channels * height * width) ** 0.5
    return flat @ flat.transpose(1, 2)
