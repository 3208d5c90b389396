"""Every classifier architecture of `transformers`: a text's logits do not depend on its batch, or it is refused."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from course_lib.errors import CourseError
from course_lib.finetuning import FinetuningSettings, evaluate, finetune
from course_lib.models import ModelAndTokenizer
from tests.architectures import VOCABULARY, architectures, tiny

PAD = VOCABULARY - 1
TEXTS = Dataset.from_dict(
    {
        "text": [
            "w4 w14 w24 w34",
            "w5 w6 w7 w8 w9 w10 w11 w12 w13 w14",
            "w12 w13 w14 w15 w16",
            "w4 w5 w6 w7 w8 w9 w10",
            "w20 w21 w22 w23",
            "w7 w8 w9 w10 w11 w12",
        ],
        "label": [0, 1, 0, 1, 0, 1],
    }
)


def _tokenizer(side: str = "right", pad: int = PAD) -> PreTrainedTokenizerFast:
    vocabulary = {f"w{number}": number for number in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w3"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=f"w{pad}", unk_token="w3", padding_side=side
    )


def _made(model_type: str) -> Any:
    try:
        model = tiny("classifier", model_type, pad_token_id=PAD, num_labels=2)
        with torch.no_grad():
            for length in (4, 5):
                ids = torch.arange(4, 4 + length)[None]
                model(input_ids=ids, attention_mask=torch.ones_like(ids))
    except Exception:
        return None
    return model


MODELS = {name: model for name in architectures("classifier") if (model := _made(name)) is not None}


def test_there_are_many() -> None:
    assert len(MODELS) >= 45


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_predictions_depend_on_no_batch(name: str, side: str) -> None:
    classifier = ModelAndTokenizer(MODELS[name], _tokenizer(side))
    one = evaluate(classifier, TEXTS, batch_size=1).logits
    for batch_size in (2, 3, 6):
        together = _logits_or_refusal(classifier, batch_size)
        if isinstance(together, str):
            assert "reads the padding" in together
        else:
            np.testing.assert_allclose(together, one, atol=2e-3)


def _logits_or_refusal(classifier: ModelAndTokenizer, batch_size: int) -> np.ndarray | str:
    try:
        return evaluate(classifier, TEXTS, batch_size=batch_size).logits
    except CourseError as error:
        return str(error)


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen2"])
def test_another_padding_token_is_refused_with_the_mend(name: str) -> None:
    classifier = ModelAndTokenizer(MODELS[name], _tokenizer(pad=PAD - 1))
    with pytest.raises(CourseError, match=r"model\.config\.pad_token_id = tokenizer\.pad_token_id"):
        evaluate(classifier, TEXTS, batch_size=3)
    with pytest.raises(CourseError, match="reads the padding"):
        finetune(classifier, TEXTS, FinetuningSettings(num_steps=1, batch_size=3), progress=False)


def test_padding_on_the_left_is_refused_where_positions_are_counted() -> None:
    classifier = ModelAndTokenizer(MODELS["bert"], _tokenizer("left"))
    with pytest.raises(CourseError, match="padding_side = 'right'"):
        evaluate(classifier, TEXTS, batch_size=3)


def test_what_is_trained_stays_in_the_mode_it_was_in() -> None:
    model = MODELS["bert"].train()
    evaluate(ModelAndTokenizer(model, _tokenizer()), TEXTS, batch_size=3)
    assert model.training
    evaluate(ModelAndTokenizer(model.eval(), _tokenizer()), TEXTS, batch_size=3)
    assert not model.training


def test_a_model_that_short_texts_change_for_good_is_refused() -> None:
    sizes = {"block_size": 4, "num_random_blocks": 1}
    model = copy.deepcopy(tiny("classifier", "big_bird", pad_token_id=PAD, num_labels=2, **sizes))
    words = [" ".join(f"w{4 + (7 * i) % 25}" for i in range(length)) for length in (120, 5, 60, 9)]
    texts = Dataset.from_dict({"text": words, "label": [0, 1, 0, 1]})
    with pytest.raises(CourseError, match="once it has read a short one"):
        evaluate(ModelAndTokenizer(model, _tokenizer()), texts, batch_size=1)


@pytest.mark.parametrize("name", ["bert", "gpt2", "roberta"])
def test_a_text_longer_than_the_table_of_positions_is_refused(name: str) -> None:
    texts = Dataset.from_dict({"text": ["w5 " * 200, "w6 w7"], "label": [0, 1]})
    for batch_size in (1, 2):
        with pytest.raises(CourseError, match="smaller max_length"):
            evaluate(
                ModelAndTokenizer(MODELS[name], _tokenizer()), texts, batch_size=batch_size, max_length=300
            )
