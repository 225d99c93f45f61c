"""Encodings are computed once, written atomically, shared by processes, and not all held in memory."""

import multiprocessing
import subprocess
import sys
import textwrap
import warnings

import pytest
import torch
from PIL import Image

import lycoris
from lycoris.bases import TruncatedPromptWarning, open_base
from lycoris.cache.store import Store
from lycoris.training import TrainingJob, TrainingSettings, train
from lycoris.training.data import caption_encoding, image_dataset, loss_masks
from lycoris.training.data.caption_encoding import CaptionEncoder
from lycoris.training.data.image_dataset import ImageDataset
from lycoris.training.data.tensor_cache import TensorCache, content_key
from tests.bases.small_base import save_small_base


def files(folder):
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*.safetensors")}


@pytest.mark.parametrize("inside", [True, False])
def test_what_is_written_is_read(tmp_path, inside):
    kept = TensorCache(tmp_path / "new" if inside else None)
    key = content_key("a", 1)
    assert key not in kept
    kept.write(key, {"x": torch.arange(6.0).view(2, 3)[:, 1:]})
    assert key in kept
    assert torch.equal(kept.read(key)["x"], torch.tensor([[1.0, 2.0], [4.0, 5.0]]))


def test_no_more_than_its_share_of_memory_is_held(tmp_path):
    kept = TensorCache(tmp_path, memory_limit=1000)
    for number in range(10):
        kept.write(content_key(number), {"x": torch.full((100,), float(number))})
    for _ in range(2):
        for number in range(10):
            assert torch.equal(kept.read(content_key(number))["x"], torch.full((100,), float(number)))
    assert sum(tensors["x"].nbytes for tensors in kept._in_memory.values()) <= 1000


def test_a_damaged_file_is_written_again(tmp_path):
    kept, key = TensorCache(tmp_path), content_key("a")
    kept.write(key, {"x": torch.ones(100)})
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes()[:-10])
    assert key not in TensorCache(tmp_path)


def write_all(folder, value):
    for number in range(200):
        TensorCache(folder).write(content_key(number), {"x": torch.full((64,), value)})


def test_two_processes_at_once_leave_whole_files_only(tmp_path):
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=write_all, args=(tmp_path, value)) for value in (1.0, 2.0)]
    for other in others:
        other.start()
    for other in others:
        other.join()
        assert other.exitcode == 0
    for number in range(200):
        assert TensorCache(tmp_path).read(content_key(number))["x"].unique().numel() == 1
    assert len(list(tmp_path.rglob("*"))) == 200 + len({content_key(number)[:2] for number in range(200)})


def test_what_a_killed_writer_leaves_is_no_encoding_and_is_swept(tmp_path):
    script = """
        import os, sys, torch
        import safetensors.torch as files
        from pathlib import Path
        from lycoris.training.data.tensor_cache import TensorCache, content_key
        write = files.save_file
        files.save_file = lambda *given, **more: (write(*given, **more), os._exit(9))
        TensorCache(Path(sys.argv[1])).write(content_key("a"), {"x": torch.ones(3)})
    """
    folder = tmp_path / "encodings"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(folder)], check=False)
    assert done.returncode == 9
    assert content_key("a") not in TensorCache(folder)
    assert [file for file in folder.rglob("*") if file.is_file()]
    Store(tmp_path).remove_stale()
    assert not [file for file in folder.rglob("*") if file.is_file()]


def test_cached_latents_are_the_computed_ones(base, examples, tmp_path):
    paths = [example.image for example in examples]
    fresh, first = (
        ImageDataset(base, paths, horizontal_flip=True),
        ImageDataset(base, paths, horizontal_flip=True, cache_folder=tmp_path),
    )
    written = files(tmp_path)
    second = ImageDataset(base, paths, horizontal_flip=True, cache_folder=tmp_path)
    assert len(written) == 2 * len(paths)
    assert files(tmp_path) == written
    for row in range(len(paths)):
        for mirror in (False, True):
            assert torch.equal(first.stack_latents([row], [mirror]), fresh.stack_latents([row], [mirror]))
            assert torch.equal(second.stack_latents([row], [mirror]), fresh.stack_latents([row], [mirror]))


def test_the_key_of_an_encoding_depends_on_all_that_changes_it(base, small_folder, squares, tmp_path):
    paths, captions = [example.image for example in squares], ["a sks cat"]

    def encode(base, horizontal_flip=False):
        ImageDataset(base, paths, horizontal_flip=horizontal_flip, cache_folder=tmp_path)
        CaptionEncoder(base, captions, trainable=False, cache_folder=tmp_path)
        return len(files(tmp_path))

    first = encode(base)
    assert first == len(paths) + 2  # the caption and the empty one
    assert encode(base) == first
    assert encode(base, horizontal_flip=True) == first + len(paths)
    assert encode(open_base(small_folder, device="cpu", dtype="bfloat16")) == 2 * first + len(paths)
    other = save_small_base(tmp_path.parent / "other-base", seed=1)
    assert encode(open_base(other, device="cpu")) == 3 * first + len(paths)


