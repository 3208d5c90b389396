"""Every causal architecture of `transformers`: the scorers give the numbers of whole prompts, or refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from course_lib.errors import CourseError
from course_lib.icl.scorers.naive import NaiveScorer
from course_lib.icl.scorers.prefix_cached import PrefixCachedScorer
from course_lib.models import find_context_length, refuse_looking_ahead
from tests.architectures import CONTEXT, VOCABULARY, architectures, tiny
from tests.icl.scorers.test_scoring import ITEMS, PREFIX, WORDS, by_hand, tiny_tokenizer

# these read what is behind a word, or several words at once, whatever their configuration says
REFUSED = ("prophetnet", "xlm", "xlnet")


def _made(model_type: str) -> Any:
    """Return a tiny model, or None where these sizes make none that reads five tokens."""
    try:
        model = tiny("causal", model_type, pad_token_id=VOCABULARY - 1)
        with torch.no_grad():
            model(input_ids=torch.tensor([[4, 5, 6, 7, 8]]))
    except Exception:
        return None
    return model


MODELS = {name: model for name in architectures("causal") if (model := _made(name)) is not None}
ACCEPTED = sorted(set(MODELS) - set(REFUSED))


def test_there_are_many() -> None:
    assert len(ACCEPTED) >= 60


@pytest.mark.parametrize("name", ACCEPTED)
def test_scores_depend_on_nothing_but_the_texts(name: str) -> None:
    """Not on the batch, its padding, the order, the sharing of a prefix, or what was scored before."""
    model, tokenizer = MODELS[name], tiny_tokenizer()
    cached, naive = PrefixCachedScorer(model, tokenizer, 2), NaiveScorer(model, tokenizer, 3)
    expected = by_hand(model, tokenizer, PREFIX, ITEMS, WORDS)
    for scorer in (cached, naive):
        found = scorer.log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
        np.testing.assert_allclose(found, expected, atol=2e-4)
    cached.log_probabilities("bcbc", ["abc", "h:"], WORDS, progress=False)
    cached.batch_size = 5
    backwards = cached.log_probabilities(PREFIX, ITEMS[::-1], WORDS, progress=False)
    np.testing.assert_allclose(backwards[::-1], expected, atol=2e-4)


# Names under which a configuration may hold how far attention reaches; shorter here than the prompts.
_REACH = {"sliding_window": 7, "attention_chunk_size": 8, "index_topk": 8, "block_size": 4, "window_size": 7}


def _short_sighted(model_type: str) -> Any:
    known = set(vars(MODELS[model_type].config)) & set(_REACH)
    try:
        return tiny(
            "causal", model_type, pad_token_id=VOCABULARY - 1, **{name: _REACH[name] for name in known}
        )
    except Exception:
        return None


@pytest.mark.parametrize("name", [name for name in ACCEPTED if set(vars(MODELS[name].config)) & set(_REACH)])
def test_attention_that_reaches_less_far_than_the_prompt(name: str) -> None:
    model, tokenizer = _short_sighted(name), tiny_tokenizer()
    if model is None:
        pytest.skip("these sizes make no model of so short a reach")
    expected = by_hand(model, tokenizer, PREFIX, ITEMS, WORDS)
    for scorer in (PrefixCachedScorer(model, tokenizer, 2), NaiveScorer(model, tokenizer, 3)):
        found = scorer.log_probabilities(PREFIX, ITEMS, WORDS, progress=False)
        np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("name", sorted(set(REFUSED) & set(MODELS)))
@pytest.mark.parametrize("kind", [PrefixCachedScorer, NaiveScorer])
def test_what_reads_otherwise_is_refused(name: str, kind: Any) -> None:
    with pytest.raises(CourseError, match=r"looks ahead|does not read a plain text"):
        kind(MODELS[name], tiny_tokenizer())


@pytest.mark.parametrize("kind", [PrefixCachedScorer, NaiveScorer])
@pytest.mark.parametrize("model_type", ["t5", "bart", "mbart"])
def test_encoders_with_decoders_are_refused_in_one_sentence(kind: Any, model_type: str) -> None:
    from transformers import AutoModelForSeq2SeqLM

    from tests.architectures import _tiny_config

    options = {"d_kv": 8, "d_ff": 16} if model_type == "t5" else {}
    model = AutoModelForSeq2SeqLM.from_config(_tiny_config(model_type, options)).eval()
    with pytest.raises(CourseError, match=r"an encoder and a decoder.*Use a decoder alone"):
        kind(model, tiny_tokenizer())


def test_an_encoder_that_passes_for_a_language_model_is_refused() -> None:
    from transformers import BertConfig, BertLMHeadModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    for seed in range(20):  # weights as they are drawn by default see ahead by a thousandth of the logits
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = BertLMHeadModel(BertConfig(vocab_size=VOCABULARY, **sizes)).eval()
        with pytest.raises(CourseError, match="looks ahead"):
            refuse_looking_ahead(model)
    model = BertLMHeadModel(BertConfig(vocab_size=VOCABULARY, is_decoder=True, **sizes)).eval()
    refuse_looking_ahead(model)


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "gemma3", "qwen2"])
def test_the_context_is_found_however_it_is_called(name: str) -> None:
    if name not in MODELS:
        pytest.skip("not among the tiny models")
    assert find_context_length(MODELS[name]) == CONTEXT


def test_the_text_part_of_a_composite_model_is_read() -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {
        **dict.fromkeys(("hidden_size", "intermediate_size"), 32),
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "initializer_range": 0.3,
        "sliding_window": 7, "pad_token_id": VOCABULARY - 1,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    tokens = {"image_token_index": 38, "boi_token_index": 36, "eoi_token_index": 37}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, **tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Gemma3ForConditionalGeneration(config).eval()
    assert find_context_length(model) == CONTEXT
    found = PrefixCachedScorer(model, tiny_tokenizer(), 2).log_probabilities(
        PREFIX, ITEMS, WORDS, progress=False
    )
    np.testing.assert_allclose(found, by_hand(model, tiny_tokenizer(), PREFIX, ITEMS, WORDS), atol=2e-4)
