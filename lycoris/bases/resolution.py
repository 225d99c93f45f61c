"""The size of the images that a base was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lycoris.errors import InputError

if TYPE_CHECKING:
    from lycoris.bases.families.family import Family
    from lycoris.bases.latent_codec import LatentCodec


def native_resolution(family: Family, denoiser: Any, codec: LatentCodec, source: str) -> int:
    """Side of the square images that a denoiser was trained on, in pixels.

    Raises:
        InputError: the denoiser's input channels are not the autoencoder's.
    """
    channels = denoiser.config.in_channels
    if channels not in (codec.channels, codec.channels * family.patch_size**2):
        raise InputError(
            f"The denoiser of base `{source}` must take the VAE's {codec.channels} channels, "
            f"but takes {channels}; inpainting and depth models are not supported."
        )
    size = denoiser.config.get("sample_size")
    if size is None:
        return family.resolution
    return (size if isinstance(size, int) else max(size)) * codec.scale_factor


def set_resolution(family: Family, denoiser: Any, scale_factor: int, resolution: int) -> None:
    """Check a resolution, and let a denoiser's configuration state it where it states one.

    Args:
        family: its family.
        scale_factor: pixels per latent cell along each side.
        resolution: side of the images, in pixels.

    Raises:
        InputError: the images have no whole number of latent cells that the denoiser can halve.
    """
    blocks = getattr(denoiser.config, "block_out_channels", None)
    multiple = scale_factor * (2 ** (len(blocks) - 1) if blocks else family.patch_size)
    if resolution < multiple or resolution % multiple:
        raise InputError(f"Argument `resolution` must be a multiple of {multiple} for this base, but got {resolution}.")
    if "sample_size" in denoiser.config:
        denoiser.register_to_config(sample_size=resolution // scale_factor)
