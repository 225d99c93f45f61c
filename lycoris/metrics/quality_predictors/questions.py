"""Prompt following by questions (VQAScore): the probability of yes when a network is asked what an image shows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from lycoris.encoders import open_encoder
from lycoris.encoders.chat_models import chat_prompt, load_processor
from lycoris.encoders.model_sources import model_digest, resolve_source
from lycoris.encoders.preprocessing import read_preprocessing
from lycoris.errors import InputError
from lycoris.metrics.prediction import PredictionInputs
from lycoris.pocket.models.questions import MODEL_TYPE, load_head
from lycoris.pretrained import check_model_type, load_pretrained, silence_transformers
from lycoris.terms import TAG_QUESTION

ROLE = "question answering"
CHAT_FAMILIES = ("llava", "qwen2_vl", "qwen2_5_vl", "qwen3_vl")
FAMILIES = (*CHAT_FAMILIES, "vilt", "blip", MODEL_TYPE)
"""``model_type`` of the networks that can be asked."""
CHAT_ENDING = " Please answer yes or no."
"""What a question to a chat model ends with, as in arXiv 2404.01291."""
BATCH_SIZE = 16


class Answerer(Protocol):
    """A network that answers questions about images."""

    def yes(self, images: Sequence[Image.Image], questions: Sequence[str]) -> Float[np.ndarray, " images"]:
        """Return the probability of yes for each image and its question."""


class QuestionScore:
    """The mean probability of yes over the questions about an image.

    With a tagger there is a question for each tag that the prompt names beside the concept, and none for a prompt that
    names none; otherwise there is one for the whole prompt, with the description in place of the trigger.

    Args:
        source: ``pocket`` for the embedded network; a folder or a hub name of a ViLT, a BLIP for question answering, or
            a chat model.
        device: torch device.

    Raises:
        InputError: the network is not supported, or a file of it is missing.

    Source: Lin et al., arXiv 2404.01291.
    """

    metric = "vqa_score"

    def __init__(self, source: str, device: str | torch.device = "cpu") -> None:
        self.name, folder = resolve_question_source(source)
        self.digest = question_digest(source)
        self.answerer = open_answerer(folder, torch.device(device))

    def predict(self, inputs: PredictionInputs) -> Float[np.ndarray, "images two"]:
        """Return the sum of the probabilities and the number of questions, per image."""
        names = inputs.requested or [[prompt.evaluation] for prompt in inputs.prompts]
        questions = [(row, TAG_QUESTION.format(name)) for row, own in enumerate(names) for name in own]
        result = np.zeros((len(inputs.images), 2))
        for start in range(0, len(questions), BATCH_SIZE):
            batch = questions[start : start + BATCH_SIZE]
            opened = {row: inputs.images[row].convert("RGB") for row in dict.fromkeys(row for row, _ in batch)}
            answers = self.answerer.yes([opened[row] for row, _ in batch], [question for _, question in batch])
            for (row, _), answer in zip(batch, answers, strict=True):
                result[row] += (answer, 1)
        return result


def question_digest(source: str) -> str:
    """SHA-256 of everything that the answers of a network depend on besides images and prompts.

    Raises:
        InputError: it does not exist.
    """
    name, folder = resolve_question_source(source)
    digests = [model_digest(folder), *([model_digest(resolve_source("dinov2")[1])] if name == "pocket" else [])]
    return hashlib.sha256(f"{digests}{TAG_QUESTION}{CHAT_ENDING}".encode()).hexdigest()


def resolve_question_source(source: str) -> tuple[str, Path]:
    """Find the short name and the folder of a network for questions; ``pocket`` is the embedded one.

    Raises:
        InputError: it does not exist.
    """
    if source == "pocket":
        from lycoris import pocket

        return source, pocket.VQA
    return resolve_source(source)


def open_answerer(folder: Path, device: torch.device) -> Answerer:
    """Open the network in a folder by the family in its ``config.json``.

    Raises:
        InputError: as for `QuestionScore`.
    """
    family = check_model_type(folder, FAMILIES, ROLE)
    if family in CHAT_FAMILIES:
        return ChatAnswerer(folder, device)
    if family == MODEL_TYPE:
        return WorldAnswerer(folder, device)
    return ViltAnswerer(folder, device) if family == "vilt" else BlipAnswerer(folder, device)


class ChatAnswerer:
    """A chat model with images: the probability that its answer begins with the token ``Yes``.

    On a GPU it has the precision of its files, elsewhere float32.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import AutoModelForImageTextToText

        self.processor = load_processor(folder, ROLE)
        self.folder, self.device = folder, device
        dtype: torch.dtype | Literal["auto"] = "auto" if device.type != "cpu" else torch.float32
        self.model = load_pretrained(AutoModelForImageTextToText, folder, ROLE, dtype).to(device)
        self.token = self.processor.tokenizer.encode("Yes", add_special_tokens=False)[0]

    @torch.inference_mode()
    def yes(self, images: Sequence[Image.Image], questions: Sequence[str]) -> Float[np.ndarray, " images"]:
        """Return the probability of yes for each image and its question."""
        texts = [chat_prompt(self.processor, each + CHAT_ENDING, self.folder, ROLE) for each in questions]
        inputs = self.processor(images=list(images), text=texts, padding=True, return_tensors="pt")
        with silence_transformers():
            logits = self.model(**inputs.to(self.device, self.model.dtype)).logits[:, -1]
        return logits.double().softmax(1)[:, self.token].cpu().numpy()


