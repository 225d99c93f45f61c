import numpy as np
import pytest
from PIL import Image

from lycoris.bases import open_base
from lycoris.training import Example
from tests.bases.small_base import save_small_base

SIZES = [(40, 40), (64, 64), (90, 60), (60, 90), (32, 32)]


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory):
    return save_small_base(tmp_path_factory.mktemp("training") / "base")


@pytest.fixture
def base(small_folder):
    return open_base(small_folder, device="cpu")


@pytest.fixture(scope="session")
def examples(tmp_path_factory):
    """Five images of three shapes, two of them with one caption."""
    folder, draws = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    captions = ["a sks cat", "a red cat", "a sks cat", "a blue toy on snow", "a photo"]
    created = []
    for number, (size, caption) in enumerate(zip(SIZES, captions, strict=True)):
        path = folder / f"{number}.png"
        Image.fromarray(draws.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
        created.append(Example(path, caption))
    return created


@pytest.fixture(scope="session")
def squares(examples):
    """The images of one bucket."""
    return [examples[0], examples[1], examples[4]]
