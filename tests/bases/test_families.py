"""Every family fulfils the interface of a base, and generates the images of the diffusers pipeline."""

import contextlib
import inspect

import numpy as np
import pytest
import torch
from PIL import Image

import lycoris
from lycoris.bases import TextConditioning, open_base
from lycoris.bases.sampling import GenerationSettings, generate
from lycoris.bases.schedulers import SCHEDULERS, build_scheduler, is_flow_matching
from lycoris.errors import InputError
from lycoris.training import Example, TrainingJob, TrainingSettings, train
from tests.bases.small_families import CASES
from tests.bases.small_flow_families import FLOW_CASES, ROLE_PRESETS

PROMPTS = ["a red cat", "a blue toy", "the sks creature"]
SEEDS = [1000, 7, 12]


# AuraFlow is among the cases of `test_flow_families`, which claim as much.
@pytest.fixture(scope="module", params=[name for name in CASES if name not in FLOW_CASES])
def case(request):
    return CASES[request.param]


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory):
    return case.save(tmp_path_factory.mktemp("families") / "base")


@pytest.fixture(scope="module")
def base(folder):
    return open_base(folder, device="cpu")


@pytest.fixture
def examples(tmp_path):
    examples = []
    for number, size in enumerate([(64, 64), (90, 60), (60, 90)]):
        path = tmp_path / f"{number}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        examples.append(Example(path, f"a sks {('cat', 'toy', 'creature')[number]}"))
    return examples


def difference(first, second):
    return max(
        np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max()
        for one, other in zip(first, second, strict=True)
    )


def test_a_folder_is_opened_by_its_family_frozen(base, case):
    assert base.family == case.family
    assert (base.resolution, base.vae_scale_factor) == (32, 4)
    for module in (*base.parts.values(), base.vae):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_conditions_have_the_familys_widths(base, case):
    conditions = base.encode_text(["", *PROMPTS])
    width, pooled = case.widths
    assert conditions.hidden_states.shape == (4, case.tokens, width)
    assert (conditions.pooled is None) == (pooled is None)
    if pooled is not None:
        assert conditions.pooled.shape == (4, pooled)
    assert all(tensor.dtype is torch.float32 for tensor in conditions.tensors)


def test_a_prediction_depends_on_the_whole_prompt(base):
    conditions = base.encode_text(["a red cat", "a red toy"])
    latents = torch.randn(1, base.latent_channels, 8, 8, generator=torch.Generator().manual_seed(0)).expand(
        2, -1, -1, -1
    )
    with torch.no_grad():
        first, second = base.predict(latents, torch.tensor([500, 500]), conditions)
    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize("size", [(32, 32), (24, 48)])
def test_an_image_equals_the_pipelines_own(base, size):
    height, width = size
    pipeline = base.pipeline()
    pipeline.scheduler = build_scheduler(base.scheduler_config, None)
    pipeline.set_progress_bar_config(disable=True)
    settings = {"num_inference_steps": 4, "guidance_scale": 5.0, "height": height, "width": width}
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    expected = pipeline(PROMPTS, **settings, negative_prompt=["snow"] * 3, generator=generators).images
    ours = generate(
        base,
        PROMPTS,
        SEEDS,
        GenerationSettings(steps=4, guidance=5.0, negative_prompt="snow", height=height, width=width),
    )
    assert difference(ours, expected) <= 1


def test_without_a_negative_prompt_the_image_equals_the_pipelines_own(base, case):
    default, named = (build_scheduler(base.scheduler_config, name) for name in (None, case.scheduler))
    assert type(default) is type(named)
    pipeline = base.pipeline()
    pipeline.scheduler = build_scheduler(base.scheduler_config, None)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    settings = {"num_inference_steps": 3, "guidance_scale": 7.0, "height": None, "width": None}  # None: the model's own
    expected = pipeline(PROMPTS, **settings, generator=generators).images
    assert difference(generate(base, PROMPTS, SEEDS, GenerationSettings(steps=3)), expected) <= 1


