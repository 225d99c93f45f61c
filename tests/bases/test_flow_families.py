"""Every family trained by flow matching sees in training what the diffusers pipeline generates with."""

import contextlib
import inspect
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import lycoris
from lycoris.bases import BASES, TextConditioning, open_base
from lycoris.bases.family_matching import resolve_family
from lycoris.bases.parameter_count import meta_parts
from lycoris.bases.sampling import GenerationSettings, generate
from lycoris.bases.schedulers import build_scheduler
from lycoris.errors import InputError
from lycoris.training import Example, TrainingJob, TrainingSettings, train
from tests.bases.original_transformers import original_weights
from tests.bases.small_families import CASES
from tests.bases.small_flow_families import FLOW_CASES, ROLE_PRESETS, FlowCase, klein

PROMPTS = ["a", "a red cat in the snow"]
SEEDS = [1000, 7]
EXAMPLES = ["a sks cat", "a sks toy in the snow", "a creature"]
SETTINGS = TrainingSettings(steps=6, batch_size=3, learning_rate=1e-2, caption_dropout=0)


# Ideogram 4 pads texts to 2048 tokens, which takes a minute.
CASE_NAMES = [pytest.param(name, marks=pytest.mark.slow) if name == "ideogram-4" else name for name in FLOW_CASES]


@pytest.fixture(scope="module", params=CASE_NAMES)
def case(request):
    return FLOW_CASES[request.param]


@pytest.fixture(scope="module")
def base(case, tmp_path_factory):
    return open_base(case.save(tmp_path_factory.mktemp("flow") / "base"), device="cpu", resolution=32)


@pytest.fixture(scope="module")
def pipeline(base):
    pipeline = base.pipeline()
    pipeline.set_progress_bar_config(disable=True)
    pipeline.default_sample_size = 8  # HiDream's scales every image to this area
    return pipeline


def pipeline_images(pipeline, **settings):
    """The images of the prompts; the first frames of videos."""
    defaults = {"num_frames": 1, "use_resolution_binning": False, "use_pe": False}
    accepted = inspect.signature(pipeline.__call__).parameters
    settings |= {name: value for name, value in defaults.items() if name in accepted}
    generators = [torch.Generator().manual_seed(seed) for seed in SEEDS]
    output = pipeline(prompt=list(PROMPTS), **settings, num_inference_steps=2, generator=generators, output_type="pt")
    return output.images if hasattr(output, "images") else output.frames[:, 0]


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder, examples = tmp_path_factory.mktemp("images"), []
    for number, caption in enumerate(EXAMPLES):
        path = folder / f"{number}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR).save(path)
        examples.append(Example(path, caption))
    return examples


@contextlib.contextmanager
def recorded_calls(module):
    """One entry per image and denoising step: the arguments of the call, each image's own row of them.

    A mask of all ones is no mask, and a list has one entry per image.
    """
    rows = []

    def record(_, args, kwargs):
        arguments = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        arguments = {name: value for name, value in arguments.items() if value not in (None, {}) or _is_batch(value)}
        count = len(arguments[next(name for name in ("timestep", "t", "timesteps") if name in arguments)])
        for place in range(count):
            rows.append({name: _row(value, place, count) for name, value in arguments.items()})

    handle = module.register_forward_pre_hook(record, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


def _is_batch(value):
    return isinstance(value, torch.Tensor | list | tuple)


def _row(value, place, count):
    return value[place] if _is_batch(value) and len(value) == count else value


def assert_equal(ours, theirs, name):
    if isinstance(theirs, torch.Tensor):
        torch.testing.assert_close(
            ours.float(), theirs.float(), rtol=1e-4, atol=1e-5, msg=lambda text: f"{name}: {text}"
        )
    else:
        assert ours == theirs, name


def test_every_family_has_a_case():
    assert {case.family for case in (*FLOW_CASES.values(), *CASES.values())} == set(BASES)


@pytest.mark.parametrize("guided", [True, False], ids=["guided", "unguided"])
def test_the_denoiser_gets_the_pipelines_arguments_and_the_images_are_its_own(base, pipeline, case, guided):
    (height, width), scale = ((32, 32), 3.0) if guided else (case.wide, 1.0)
    transformer = base.parts["transformer"]
    settings = {"height": height, "width": width, **case.guided(scale)}
    if case.is_guided and "negative_prompt" in inspect.signature(pipeline.__call__).parameters:
        settings["negative_prompt"] = [""] * 2
    with recorded_calls(transformer) as expected:
        images = pipeline_images(pipeline, **settings)
    with recorded_calls(transformer) as ours:
        own = generate(base, PROMPTS, SEEDS, GenerationSettings(steps=2, guidance=scale, height=height, width=width))
    assert len(ours) == len(expected) == 2 * 2 * (2 if case.is_guided and guided else 1)
    for our_row, row in zip(ours, expected, strict=True):
        assert set(our_row) == set(row)
        for name, value in row.items():
            assert_equal(our_row[name], value, name)
    pixels = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 for image in own])
    torch.testing.assert_close(pixels, images, rtol=0, atol=1.01 / 255)