def test_encodings_are_computed_anew_when_their_code_changes(base, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    image = Image.new("RGBA", (32, 32), "red")
    image.paste((0, 0, 0, 0), (0, 0, 16, 32))
    image.save(path)

    def encode():
        ImageDataset(base, [path], mask="alpha", cache_folder=tmp_path / "kept")
        CaptionEncoder(base, ["a sks cat"], trainable=False, cache_folder=tmp_path / "kept")
        return len(files(tmp_path / "kept"))

    assert encode() == encode() == 4  # latents, mask, the caption and the empty one
    for module, expected in ((image_dataset, 5), (loss_masks, 6), (caption_encoding, 8)):
        monkeypatch.setattr(module, "source_hash", lambda *paths: "changed")
        assert encode() == encode() == expected


def test_one_image_in_buckets_of_two_sizes_has_latents_of_both(base, squares, tmp_path, monkeypatch):
    paths = [squares[0].image]
    for resolution, side in ((32, 8), (64, 16), (32, 8)):
        monkeypatch.setattr(base, "resolution", resolution)
        cached, fresh = ImageDataset(base, paths, cache_folder=tmp_path), ImageDataset(base, paths)
        latents = cached.stack_latents([0], [False])
        assert latents.shape == (1, 4, side, side)
        assert torch.equal(latents, fresh.stack_latents([0], [False]))
    assert len(files(tmp_path)) == 2


def test_latents_do_not_depend_on_what_was_cached_before(base, squares, tmp_path):
    paths = [example.image for example in squares]
    ImageDataset(base, paths[1:2], cache_folder=tmp_path)
    grown, fresh = ImageDataset(base, paths, cache_folder=tmp_path), ImageDataset(base, paths)
    assert torch.equal(grown.stack_latents([0, 1, 2], [False] * 3), fresh.stack_latents([0, 1, 2], [False] * 3))


def test_a_run_that_keeps_no_encodings_learns_the_same(base, examples, tmp_path):
    learnt = []
    for cached in (True, False):
        network = lycoris.attach(base.parts, "lora", preset="attn-only", rank=2, seed=0)
        settings = TrainingSettings(
            steps=3, batch_size=2, learning_rate=1e-3, horizontal_flip=True, cache_encodings=cached
        )
        result = train(base, TrainingJob(network, examples, settings, seed=0), cache_folder=tmp_path / str(cached))
        learnt.append(([each.detach().clone() for each in network.parameters()], result.losses))
        network.detach()
    (kept, losses), (fresh, others) = learnt
    assert losses == others
    assert all(map(torch.equal, kept, fresh))
    assert files(tmp_path / "True")
    assert not (tmp_path / "False").exists()


def test_an_invalid_image_is_skipped_before_the_first_step_without_cached_encodings(base, squares, tmp_path):
    bad = tmp_path / "bad.png"
    content = squares[0].image.read_bytes()
    bad.write_bytes(content[: len(content) * 2 // 3])
    images = ImageDataset(base, [squares[0].image, bad], use_cache=False)
    assert list(images.valid_indices) == [0]
    assert list(images.skipped) == [str(bad)]


def test_an_edited_image_has_latents_of_its_own(base, squares, tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (32, 32), "red").save(path)
    red = ImageDataset(base, [path], cache_folder=tmp_path / "kept").stack_latents([0], [False])
    Image.new("RGB", (32, 32), "blue").save(path)
    assert not torch.equal(ImageDataset(base, [path], cache_folder=tmp_path / "kept").stack_latents([0], [False]), red)


def test_cached_conditioning_is_the_encoded_one_and_is_not_encoded_again(base, examples, tmp_path, monkeypatch):
    captions = [example.caption for example in examples]
    expected = base.encode_text(["", *captions])
    CaptionEncoder(base, captions, trainable=False, cache_folder=tmp_path)
    monkeypatch.setattr(base, "encode_text", None)
    texts = CaptionEncoder(base, captions, trainable=False, cache_folder=tmp_path)
    assert torch.allclose(texts(["", *captions]).hidden_states, expected.hidden_states, atol=1e-6)


def test_a_truncated_caption_is_warned_about_again_when_it_is_cached(base, small_folder, tmp_path):
    from lycoris.bases import open_base

    long = "a red cat on snow in the photo a blue toy on snow"
    for opened in (base, open_base(small_folder, device="cpu")):
        with pytest.warns(TruncatedPromptWarning, match="truncated at its end"):
            CaptionEncoder(opened, [long], trainable=False, cache_folder=tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CaptionEncoder(base, ["a cat"], trainable=False, cache_folder=tmp_path)


def test_augmented_captions_are_encoded_as_they_occur_and_held_for_a_while(base, tmp_path, monkeypatch):
    monkeypatch.setattr(caption_encoding, "MAX_RECENT", 3)
    asked, encode = [], base.encode_text
    monkeypatch.setattr(base, "encode_text", lambda prompts: asked.append(list(prompts)) or encode(prompts))
    texts = CaptionEncoder(base, ["a cat, red"], trainable=False, augmented=True, cache_folder=tmp_path)
    for caption in ("a", "b", "a", "c", "d", "a", "b"):
        assert torch.equal(texts([caption]).hidden_states, encode([caption]).hidden_states)
    assert asked == [[""], ["a"], ["b"], ["c"], ["d"], ["b"]]
    assert len(files(tmp_path)) == 1
