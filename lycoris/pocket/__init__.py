"""The embedded default: a drawn world, its concepts, and the small models trained on it.

Only paths live here, so that asking for one loads nothing.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent
WEIGHTS = _FOLDER / "weights"
BASE = WEIGHTS / "base"
"""The text-to-image base in the diffusers layout."""
CLIP = WEIGHTS / "clip"
DINOV2 = WEIGHTS / "dinov2"
CONVNEXTV2 = WEIGHTS / "convnextv2"
VGG = WEIGHTS / "vgg"
TAGGER = WEIGHTS / "tagger"
JUDGE = WEIGHTS / "judge"
"""The classifier that judges the base and is used for nothing else."""
IMAGES = _FOLDER / "images"
"""The concept pictures and `concepts.yaml`."""
TRUE_TAGS = _FOLDER / "truth.json"
"""The exact tags of every concept picture, for tests."""
MANIFEST = _FOLDER / "manifest.json"
"""The list of the concept pictures' files with their MD5 sums, as DVC keeps it for this version of ``data/``."""