def test_the_target_integrated_by_the_scheduler_gives_the_latents(base):
    clean, noise = torch.randn(2, 2, base.latent_channels, 4, 4, generator=torch.Generator().manual_seed(0)).unbind()
    scheduler = build_scheduler(base.scheduler_config)
    base.schedule.set_timesteps(scheduler, 4, 16, base.device)
    latents, first, last = noise, scheduler.sigmas[0], scheduler.sigmas[-1]
    for time in scheduler.timesteps:
        target = base.forward_process.target(clean, noise, time.float().expand(2))
        latents = scheduler.step(target, time, latents, return_dict=False)[0]
    torch.testing.assert_close(latents, torch.lerp(noise, clean, first), rtol=1e-4, atol=1e-4)
    assert last == 0 < 0.999 < first <= 1


def test_prompts_encoded_alone_and_together_condition_alike(base):
    alone = TextConditioning.cat([base.encode_text([prompt]) for prompt in PROMPTS])
    together = base.encode_text(PROMPTS)
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(2, base.latent_channels, 8, 8, generator=generator)
    times = torch.tensor([900.0, 300.0])
    with torch.no_grad():
        first, second = (base.predict(noisy, times, each) for each in (alone, together))
        single = torch.cat([base.predict(noisy[[row]], times[[row]], alone[[row]]) for row in range(2)])
        swapped = base.predict(noisy, times, together[[1, 0]])
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(single, first, rtol=1e-3, atol=1e-4)
    assert (swapped - first).abs().max() > 1e-3


def test_latents_are_normalized_as_the_pipeline_restores_them(base):
    images = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    latents = base.encode_images(images)
    assert latents.shape[2:] == (32 // base.vae_scale_factor, 48 // base.vae_scale_factor)
    frames = (
        {"pixels": images[:, :, None] * 2 - 1}
        if "temperal_downsample" in base.vae.config
        else {"pixels": images * 2 - 1}
    )
    with torch.no_grad():
        encoded = base.vae.encode(frames["pixels"])
        raw = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent
        decoded = base.vae.decode(raw, return_dict=False)[0]
    decoded = decoded[:, :, 0] if decoded.dim() == 5 else decoded
    torch.testing.assert_close(base.decode_latents(latents), (decoded / 2 + 0.5).clamp(0, 1), rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def trained(base, case, examples, tmp_path_factory):
    """An adapter trained on three images, its loss before and after, its file, and the images of the base with it."""
    file = tmp_path_factory.mktemp("adapter") / "adapter.safetensors"
    network = lycoris.attach(base.parts, "lora", preset="attn-mlp", rank=4, seed=0)
    before = loss_of(base, examples)
    result = train(
        base, TrainingJob(network, examples, TrainingSettings(steps=25, batch_size=3, learning_rate=1e-2), seed=0)
    )
    after = loss_of(base, examples)
    images = generate(base, PROMPTS, SEEDS, GenerationSettings(steps=2, guidance=1.0, height=32, width=32))
    network.save(file, format=case.format)
    network.detach()
    return before, after, result, file, images


def loss_of(base, examples):
    """Mean squared error at fixed noise and times."""
    pixels = [torch.from_numpy(np.array(Image.open(one.image))).permute(2, 0, 1) / 255 for one in examples]
    clean = base.encode_images(torch.stack(pixels)).repeat(4, 1, 1, 1)
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(clean.shape, generator=generator)
    times = torch.rand(len(clean), generator=generator) * 800 + 100
    conditioning = base.encode_text([one.caption for one in examples] * 4)
    process = base.forward_process
    with torch.no_grad():
        prediction = base.predict(process.add_noise(clean, noise, times), times, conditioning)
    return (prediction - process.target(clean, noise, times)).square().mean().item()


def test_training_lowers_the_loss_on_its_images(trained):
    before, after, result, _, _ = trained
    assert after < 0.97 * before
    assert not result.trains_text_encoder


def test_the_file_opens_in_diffusers_with_the_same_images(base, pipeline, case, trained):
    *_, file, images = trained
    with safe_open(file, framework="pt") as opened:
        assert opened.metadata()["modelspec.architecture"] == f"{case.architecture}/lora"
    settings = {"height": 32, "width": 32, **case.guided(1.0)}
    plain = pipeline_images(pipeline, **settings)
    pipeline.load_lora_weights(file.parent, weight_name=file.name)
    try:
        adapted = pipeline_images(pipeline, **settings)
    finally:
        pipeline.unload_lora_weights()
    ours = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 for image in images])
    torch.testing.assert_close(ours, adapted, rtol=0, atol=1.5 / 255)
    assert (adapted - plain).abs().max() > 3 / 255


