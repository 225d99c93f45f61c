"""`max_token_length`: long prompts in windows of a CLIP text encoder, against a formula that encodes each by itself."""

import warnings

import pytest
import torch
from PIL import Image

import lycoris
from lycoris import bases
from lycoris.bases import TruncatedPromptWarning, open_base
from lycoris.bases.sampling import GenerationSettings, generate
from lycoris.errors import InputError
from lycoris.training import Example, TrainingJob, TrainingSettings, co_train, train
from tests.bases.small_families import CASES
from tests.bases.small_flow_families import FLOW_CASES

SHORT = "a red cat in the snow"
LONG = "a red cat in the snow on a blue toy creature in snow"  # 13 tokens: two windows of 10
LONGEST = " ".join(["a red cat on the snow"] * 6)  # 36 tokens, of which three windows read 30
TOKENS = 12
FAMILIES = ("sd", "sdxl", "sd3", "sd3.5-medium")


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    return CASES[request.param].save(tmp_path_factory.mktemp("windows") / "base")


@pytest.fixture(scope="module")
def one_window(folder):
    return open_base(folder, device="cpu")


@pytest.fixture(scope="module")
def base(folder):
    return open_base(folder, device="cpu", max_token_length=30)


def windows_of(tokenizer, prompt, count):
    """Token ids: start, ten tokens of the prompt, end, then padding, for each window."""
    content = tokenizer(prompt, verbose=False).input_ids[1:-1]
    rows = []
    for number in range(count):
        own = content[10 * number : 10 * (number + 1)]
        row = [tokenizer.bos_token_id, *own, tokenizer.eos_token_id]
        rows.append(row + [tokenizer.pad_token_id] * (TOKENS - len(row)))
    return torch.tensor(rows)


def encode_windows(base, prompt, count):
    """States of each window, encoded alone and concatenated, and the pooled states of the first one."""
    modules, tokenizers = base._components.modules, base._components.tokenizers
    columns, pooled = [], []
    for suffix in ("", "_2"):
        if f"text_encoder{suffix}" not in modules or (base.family == "stable-diffusion" and suffix):
            continue
        states = []
        for row in windows_of(tokenizers[f"tokenizer{suffix}"], prompt, count):
            output = modules[f"text_encoder{suffix}"](row[None], output_hidden_states=True)
            states.append(output.last_hidden_state if base.family == "stable-diffusion" else output.hidden_states[-2])
            if len(states) == 1 and "text_embeds" in output:
                pooled.append(output.text_embeds)
        columns.append(torch.cat(states, dim=1))
    return torch.cat(columns, dim=-1), torch.cat(pooled, dim=-1) if pooled else None


@torch.no_grad()
@pytest.mark.parametrize(("prompt", "count"), [(LONG, 2), (LONGEST, 3)])
def test_a_long_prompt_is_read_in_windows_each_with_start_and_end(base, prompt, count):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncatedPromptWarning)
        actual = base.encode_text([prompt])
    states, pooled = encode_windows(base, prompt, count)
    clip = actual.hidden_states[:, : count * TOKENS, : states.shape[-1]]
    torch.testing.assert_close(clip, states)
    if pooled is not None:
        torch.testing.assert_close(actual.pooled, pooled)
    after = actual.hidden_states.shape[1] - count * TOKENS
    assert after == (256 if base.family == "stable-diffusion-3" else 0)
    assert actual.lengths is None


@torch.no_grad()
def test_what_fits_into_one_window_is_equal_to_the_bit(base, one_window):
    prompts = ["", "a", SHORT, " ".join(["cat"] * 10)]
    for ours, theirs in zip(base.encode_text(prompts).tensors, one_window.encode_text(prompts).tensors, strict=True):
        assert torch.equal(ours, theirs)
    settings = GenerationSettings(steps=2, guidance=5.0)
    images = [generate(one, [SHORT, "a toy"], [1, 2], settings) for one in (base, one_window)]
    assert [image.tobytes() for image in images[0]] == [image.tobytes() for image in images[1]]


