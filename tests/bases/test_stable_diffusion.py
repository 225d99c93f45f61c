"""Stable Diffusion compared with diffusers and transformers."""

import warnings

import pytest
import torch

from lycoris.bases import DiscreteDiffusion, TruncatedPromptWarning, open_base
from lycoris.errors import InputError


@pytest.fixture(scope="module")
def base(small_folder):
    return open_base(small_folder, device="cpu")


def _training_batch(base):
    draws = torch.Generator().manual_seed(5)
    clean = torch.randn(6, 4, 8, 8, generator=draws)
    noise = torch.randn(6, 4, 8, 8, generator=draws)
    return clean, noise, torch.tensor([0, 1, 250, 500, 998, 999])


def test_noising_equals_the_diffusers_scheduler(base):
    clean, noise, times = _training_batch(base)
    expected = base.pipeline().scheduler.add_noise(clean, noise, times)
    torch.testing.assert_close(base.forward_process.add_noise(clean, noise, times), expected)


def test_the_v_target_equals_get_velocity(small_v_folder):
    base = open_base(small_v_folder, device="cpu")
    clean, noise, times = _training_batch(base)
    expected = base.pipeline().scheduler.get_velocity(clean, noise, times)
    assert base.forward_process.prediction_type == "v_prediction"
    torch.testing.assert_close(base.forward_process.target(clean, noise, times), expected)


def test_the_epsilon_target_is_the_noise(base):
    clean, noise, times = _training_batch(base)
    assert base.forward_process.target(clean, noise, times) is noise


def test_min_snr_weights_are_the_capped_ratio_in_terms_of_the_clean_latents():
    signal = torch.tensor([0.99, 0.9, 0.5, 0.01], dtype=torch.float64)
    times, snr = torch.arange(4), signal / (1 - signal)
    capped = snr.clamp(max=5).float()
    in_epsilon = DiscreteDiffusion(signal, "epsilon").min_snr_weight(times, 5)
    in_v = DiscreteDiffusion(signal, "v_prediction").min_snr_weight(times, 5)
    # An error in x_0 of 1 is an error of sqrt(snr) in epsilon and of sqrt(snr + 1) in v.
    torch.testing.assert_close(in_epsilon * snr.float(), capped)
    torch.testing.assert_close(in_v * (snr + 1).float(), capped)


def test_an_unknown_prediction_type_is_refused():
    with pytest.raises(InputError, match="prediction_type"):
        DiscreteDiffusion(torch.ones(3), "flow")


def test_text_equals_the_pipelines_own_encoding(base):
    expected, _ = base.pipeline().encode_prompt(["a red cat"], "cpu", 1, False)
    torch.testing.assert_close(base.encode_text(["a red cat"]).hidden_states, expected)
    assert base.encode_text(["", "a cat", "a red cat"]).hidden_states.shape == (3, 12, 24)


def test_a_prompt_too_long_is_truncated_with_one_warning(base):
    prompt = "a red cat in the snow on a blue toy creature"
    with pytest.warns(TruncatedPromptWarning, match=r"has \d+ tokens and the text encoder reads 12.*'creature'"):
        states = base.encode_text([prompt]).hidden_states
    assert torch.equal(states, base.encode_text(["a red cat in the snow on a blue toy"]).hidden_states)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        base.encode_text([prompt, "a red cat in the snow on a blue toy"])


def test_prediction_equals_the_unet(base):
    clean, _, times = _training_batch(base)
    conditions = base.encode_text(["a cat"] * 6)
    with torch.no_grad():
        expected = base.parts["unet"](clean, times, encoder_hidden_states=conditions.hidden_states).sample
        torch.testing.assert_close(base.predict(clean, times, conditions), expected)


def test_latents_are_the_scaled_posterior_mean(base):
    images = torch.rand(3, 3, 32, 48)
    with torch.no_grad():
        expected = base.vae.encode(images * 2 - 1).latent_dist.mean * 0.5
    torch.testing.assert_close(base.encode_images(images), expected)
    sampled = base.encode_images(images, torch.Generator().manual_seed(0))
    assert torch.equal(sampled, base.encode_images(images, torch.Generator().manual_seed(0)))
    assert not torch.equal(sampled, expected)


def test_decoding_goes_in_groups_and_stays_in_range(base, monkeypatch):
    latents = torch.randn(5, 4, 8, 12)
    whole = base.decode_latents(latents)
    monkeypatch.setattr("lycoris.bases.latent_codec.MAX_BATCH_PIXELS", 1)
    torch.testing.assert_close(base.decode_latents(latents), whole)
    assert whole.shape == (5, 3, 32, 48)
    assert 0 <= whole.min() <= whole.max() <= 1


def test_the_pipeline_shares_the_modules(base):
    pipeline = base.pipeline()
    assert pipeline.unet is base.parts["unet"]
    assert pipeline.text_encoder is base.parts["text_encoder"]


def test_bfloat16_keeps_inputs_and_outputs_in_float32(small_folder):
    base = open_base(small_folder, device="cpu", dtype="bfloat16")
    conditions = base.encode_text(["a cat"])
    prediction = base.predict(torch.randn(1, 4, 8, 8), torch.tensor([10]), conditions)
    assert base.parts["unet"].dtype is torch.bfloat16
    assert (
        conditions.hidden_states.dtype
        is prediction.dtype
        is base.encode_images(torch.rand(1, 3, 32, 32)).dtype
        is torch.float32
    )


def test_training_a_group_norm_behind_frozen_layers_does_not_crash(base):
    """PyTorch's channels-last kernel writes through a null pointer when the input needs no gradient."""
    norm = base.parts["unet"].mid_block.attentions[0].norm
    norm.requires_grad_(True)
    try:
        clean, _, times = _training_batch(base)
        base.predict(clean, times, base.encode_text(["a cat"] * 6)).square().mean().backward()
        assert norm.weight.grad.abs().sum() > 0
    finally:
        norm.requires_grad_(False)
        norm.weight.grad = norm.bias.grad = None