def _load_parts(folder: Path, model_class: Any, device: torch.device) -> tuple[Any, Any, Any]:
    """Network, tokenizer and preprocessing of a folder."""
    from transformers import AutoTokenizer

    model = load_pretrained(model_class, folder, ROLE).to(device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{ROLE.capitalize()} folder `{folder}` must hold a tokenizer: {error}") from error
    return model, tokenizer, read_preprocessing(folder)


def _pixels(preprocessing: Any, images: Sequence[Image.Image], device: torch.device) -> Tensor:
    rows: list[UInt8[np.ndarray, "height width 3"]] = [preprocessing.pixels(image) for image in images]
    return preprocessing.normalize(torch.from_numpy(np.stack(rows)).to(device))


class WorldAnswerer:
    """The embedded network: a head on the embedded DINOv2."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.encoder = open_encoder("dinov2", device)
        self.head = load_head(folder)

    def yes(self, images: Sequence[Image.Image], questions: Sequence[str]) -> Float[np.ndarray, " images"]:
        """Return the probability of yes for each image and its question."""
        features = self.encoder.image_features(images)
        return self.head(features, self.head.encode(questions)).double().sigmoid().numpy()


class ViltAnswerer:
    """A ViLT with an answer for each class: the probability of ``yes`` against ``no``."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import ViltForQuestionAnswering

        self.device = device
        self.model, self.tokenizer, self.preprocessing = _load_parts(folder, ViltForQuestionAnswering, device)
        labels = {str(label).lower(): int(index) for index, label in self.model.config.id2label.items()}
        if not {"yes", "no"} <= labels.keys():
            raise InputError(
                f"{ROLE.capitalize()} folder `{folder}` must know the answers `yes` and `no`, but does not."
            )
        self.columns = [labels["yes"], labels["no"]]

    @torch.inference_mode()
    def yes(self, images: Sequence[Image.Image], questions: Sequence[str]) -> Float[np.ndarray, " images"]:
        """Return the probability of yes for each image and its question."""
        pixels = _pixels(self.preprocessing, images, self.device)
        tokens = self.tokenizer(list(questions), padding=True, truncation=True, return_tensors="pt").to(self.device)
        with torch.random.fork_rng(devices=[]):  # the network puts its patches in random order
            torch.manual_seed(0)
            logits = self.model(**tokens, pixel_values=pixels).logits[:, self.columns]
        return logits.double().softmax(1)[:, 0].cpu().numpy()


class BlipAnswerer:
    """A BLIP for question answering: the probability that the answer begins with ``yes``."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        from transformers import BlipForQuestionAnswering

        self.device = device
        self.model, self.tokenizer, self.preprocessing = _load_parts(folder, BlipForQuestionAnswering, device)
        self.token = self.tokenizer.encode("yes", add_special_tokens=False)[0]

    @torch.inference_mode()
    def yes(self, images: Sequence[Image.Image], questions: Sequence[str]) -> Float[np.ndarray, " images"]:
        """Return the probability of yes for each image and its question; questions of one length run together."""
        pixels = _pixels(self.preprocessing, images, self.device)
        rows_by_length: dict[int, list[int]] = {}
        ids = self.tokenizer(list(questions), truncation=True)["input_ids"]
        for row, own in enumerate(ids):
            rows_by_length.setdefault(len(own), []).append(row)
        result = np.empty(len(questions))
        for rows in rows_by_length.values():
            result[rows] = self._answer(pixels[rows], torch.tensor([ids[row] for row in rows], device=self.device))
        return result

    def _answer(self, pixels: Tensor, ids: Tensor) -> Float[np.ndarray, " images"]:
        image_states = self.model.vision_model(pixel_values=pixels).last_hidden_state
        read = self.model.text_encoder(
            input_ids=ids, attention_mask=torch.ones_like(ids), encoder_hidden_states=image_states
        ).last_hidden_state
        start = torch.full((len(ids), 1), self.model.decoder_start_token_id, device=self.device)
        logits = self.model.text_decoder(input_ids=start, encoder_hidden_states=read).logits[:, -1]
        return logits.double().softmax(1)[:, self.token].cpu().numpy()