@torch.no_grad()
def test_prompts_of_several_lengths_do_not_affect_each_other(base):
    prompts = [LONG, "", SHORT, LONG]
    together = base.encode_text(prompts)
    assert together.lengths is not None
    latents = torch.randn(4, base.latent_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([900, 500, 100, 10])
    sizes = torch.tensor([[32.0, 32, 0, 0, 32, 32], [64, 48, 0, 0, 32, 32]] * 2)
    expected = []
    for row, prompt in enumerate(prompts):
        alone = base.encode_text([prompt])
        assert together[[row]].lengths is None
        torch.testing.assert_close(together[[row]].hidden_states, alone.hidden_states)
        rows = slice(row, row + 1)
        expected.append(base.predict(latents[rows], times[rows], alone, sizes[rows]))
    torch.testing.assert_close(base.predict(latents, times, together, sizes), torch.cat(expected), rtol=1e-4, atol=1e-4)
    joined = type(together).cat([base.encode_text([prompt]) for prompt in prompts])
    assert joined.lengths == together.lengths
    torch.testing.assert_close(joined.hidden_states, together.hidden_states)


@torch.no_grad()
def test_the_words_of_the_second_window_have_an_effect(base, one_window):
    prompts = [LONG, LONG.replace("creature", "cat")]
    images = generate(base, prompts, [3, 3], GenerationSettings(steps=2))
    assert images[0].tobytes() != images[1].tobytes()
    with pytest.warns(TruncatedPromptWarning, match="reads 12.*truncated"):
        states = one_window.encode_text(prompts).hidden_states
    # the first text encoder reads ten words, which are the same
    width = 24
    assert torch.equal(states[0, :TOKENS, :width], states[1, :TOKENS, :width])


def test_what_exceeds_the_last_window_is_named_as_cut(base):
    with pytest.warns(
        TruncatedPromptWarning, match=r"has 39 tokens and the text encoder reads 32.*'a red cat on.* toy'"
    ):
        base.encode_text([f"{LONGEST} toy"])


@pytest.fixture
def examples(tmp_path):
    examples = []
    for number, caption in enumerate([SHORT, LONG, "a toy", LONG + " red"]):
        path = tmp_path / f"{number}.png"
        Image.effect_noise((40, 40), 50 + number).convert("RGB").save(path)
        examples.append(Example(path, caption))
    return examples


@pytest.mark.parametrize(("family", "preset"), [("sd", "attn-mlp"), ("sd3", "unet-attn-mlp")])
def test_trainings_of_captions_of_several_lengths_are_the_same_together_and_alone(tmp_path, examples, family, preset):
    base = open_base(CASES[family].save(tmp_path / "base"), device="cpu", max_token_length=30)
    settings = TrainingSettings(steps=2, batch_size=4, learning_rate=1e-2, warmup_steps=0)
    networks = [lycoris.attach(base.parts, "lora", rank=2, preset=preset, seed=seed) for seed in (0, 1)]
    together = co_train(base, [TrainingJob(network, examples, settings, seed=5) for network in networks])
    for network in networks:
        network.detach()
    for seed, result in enumerate(together):
        network = lycoris.attach(base.parts, "lora", rank=2, preset=preset, seed=seed)
        alone = train(base, TrainingJob(network, examples, settings, seed=5))
        network.detach()
        assert alone.losses == pytest.approx(result.losses, rel=1e-4)


def test_a_batch_has_captions_of_one_length(base, examples):
    """Two captions of one window and two of two are two batches, none of them padded."""
    from lycoris.training.losses import TrainingLoss, compute_losses
    from tests.training.data.test_sampler import batches_of

    loss = TrainingLoss.from_settings(base, TrainingSettings(steps=1))
    batches = list(batches_of(base, examples, batch_size=4, caption_dropout=0.0)(0))
    assert [len(batch.latents) for batch in batches] == [2, 2]
    assert [batch.conditioning.lengths for batch in batches] == [None, None]
    with torch.no_grad():
        values = torch.cat([compute_losses(base, [batch], [loss])[0] for batch in batches])
    assert values.shape == (4,)
    assert (values > 0).all()


def test_the_digest_names_the_length_and_one_window_is_the_files_own(folder, base, one_window):
    assert base.digest == bases.digest(folder, max_token_length=30)
    assert base.digest not in (one_window.digest, bases.digest(folder, max_token_length=20))
    assert one_window.digest == bases.digest(folder)


@pytest.mark.parametrize("value", [5, 25, -10])
def test_a_length_that_is_no_multiple_of_a_window_is_refused(folder, value):
    for call in (open_base, bases.digest):
        with pytest.raises(InputError, match=rf"`max_token_length` must be a multiple of 10.*but got {value}"):
            call(folder, max_token_length=value)


def test_a_base_without_clip_has_no_windows(tmp_path):
    folder = CASES["auraflow"].save(tmp_path / "base")
    for call in (open_base, bases.digest):
        with pytest.raises(InputError, match="`max_token_length` is for CLIP text encoders, but this base has a UMT5"):
            call(folder, max_token_length=150)


def test_auraflow_with_a_clip_reads_windows_and_masks_the_last_ones_padding(tmp_path):
    folder = FLOW_CASES["auraflow-clip"].save(tmp_path / "base")
    base = open_base(folder, device="cpu", max_token_length=30)
    module, tokenizer = base._components.modules["text_encoder"], base._components.tokenizers["tokenizer"]
    rows = windows_of(tokenizer, LONG, 2)
    expected = torch.cat([module(row[None]).last_hidden_state[0] for row in rows])  # causal: padding changes no state
    expected[TOKENS + rows[1].tolist().index(tokenizer.eos_token_id) + 1 :] = 0
    assert not expected[-1].any()
    torch.testing.assert_close(base.encode_text([LONG]).hidden_states[0], expected, rtol=1e-4, atol=1e-5)
    assert base.encode_text([SHORT]).hidden_states.shape[1] == TOKENS
