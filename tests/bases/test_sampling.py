"""Generation: an image depends on its prompt and seed alone, and equals that of diffusers."""

import numpy as np
import pytest

import lycoris
from lycoris.bases import open_base
from lycoris.bases.sampling import SCHEDULERS, GenerationSettings, generate
from lycoris.bases.schedulers import build_scheduler
from lycoris.errors import InputError
from tests.bases.small_base import save_small_base

FITTING = [name for name in SCHEDULERS if not name.startswith("flow")]
PROMPTS = ["a red cat", "a blue toy", "a red cat", "a sks creature", "", "a photo"]
SEEDS = [1000, 1001, 1002, 1000, 7, 8]


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def base(request, tmp_path_factory):
    folder = save_small_base(tmp_path_factory.mktemp("sampling") / "base", prediction_type=request.param)
    return open_base(folder, device="cpu")


def difference(first, second):
    return max(
        np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max()
        for one, other in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("scheduler", [*FITTING, "DEISMultistepScheduler", "KDPM2DiscreteScheduler"])
def test_an_image_is_the_same_in_any_batch(base, scheduler):
    alone = generate(base, PROMPTS, SEEDS, GenerationSettings(steps=4, batch_size=1, scheduler=scheduler))
    together = generate(base, PROMPTS, SEEDS, GenerationSettings(steps=4, batch_size=16, scheduler=scheduler))
    split = generate(base, PROMPTS[::-1], SEEDS[::-1], GenerationSettings(steps=4, batch_size=4, scheduler=scheduler))[
        ::-1
    ]
    assert difference(alone, together) <= 1
    assert difference(alone, split) <= 1


def test_an_image_equals_the_diffusers_pipelines(base):
    import torch
    from diffusers import DDIMScheduler

    pipeline = base.pipeline()
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        PROMPTS,
        num_inference_steps=5,
        guidance_scale=7.0,
        negative_prompt=["snow"] * len(PROMPTS),
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
    ).images
    assert (
        difference(generate(base, PROMPTS, SEEDS, GenerationSettings(steps=5, negative_prompt="snow")), expected) <= 1
    )


def test_a_scheduler_of_diffusers_goes_by_its_class_name_too(base):
    named = generate(base, PROMPTS, SEEDS, GenerationSettings(steps=3, scheduler="euler"))
    assert (
        difference(
            generate(base, PROMPTS, SEEDS, GenerationSettings(steps=3, scheduler="EulerDiscreteScheduler")), named
        )
        == 0
    )


def test_seed_and_prompt_decide(base):
    one, same, other_seed, other_prompt = generate(
        base, ["a cat", "a cat", "a cat", "a red toy"], [1, 1, 2, 1], GenerationSettings(steps=3, batch_size=4)
    )
    assert difference([one], [same]) <= 1
    assert difference([one], [other_seed]) > 10
    assert difference([one], [other_prompt]) > 0


def test_guidance_of_one_is_the_prompts_own_prediction(base):
    slightly = generate(base, PROMPTS, SEEDS, GenerationSettings(steps=3, guidance=1.0000001))
    assert difference(generate(base, PROMPTS, SEEDS, GenerationSettings(steps=3, guidance=1.0)), slightly) <= 1


def test_sizes_order_and_progress(base):
    output = []
    images = generate(
        base,
        PROMPTS,
        SEEDS,
        GenerationSettings(steps=3, height=48, width=24, batch_size=4),
        progress=lambda *now: output.append(now),
    )
    assert [image.size for image in images] == [(24, 48)] * 6
    assert output == [(step, 6) for step in range(1, 7)]
    assert generate(base, [], []) == []


def test_each_distinct_prompt_is_encoded_once(base, monkeypatch):
    requested = []
    encode = base.encode_text
    monkeypatch.setattr(base, "encode_text", lambda prompts: requested.append(list(prompts)) or encode(prompts))
    generate(base, PROMPTS, SEEDS, GenerationSettings(steps=1, batch_size=2))
    assert requested == [["", "a red cat", "a blue toy", "a sks creature", "a photo"]]


def test_an_untrained_network_generates_the_bases_images(base):
    expected = generate(base, PROMPTS, SEEDS, GenerationSettings(steps=3))
    network = lycoris.attach(base.parts, algorithm="lora", seed=0)
    try:
        assert difference(generate(base, PROMPTS, SEEDS, GenerationSettings(steps=3)), expected) <= 1
    finally:
        network.detach()


def test_latents_are_never_clipped(base, monkeypatch):
    monkeypatch.setattr(base, "scheduler_config", {**base.scheduler_config, "clip_sample": True})
    assert all(not build_scheduler(base.scheduler_config, name).config.get("clip_sample", False) for name in FITTING)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": [1]}, "`prompts` and `seeds` must have the same length"),
        ({"prompts": "a cat"}, "one string"),
        ({"steps": 0}, "`steps`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"scheduler": "dddim"}, "Did you mean `ddim`"),
        ({"scheduler": "NoSuchScheduler"}, "Unknown scheduler"),
        ({"scheduler": "SchedulerMixin"}, "Unknown scheduler"),
        ({"scheduler": "flow-euler"}, "for noise prediction, such as `ddim`"),
        ({"scheduler": "EDMEulerScheduler"}, "with a schedule of betas, but got `EDMEulerScheduler`"),
        ({"scheduler": "DDIMInverseScheduler"}, "with a schedule of betas"),
        ({"scheduler": "FlaxDDIMScheduler"}, "cannot be used here|Unknown"),
        ({"height": 30}, "`height` must be a multiple of 4 pixels, but got 30"),
    ],
)
def test_wrong_arguments_are_named(base, wrong, message):
    with pytest.raises(InputError, match=message):
        arguments = {"prompts": ["a", "b"], "seeds": [1, 2], **wrong}
        prompts, seeds = arguments.pop("prompts"), arguments.pop("seeds")
        generate(base, prompts, seeds, GenerationSettings(**arguments))
