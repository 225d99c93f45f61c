"""The library works where Prefect, MLflow, DVC and what they need are absent, and its import is light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = """
import sys
ABSENT = {"prefect", "mlflow", "dvc", "dvc_data", "fastapi", "sqlalchemy", "click", "flows", "tasks"}

class WithoutAbsent:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [WithoutAbsent(finder) for finder in sys.meta_path]
"""
USE = """
import sys
from pathlib import Path
import lycoris
from lycoris import pocket
from lycoris.data.images import ImageFiles, list_images
from lycoris.metrics import GeneratedImages, PromptSpec

base = lycoris.open_base("pocket", device="cpu")
network = lycoris.attach(base.parts, algorithm="lora", preset="attn-mlp", rank=2, seed=0)
files = sorted((pocket.IMAGES / "movie_characters" / "bop").glob("*.png"))[:2]
examples = [lycoris.Example(file, "a qtv alien") for file in files]
lycoris.train(base, lycoris.TrainingJob(network, examples, lycoris.TrainingSettings(steps=2), seed=0))
network.save(sys.argv[1])
network.detach()
loaded = lycoris.load(sys.argv[1], base.parts)
settings = lycoris.GenerationSettings(steps=1, guidance=1.0)
images = lycoris.generate(base, ["a qtv alien"] * 2, [1, 2], settings)
encoders = [lycoris.open_encoder("clip", device="cpu")]
prompts = [PromptSpec("a qtv alien", "an alien", seed=seed) for seed in (1, 2)]
generated = {"trigger": GeneratedImages("trigger", images, prompts)}
references = lycoris.encode_references(ImageFiles(files), encoders, category="objects")
features = lycoris.encode(generated, encoders, category="objects")
scores = lycoris.compare(references, features, category="objects", resamples=10)
print([score.name for score in scores])
print(sorted({"prefect", "mlflow", "dvc", "flows", "tasks"} & set(sys.modules)))
"""


def run_python(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_adapters_training_and_metrics_work_where_prefect_mlflow_and_dvc_are_absent(tmp_path: Path) -> None:
    shown = run_python(BLOCK + USE, str(tmp_path / "adapter.safetensors"))
    scores, imported = shown.splitlines()[-2:]
    assert "image_similarity/trigger/clip" in scores
    assert imported == "[]"
    assert (tmp_path / "adapter.safetensors").is_file()


def test_the_import_loads_no_library() -> None:
    unneeded = "{'torch', 'numpy', 'prefect', 'mlflow', 'dvc', 'pydantic', 'transformers', 'diffusers'}"
    assert run_python(f"import sys, lycoris; print(sorted({unneeded} & set(sys.modules)))") == "[]\n"
