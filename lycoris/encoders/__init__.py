"""Networks that look at pictures: images of any size in, features out, behind one contract."""

from lycoris.encoders.encoder import FAMILIES, Encoder, TransformersEncoder, open_encoder
from lycoris.encoders.model_sources import SHORT_NAMES
from lycoris.encoders.preprocessing import MODES, Preprocessing, read_preprocessing
from lycoris.encoders.style import StyleEncoder, VGGStyleEncoder, open_style_encoder
from lycoris.encoders.vgg import VGG

__all__ = [
    "FAMILIES",
    "MODES",
    "SHORT_NAMES",
    "VGG",
    "Encoder",
    "Preprocessing",
    "StyleEncoder",
    "TransformersEncoder",
    "VGGStyleEncoder",
    "open_encoder",
    "open_style_encoder",
    "read_preprocessing",
]
