"""Files through diffusers' own loader, on small pipelines: the image changes, or the loader refuses the file."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch

import lycoris
from tests.adapters.cases import randomize
from tests.adapters.small_denoisers import DENOISERS
from tests.bases.original_layout import family_vae, sd1, sd3, sdxl

ATTENTION = r".*attn1?\.(to_q|to_out\.0)"


def _flux() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

    transformer = DENOISERS["flux.1"].build().eval()
    vae = family_vae(0.3611, latent_channels=1, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False)
    empty = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    return FluxPipeline(scheduler=FlowMatchEulerDiscreteScheduler(), vae=vae, transformer=transformer, **empty)


PIPELINES = {
    "stable-diffusion-1": lambda: sd1()[0],
    "stable-diffusion-xl": lambda: sdxl()[0],
    "stable-diffusion-3": lambda: sd3()[0],
    "flux.1": _flux,
}


@functools.cache
def pipeline(family: str) -> Any:
    """A small pipeline, built once."""
    torch.manual_seed(0)
    built = PIPELINES[family]()
    built.set_progress_bar_config(disable=True)
    return built


def image(family: str) -> np.ndarray:
    """An image after one step."""
    pipe = pipeline(family)
    settings: dict[str, Any] = {"prompt": "a bear"}
    if family == "flux.1":
        generator = torch.Generator().manual_seed(1)
        settings = {
            "prompt_embeds": torch.randn(1, 4, 12, generator=generator),
            "pooled_prompt_embeds": torch.randn(1, 10, generator=generator),
        }
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return pipe(
            **settings, height=32, width=32, num_inference_steps=1, output_type="np", generator=generator
        ).images[0]


def saved(family: str, algorithm: str, path, format: str | None) -> None:
    """A file of an adapter with large random values on a pipeline's denoiser."""
    torch.manual_seed(1)
    pipe = pipeline(family)
    part = DENOISERS[family].part
    options = {"rank": 2} if algorithm in ("lora", "loha") else {}
    network = lycoris.attach({part: getattr(pipe, part)}, algorithm, layers=[ATTENTION], **options)
    randomize(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    network.save(path, format=format)
    network.detach()


@pytest.mark.parametrize("format", ["diffusers", None])
@pytest.mark.parametrize("family", list(PIPELINES))
def test_a_lora_changes_the_image(family, format, tmp_path):
    pytest.importorskip("peft")
    saved(family, "lora", tmp_path / "a.safetensors", format)
    before, pipe = image(family), pipeline(family)
    pipe.load_lora_weights(str(tmp_path / "a.safetensors"))
    changed = image(family)
    pipe.unload_lora_weights()
    assert np.abs(changed - before).max() > 1e-5
    assert np.array_equal(image(family), before)


@pytest.mark.parametrize("algorithm", ["loha", "lokr", "full"])
@pytest.mark.parametrize("family", list(PIPELINES))
def test_another_algorithm_changes_the_image_or_is_refused(family, algorithm, tmp_path):
    pytest.importorskip("peft")
    saved(family, algorithm, tmp_path / "a.safetensors", None)
    before, pipe = image(family), pipeline(family)
    try:
        pipe.load_lora_weights(str(tmp_path / "a.safetensors"))
    except (ValueError, KeyError, RuntimeError, AttributeError, NotImplementedError):
        return
    changed = image(family)
    pipe.unload_lora_weights()
    assert np.abs(changed - before).max() > 1e-5, "loaded as nothing"
