"""Text in images: the quoted text, the edit distance, and a tiny TrOCR."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from lycoris.errors import InputError
from lycoris.metrics import PromptSpec
from lycoris.metrics.prediction import PredictionInputs
from lycoris.metrics.quality_predictors.text_reading import TextReader, edit_distance, quoted_text, text_agreement
from tests.encoders.test_encoders import noise_image, write_encoder

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "open", "shop", "cat", "the"]


def test_the_edit_distance_is_that_of_the_recursive_definition() -> None:
    def slow(first: str, second: str) -> int:
        if not first or not second:
            return len(first) + len(second)
        if first[0] == second[0]:
            return slow(first[1:], second[1:])
        return 1 + min(slow(first[1:], second), slow(first, second[1:]), slow(first[1:], second[1:]))

    for pair in (("kitten", "sitting"), ("", "abc"), ("abc", "abc"), ("flaw", "lawn"), ("ab", "ba")):
        assert edit_distance(*pair) == slow(*pair) == edit_distance(*pair[::-1])


def test_the_agreement_ignores_case_and_spaces() -> None:
    assert text_agreement("Open  Shop", "open shop") == 1
    assert text_agreement("open", "") == 0
    assert text_agreement("open", "opem") == pytest.approx(3 / 4)


def test_the_quoted_text_of_a_prompt_is_what_is_wanted() -> None:
    assert quoted_text('a sign that says "open" and a door with “24 h”') == "open 24 h"
    assert quoted_text("a cat's sign") == ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "trocr"
    plain = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    layer = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    encoder = transformers.ViTConfig(**layer, image_size=32, patch_size=16, initializer_range=1.0)
    decoder = transformers.TrOCRConfig(
        vocab_size=len(WORDS), d_model=16, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=32,
        cross_attention_hidden_size=16, max_position_embeddings=80, init_std=1.0,
    )  # fmt: skip
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model = transformers.VisionEncoderDecoderModel(config)
    model.generation_config.update(decoder_start_token_id=0, bos_token_id=0, pad_token_id=1, eos_token_id=2)
    model.save_pretrained(path)
    images = transformers.ViTImageProcessorPil(size={"height": 32, "width": 32})
    transformers.TrOCRProcessor(images, tokenizer).save_pretrained(path)
    return path


def test_what_is_read_is_what_the_model_itself_writes_in_any_batch(folder: Path) -> None:
    reader = TextReader(str(folder))
    images = [noise_image(32, 32, n) for n in range(3)]
    model = transformers.VisionEncoderDecoderModel.from_pretrained(folder).eval()
    processor = transformers.TrOCRProcessor.from_pretrained(folder)
    expected = []
    for image in images:
        ids = model.generate(processor(image, return_tensors="pt").pixel_values, max_new_tokens=64, do_sample=False)
        expected.append(processor.batch_decode(ids, skip_special_tokens=True)[0])
    assert reader.read(images) == expected
    image, text = next((image, text) for image, text in zip(images, expected, strict=True) if text)
    prompts = [PromptSpec(each, each, n) for n, each in enumerate([f'a sign "{text}"', "a cat", 'a sign "zebra"'])]
    found = reader.predict(PredictionInputs([image] * 3, prompts=prompts))
    np.testing.assert_allclose(found, [[1, 1], [0, 0], [text_agreement("zebra", text), 1]])


def test_another_kind_of_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vision-encoder-decoder"):
        TextReader(str(write_encoder(tmp_path / "eye", "dinov2")))
    assert Image.MAX_IMAGE_PIXELS
