"""Paths of the embedded default: a drawn world, its concepts, and small models trained on it.

Importing this package loads no library.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent
WEIGHTS = _FOLDER / "weights"
BASE = WEIGHTS / "base"
"""The text-to-image base model in the diffusers layout."""
FLOW_BASE = WEIGHTS / "flow"
"""Its sibling trained by flow matching, in the same layout."""
EMBEDDED_BASES = {"pocket": BASE, "pocket-flow": FLOW_BASE}
"""The names of embedded bases and their folders."""
CLIP = WEIGHTS / "clip"
DINOV2 = WEIGHTS / "dinov2"
CONVNEXTV2 = WEIGHTS / "convnextv2"
VGG = WEIGHTS / "vgg"
TAGGER = WEIGHTS / "tagger"
JUDGE = WEIGHTS / "judge"
"""The classifier that evaluates the base model; no metric, tagger or training uses it."""
VQA = WEIGHTS / "vqa"
"""The network that answers questions about images of the drawn world."""
IMAGES = _FOLDER / "images"
"""The concept images and `concepts.yaml`."""
TRUE_TAGS = _FOLDER / "truth.json"
"""The exact tags of every concept image, for tests."""
MANIFEST = _FOLDER / "manifest.json"
"""Files of the concept images with their MD5 checksums, in the format of DVC's manifest of this data version."""
