"""Images that were made elsewhere: black ones are named, as those that a run generates."""

from PIL import Image

from lycoris.data.prompt_spec import PromptSpec
from tasks.artifacts import RunContext
from tasks.ingest import import_images


def test_black_images_from_elsewhere_are_counted_and_named(tmp_path, caplog):
    files = [tmp_path / "0.png", tmp_path / "1.png"]
    for file, colour in zip(files, ("red", "black"), strict=True):
        Image.new("RGB", (8, 8), colour).save(file)
    context = RunContext(store=tmp_path / "store", progress=tmp_path / "progress", device="cpu")
    prompts = {"train": [PromptSpec("", "", seed) for seed in range(2)]}
    stage = import_images.fn(context, "theirs", {"train": files}, prompts)
    assert "theirs: 1 of 2 images are entirely black (number 1)" in caplog.text
    assert len(list((stage.folder / "train").glob("*.png"))) == 2
