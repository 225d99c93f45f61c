"""The transformer trained by flow matching: what it is trained on, and that a training continues and learns."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from lycoris.bases import open_base
from lycoris.bases.sampling import GenerationSettings, generate
from lycoris.pocket import BASE, FLOW_BASE
from lycoris.pocket.training.dataset import WorldDataset
from lycoris.pocket.training.export import assemble_flow_pipeline, export
from lycoris.pocket.training.flow import (
    TEACHER_SHARE,
    VelocityTeacher,
    build_transformer,
    prompt_mask,
    train_flow,
    velocity_target,
)
from lycoris.pocket.training.flow_evaluation import FLOW, UNET, missed_bars
from lycoris.pocket.training.trainer import TimeBudget
from lycoris.pocket.training.unet import CAPTIONS_PER_IMAGE, NOISE_SCHEDULE, token_ids
from lycoris.pocket.training.vae import encode_dataset
from lycoris.pocket.world.generator import sample_image
from lycoris.pocket.world.vocabulary import MAX_TOKENS, to_sentence


@pytest.fixture(scope="module")
def teacher():
    unet = UNet2DConditionModel.from_pretrained(BASE / "unet", torch_dtype=torch.float32).eval()
    return VelocityTeacher(unet, DDPMScheduler(**NOISE_SCHEDULE))


@pytest.fixture(scope="module")
def tokenizer():
    return CLIPTokenizer.from_pretrained(BASE / "tokenizer")


@pytest.fixture(scope="module")
def latents():
    """Latents of four images of the world, and the ids of their captions."""
    from diffusers import AutoencoderKL

    samples = [sample_image(seed, held_out=True) for seed in range(20_000_000, 20_000_004)]
    tags = [tags for _, tags, _ in samples]
    images = WorldDataset(np.stack([np.asarray(image) for image, _, _ in samples]), tags, [[]] * 4)
    return encode_dataset(AutoencoderKL.from_pretrained(BASE / "vae", torch_dtype=torch.float32), images), tags


def test_the_mask_is_that_of_the_tokenizer(tokenizer):
    texts = ["a red cat in the snow", "", "cat, " * 40]
    encoded = tokenizer(texts, padding="max_length", truncation=True, max_length=32)
    mask = prompt_mask(torch.tensor(encoded.input_ids), tokenizer.eos_token_id)
    assert mask.long().tolist() == encoded.attention_mask


def test_noise_levels_and_timesteps_have_the_same_signal_to_noise_ratio(teacher):
    """alpha^2 / sigma^2 = a / (1 - a) of the schedule, and (1 - s)^2 / s^2 of flow matching."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    alphas = (1 - betas).cumprod(0)
    for timestep in (0, 250, 999):
        level = teacher.levels[timestep].double()
        torch.testing.assert_close(
            (1 - level) ** 2 / level**2, alphas[timestep] / (1 - alphas[timestep]), rtol=1e-3, atol=0
        )
        assert teacher.timesteps(teacher.levels[timestep, None]).item() == pytest.approx(timestep, abs=0.01)
    assert teacher.timesteps(torch.tensor([0.0, 1.0])).tolist() == [0, 999]
    assert teacher.knows(torch.tensor([0.01, 0.5, 0.99])).tolist() == [False, True, False]