@pytest.mark.parametrize(("size", "guidance"), [((32, 32), 5.0), ((24, 48), 5.0), ((24, 48), 1.0)])
def test_the_denoiser_gets_the_arguments_that_the_pipeline_gives_it(base, size, guidance):
    height, width = size
    prompts = ["a", "a red cat in the snow", "the sks creature"]
    pipeline = base.pipeline()
    pipeline.scheduler = build_scheduler(base.scheduler_config, None)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    with recorded_calls(base.parts[base.denoiser]) as expected:
        settings = {"num_inference_steps": 2, "guidance_scale": guidance, "height": height, "width": width}
        pipeline(prompts, **settings, generator=generators, output_type="latent")
    with recorded_calls(base.parts[base.denoiser]) as ours:
        generate(base, prompts, SEEDS, GenerationSettings(steps=2, guidance=guidance, height=height, width=width))
    assert len(ours) == len(expected) == 2
    for our_call, call in zip(ours, expected, strict=True):
        assert set(our_call) == set(call)
        for name, value in call.items():
            expanded = value.to(our_call[name]).expand_as(our_call[name])
            torch.testing.assert_close(our_call[name], expanded, rtol=1e-4, atol=1e-4)


@contextlib.contextmanager
def recorded_calls(module):
    """The tensors among the arguments of each call of a module, by name; those in dictionaries by their keys."""
    calls = []

    def record(_, args, kwargs):
        arguments = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        nested = [value for value in arguments.values() if isinstance(value, dict)]
        entries = [*arguments.items(), *(item for value in nested for item in value.items())]
        calls.append({name: value for name, value in entries if isinstance(value, torch.Tensor)})

    handle = module.register_forward_pre_hook(record, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def test_latents_go_to_images_and_back_with_the_pipelines_scale(base):
    images = torch.rand(3, 3, 32, 48)
    config = base.vae.config
    with torch.no_grad():
        mean = base.vae.encode(images * 2 - 1).latent_dist.mean
        expected = (mean - (config.shift_factor or 0)) * config.scaling_factor
        torch.testing.assert_close(base.encode_images(images), expected)
        decoded = (base.vae.decode(mean).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(base.decode_latents(expected), decoded, rtol=1e-4, atol=1e-4)


def test_a_network_is_trained_saved_and_loaded(base, examples, tmp_path):
    before = generate(base, PROMPTS, SEEDS, GenerationSettings(steps=2))
    network = lycoris.attach(base.parts, "lora", rank=2, seed=0)
    settings = TrainingSettings(steps=3, batch_size=3, learning_rate=3e-2)
    result = train(base, TrainingJob(network, examples, settings, seed=0))
    assert result.trains_text_encoder == any(part.startswith("text_encoder") for part in base.parts)
    assert all(0 < loss < 100 for loss in result.losses)
    trained = generate(base, PROMPTS, SEEDS, GenerationSettings(steps=2))
    network.save(tmp_path / "adapter.safetensors")
    network.detach()
    assert difference(trained, before) > 1
    assert difference(generate(base, PROMPTS, SEEDS, GenerationSettings(steps=2)), before) == 0
    loaded = lycoris.load(tmp_path / "adapter.safetensors", base.parts)
    assert difference(generate(base, PROMPTS, SEEDS, GenerationSettings(steps=2)), trained) <= 1
    loaded.detach()


def test_a_preset_chooses_the_layers_of_every_part(base, case):
    network = lycoris.attach(base.parts)
    network.detach()
    assert {
        prefix: sum(name.startswith(f"{prefix}_") for name in network.layers) for prefix in case.layers
    } == case.layers
    assert len(network) == sum(case.layers.values())


def test_presets_choose_the_denoisers_layers_by_what_they_do(base, case):
    counts = []
    for preset in ROLE_PRESETS:
        network = lycoris.attach({base.denoiser: base.parts[base.denoiser]}, "lora", preset=preset, rank=1)
        network.detach()
        counts.append(len(network))
    assert tuple(counts) == case.presets


def test_what_images_the_base_generates_does_not_depend_on_the_adapters_before(base, tmp_path):
    files = []
    for seed in (0, 1):
        network = lycoris.attach(base.parts, "lora", rank=2, seed=seed)
        for place, value in enumerate(network.parameters()):
            value.data.normal_(std=0.2, generator=torch.Generator().manual_seed(1000 * seed + place))
        files.append(tmp_path / f"{seed}.safetensors")
        network.save(files[-1])
        network.detach()

    def drawn(file):
        network = lycoris.load(file, base.parts).merge()
        try:
            return generate(base, PROMPTS, SEEDS, GenerationSettings(steps=2))
        finally:
            network.detach()

    first, second, again = drawn(files[0]), drawn(files[1]), drawn(files[0])
    assert difference(first, second) > 1
    assert difference(first, again) == 0


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_scheduler_fits_or_says_what_would(base, scheduler):
    flow = is_flow_matching(base.scheduler_config)
    zero_snr = base.scheduler_config.get("rescale_betas_zero_snr")
    if flow != scheduler.startswith("flow"):
        with pytest.raises(InputError, match="flow-euler" if flow else "ddim"):
            generate(base, PROMPTS, SEEDS, GenerationSettings(steps=3, scheduler=scheduler))
    elif zero_snr and scheduler in ("pndm", "heun"):
        with pytest.raises(InputError, match="pure noise"):
            generate(base, PROMPTS, SEEDS, GenerationSettings(steps=3, scheduler=scheduler))
    else:
        alone = generate(base, PROMPTS, SEEDS, GenerationSettings(steps=3, batch_size=1, scheduler=scheduler))
        together = generate(base, PROMPTS, SEEDS, GenerationSettings(steps=3, batch_size=16, scheduler=scheduler))
        assert difference(alone, together) <= 1


def test_sizes_left_out_are_the_images_own(base):
    latents = torch.randn(2, base.latent_channels, 6, 12)
    conditions = base.encode_text(PROMPTS[:2])
    times = torch.tensor([900, 100])
    own = torch.tensor([[24.0, 48, 0, 0, 24, 48]] * 2)
    with torch.no_grad():
        expected = base.predict(latents, times, conditions)
        assert torch.equal(base.predict(latents, times, conditions, own), expected)
        cut = base.predict(latents, times, conditions, own + torch.tensor([500.0, 900, 0, 30, 0, 0]))
    assert torch.equal(cut, expected) == (base.family != "stable-diffusion-xl")


def test_bfloat16_keeps_inputs_and_outputs_in_float32(folder):
    base = open_base(folder, device="cpu", dtype="bfloat16")
    conditions = base.encode_text(["a cat"])
    latents = base.encode_images(torch.rand(1, 3, 32, 32))
    prediction = base.predict(latents, torch.tensor([10]), conditions)
    assert all(tensor.dtype is torch.float32 for tensor in (*conditions.tensors, latents, prediction))
    for module in (*base.parts.values(), base.vae):
        assert next(module.parameters()).dtype is torch.bfloat16


def test_conditions_are_indexed_and_joined():
    conditions = TextConditioning(torch.randn(4, 5, 3), torch.randn(4, 2))
    some = conditions[[2, 0, 2]]
    assert len(some) == 3
    assert torch.equal(some.hidden_states, conditions.hidden_states[[2, 0, 2]])
    assert torch.equal(some.pooled, conditions.pooled[[2, 0, 2]])
    assert torch.equal(conditions[torch.tensor([3])].pooled, conditions[3:].pooled)
    joined = TextConditioning.cat([conditions[:2], conditions[2:]])
    assert torch.equal(joined.hidden_states, conditions.hidden_states)
    assert torch.equal(joined.pooled, conditions.pooled)
    assert TextConditioning.cat([TextConditioning(conditions.hidden_states)] * 2).pooled is None