def trained_parameters(base, examples, checkpoint=None, progress=None):
    """The result of a short training with a checkpoint at every step, and the parameters that it ends with."""
    network = lycoris.attach(base.parts, "lora", preset="attn-only", rank=2, seed=0)
    try:
        job = TrainingJob(network, examples, SETTINGS, seed=3, checkpoint=checkpoint)
        result = train(base, job, progress=progress, checkpoint_seconds=0)
        return result, [parameter.detach().clone() for parameter in network.parameters()]
    finally:
        network.detach()


def train_until_killed(folder, examples, checkpoint, threads):
    """Train in a process of its own, which kills itself after the second step's checkpoint."""

    def kill(step, *_):
        if step == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(threads)
    trained_parameters(open_base(folder, device="cpu", resolution=32), examples, checkpoint, kill)


@pytest.mark.slow
def test_a_training_killed_by_the_system_resumes_bit_for_bit(base, examples, tmp_path):
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["lycoris.training", "diffusers", "tests.bases.test_flow_families"])
    state = tmp_path / "state.safetensors"
    killed = processes.Process(
        target=train_until_killed, args=(base.files.path, examples, state, torch.get_num_threads())
    )
    killed.start()
    whole, expected = trained_parameters(base, examples)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    result, parameters = trained_parameters(base, examples, state)
    assert result.resume_step == 2
    assert result.losses == whole.losses
    assert all(torch.equal(one, other) for one, other in zip(parameters, expected, strict=True))


def test_presets_choose_layers_by_what_they_do(base, case):
    chosen = {}
    for preset in ROLE_PRESETS:
        network = lycoris.attach({"transformer": base.parts["transformer"]}, "lora", preset=preset, rank=1)
        network.detach()
        chosen[preset] = {layer.path for layer in network.layers.values()}
    assert tuple(len(layers) for layers in chosen.values()) == case.layers
    attention, feed_forward, both, modulation, embedder, everything = chosen.values()
    assert attention | feed_forward == both
    assert not attention & feed_forward
    assert not modulation & embedder
    assert not both & (modulation | embedder)
    assert {path for path in everything - both - modulation - embedder if "conv_depth" not in path} == set()


def test_a_file_of_its_transformer_opens_with_the_other_parts(base, case, tmp_path):
    transformer, family = base.parts["transformer"], BASES[case.family]
    weights = original_weights(transformer) if family.transformer_file else transformer.state_dict()
    prefix = "model.diffusion_model." if len(case.family) % 2 else ""
    file = tmp_path / "transformer.safetensors"
    save_file({prefix + name: value.contiguous() for name, value in weights.items()}, file)
    files, found = resolve_family(file, components=base.files.path)
    opened = files.load_module("transformer", type(transformer), torch.float32).state_dict()
    assert found is family
    assert opened.keys() == transformer.state_dict().keys()
    assert all(torch.equal(opened[name], value) for name, value in transformer.state_dict().items())
    if family.transformer_file:
        with pytest.raises(InputError, match="Pass `components`"):
            resolve_family(file)


def test_shapes_alone_are_of_the_parts_that_can_be_adapted(base):
    parts = meta_parts(base.files.path)
    assert set(parts) == set(base.parts)
    assert {name: weight.shape for name, weight in parts["transformer"].named_parameters()} == {
        name: weight.shape for name, weight in base.parts["transformer"].named_parameters()
    }


def test_what_a_distilled_model_means_is_stated(tmp_path):
    base = open_base(
        FlowCase(lambda: klein(is_distilled=True), "flux-2-klein", "", dict, ()).save(tmp_path), resolution=32
    )
    assert "FLUX.2-klein-base" in base.distilled
    with pytest.raises(InputError, match="`guidance` must be None or 1"):
        generate(base, ["a"], [0], GenerationSettings(guidance=4.0, height=32, width=32))