def test_the_velocity_of_a_unet_that_knows_the_pair_is_the_pairs():
    """v = alpha e - sigma x_0 at alpha x_0 + sigma e becomes e - x_0 at (1 - s) x_0 + s e."""
    schedule = DDPMScheduler(**NOISE_SCHEDULE)
    clean, noise = torch.randn(2, 4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    places = torch.tensor([1, 200, 600, 998])

    def know_the_pair(noisy, timesteps, encoder_hidden_states):
        torch.testing.assert_close(timesteps, places.float(), rtol=0, atol=0.02)
        torch.testing.assert_close(noisy, schedule.add_noise(clean, noise, places), rtol=1e-3, atol=1e-3)
        return SimpleNamespace(sample=schedule.get_velocity(clean, noise, places))

    teacher = VelocityTeacher(know_the_pair, schedule)
    levels = teacher.levels[places]
    noisy = torch.lerp(clean, noise, levels[:, None, None, None])
    torch.testing.assert_close(
        teacher.velocity(noisy, levels, torch.zeros(4, 1, 1)), noise - clean, rtol=1e-3, atol=1e-3
    )


def test_the_target_is_mostly_the_unets_velocity_which_leads_back_to_the_latents(teacher, tokenizer, latents):
    """x_0 = x_s - s v, but for what the noise hides; where the UNet knows no such noise, the pair's alone counts."""
    clean, tags = latents
    text = CLIPTextModel.from_pretrained(BASE / "text_encoder", dtype=torch.float32).eval()
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    levels = torch.tensor([0.1, 0.3, 0.5, 0.99])
    noisy = torch.lerp(clean, noise, levels[:, None, None, None])
    with torch.no_grad():
        states = text(token_ids(tokenizer, [to_sentence(one) for one in tags])).last_hidden_state
    velocity, pair = teacher.velocity(noisy, levels, states), noise - clean
    errors = (noisy - levels[:, None, None, None] * velocity - clean).square().mean((1, 2, 3))
    assert (errors[:3] < torch.tensor([0.01, 0.05, 0.15])).all(), errors
    target = velocity_target(teacher, noisy, levels, states, pair)
    mixed = TEACHER_SHARE * velocity[:3] + (1 - TEACHER_SHARE) * pair[:3]
    torch.testing.assert_close(target, torch.cat([mixed, pair[3:]]))


def test_the_transformer_is_small_and_predicts_nothing_at_first():
    torch.manual_seed(0)
    transformer = build_transformer()
    assert 2 * sum(parameter.numel() for parameter in transformer.parameters()) < 15_000_000
    for size in ((16, 16), (12, 20)):
        output = transformer(torch.randn(1, 4, *size), torch.randn(1, 32, 128), torch.tensor([0.5]), return_dict=False)
        assert output[0].shape == (1, 4, *size)
        assert not output[0].any()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A work folder with a transformer whose every weight has an effect."""
    torch.manual_seed(1)
    transformer, work = build_transformer(), tmp_path_factory.mktemp("work")
    for parameter in transformer.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    transformer.save_pretrained(work / "parts" / "transformer")
    return work


def test_the_exported_base_opens_as_auraflow_and_generates_as_its_pipeline(trained):
    export(trained, weights=trained / "weights")
    folder = trained / "weights" / "flow"
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 17_000_000
    base = open_base(folder, device="cpu")
    assert (base.family, base.resolution) == ("auraflow", 64)
    pipeline = assemble_flow_pipeline(trained).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    prompts, seeds = ["a red cat", "a blue robot on a beach, comic style"], [1000, 7]
    settings = {"num_inference_steps": 2, "guidance_scale": 3.0, "height": 64, "width": 64}
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    expected = pipeline(prompts, generator=generators, max_sequence_length=MAX_TOKENS, **settings).images
    own = generate(base, prompts, seeds, GenerationSettings(steps=2, guidance=3.0))
    for image, other in zip(own, expected, strict=True):
        difference = np.abs(np.asarray(image, int) - np.asarray(other, int))
        assert difference.mean() < 1  # half precision of the committed weights
        assert np.asarray(image).std() > 5
    assert np.abs(np.asarray(own[0], int) - np.asarray(own[1], int)).mean() > 5


def test_bars_are_missed_by_more_than_five_hundredths():
    report = {UNET: {"species": 1.0, "colour": 0.9}, FLOW: {"species": 0.95, "colour": 0.84}}
    assert missed_bars(report) == {"colour": pytest.approx(0.06)}


def test_the_committed_transformer_meets_its_bars():
    import json

    assert not missed_bars(json.loads((FLOW_BASE / "report.json").read_text()))


@pytest.mark.slow
def test_a_training_lowers_its_loss_and_continues_from_its_checkpoint(tmp_path, latents, tokenizer):
    clean, tags = latents
    for name in ("latents", "datasets"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "latents" / "000000.npy", clean.half().numpy())
    ids = token_ids(tokenizer, [to_sentence(one) for one in tags for _ in range(CAPTIONS_PER_IMAGE)])
    np.save(tmp_path / "datasets" / "captions.npy", ids.numpy().astype(np.int16))
    train_flow(tmp_path, TimeBudget(0.15, cpu_time=True), batch_size=4)
    first = torch.load(tmp_path / "checkpoints" / "flow.pt", weights_only=True)
    train_flow(tmp_path, TimeBudget(0.05, cpu_time=True), batch_size=4)
    second = torch.load(tmp_path / "checkpoints" / "flow.pt", weights_only=True)
    assert second["samples"] > first["samples"] > 0
    output = second["modules"]["transformer"]["proj_out.weight"]
    assert not torch.equal(output, first["modules"]["transformer"]["proj_out.weight"])
    assert (tmp_path / "parts" / "transformer" / "config.json").is_file()
