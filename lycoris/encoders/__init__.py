"""Networks that turn images of any size, and texts, into feature vectors."""

from lycoris.encoders.encoder import ENCODER_FAMILIES, Encoder, TransformersEncoder, check_encoder, open_encoder
from lycoris.encoders.model_sources import EMBEDDED_ENCODERS
from lycoris.encoders.preprocessing import Preprocessing, read_preprocessing
from lycoris.encoders.style import StyleEncoder, VGGStyleEncoder, open_style_encoder
from lycoris.encoders.vgg import VGG

__all__ = [
    "EMBEDDED_ENCODERS",
    "ENCODER_FAMILIES",
    "VGG",
    "Encoder",
    "Preprocessing",
    "StyleEncoder",
    "TransformersEncoder",
    "VGGStyleEncoder",
    "check_encoder",
    "open_encoder",
    "open_style_encoder",
    "read_preprocessing",
]
