"""What the tests of soft prompts share: a tiny random language model, its tokenizer, and examples."""

from __future__ import annotations

import random
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from course_lib.models import ModelAndTokenizer
from course_lib.prompts.verbalizers import Verbalizer

VOCABULARY = 60
SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[EOS]", "[TURN]"]
# one token a label; and two tokens, of which two labels share the first
VERBALIZERS = {
    "one token": Verbalizer(["w5", "w6", "w7"]),
    "two tokens": Verbalizer(["w5 w8", "w5 w9", "w7"]),
}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Give a tokenizer that knows the words w5 to w59, one token a word."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    words = [*SPECIAL, *(f"w{i}" for i in range(len(SPECIAL), VOCABULARY))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    # [TURN] is special without a role, as the turn markers of chat models are
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]", unk_token="[UNK]", bos_token="[BOS]", eos_token="[EOS]",
    )  # fmt: skip


def tiny_language_model(*, seed: int = 0, width: int = 16, context: int = 64) -> ModelAndTokenizer:
    """Give a random Llama of two small layers with grouped heads, large enough for its outputs to differ."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
    )
    torch.manual_seed(seed)
    return ModelAndTokenizer(LlamaForCausalLM(config).eval(), tiny_tokenizer())


def tiny_gpt2() -> ModelAndTokenizer:
    """Give a random GPT-2, which has learnt positions, biases, and dropout in training mode."""
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3,
        bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    torch.manual_seed(0)
    return ModelAndTokenizer(GPT2LMHeadModel(config).eval(), tiny_tokenizer())


def tiny_examples(count: int, *, seed: int = 0, options: bool = False) -> list[dict[str, Any]]:
    """Give random texts of several lengths; the label is the kind of their first word, which can be learnt.

    Args:
        count: how many.
        seed: seed of the words.
        options: whether the number of options differs by row, 2 or 3.
    """
    draw = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for _ in range(count):
        words = [draw.randrange(10, VOCABULARY) for _ in range(draw.randint(3, 9))]
        num_options = draw.choice([2, 3]) if options else 3
        row: dict[str, Any] = {"text": " ".join(f"w{w}" for w in words), "label": words[0] % num_options}
        rows.append({**row, "num_options": num_options} if options else row)
    return rows
