"""A head on the embedded DINOv2 that answers whether an image of the drawn world shows what a question names.

The probability of yes is the sigmoid of a bilinear form of the image's feature and the sum of the question's words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lycoris.cache.atomic import atomic_write_text

MODEL_TYPE = "pocket_questions"
WIDTH = 64


class QuestionHead(nn.Module):
    """The head.

    Args:
        words: the words that it knows; others are ignored.
        feature_width: width of the image's feature.
    """

    def __init__(self, words: Sequence[str], feature_width: int) -> None:
        super().__init__()
        self.words = tuple(words)
        self.number = {word: index for index, word in enumerate(self.words, start=1)}
        self.norm = nn.LayerNorm(feature_width)
        self.image = nn.Linear(feature_width, WIDTH)
        self.word = nn.Embedding(len(self.words) + 1, WIDTH, padding_idx=0)
        self.bias = nn.Embedding(len(self.words) + 1, 1, padding_idx=0)

    def forward(
        self, features: Float[Tensor, "rows width"], words: Int[Tensor, "rows words"]
    ) -> Float[Tensor, " rows"]:
        """Return the logit of yes for each image and its question."""
        question = self.word(words).sum(1)
        return (self.image(self.norm(features)) * question).sum(1) + self.bias(words).sum((1, 2))

    def encode(self, questions: Sequence[str]) -> Int[Tensor, "questions words"]:
        """Return the numbers of the words of each question, padded with 0.

        Unlike the words of a sentence, their order does not matter.
        """
        rows = [
            [self.number.get(word, 0) for word in re.findall(r"\w+", question.lower())] or [0] for question in questions
        ]
        width = max(len(row) for row in rows)
        return torch.tensor([row + [0] * (width - len(row)) for row in rows])


def save_head(head: QuestionHead, folder: Path) -> None:
    """Write ``config.json`` and the weights in half precision."""
    from safetensors.torch import save_file

    config = {"model_type": MODEL_TYPE, "feature_width": head.image.in_features, "words": list(head.words)}
    atomic_write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")
    state = {key: value.half().contiguous() for key, value in head.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def load_head(folder: Path) -> QuestionHead:
    """Read a head in single precision, frozen."""
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    head = QuestionHead(config["words"], config["feature_width"])
    head.load_state_dict({key: value.float() for key, value in load_file(folder / "model.safetensors").items()})
    return head.eval().requires_grad_(False)
