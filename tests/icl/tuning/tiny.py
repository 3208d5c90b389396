"""What tests of tuning share: a tiny random language model with the embedded model's tokenizer, and texts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from course_lib.icl.prompting import DemonstrationPrompt, prompt_for
from course_lib.icl.tuning.episodes import EpisodeSource, EpisodeTokens, episode_tokens
from course_lib.icl.tuning.train import TuningSettings
from course_lib.models import ModelAndTokenizer
from course_lib.models.embedded import embedded_language_model

PROMPT: DemonstrationPrompt = prompt_for("sentiment")
SETTINGS = TuningSettings(
    num_episodes=6,
    num_demonstrations=4,
    num_unscored=1,
    rank=2,
    num_warmup=2,
    num_held_out=2,
    evaluate_every=3,
    checkpoint_every=2,
    learning_rate=1e-2,
)


@cache
def tokenizer() -> Any:
    """Gives the embedded model's tokenizer."""
    return AutoTokenizer.from_pretrained(embedded_language_model())


def tiny_model(seed: int = 0) -> ModelAndTokenizer:
    """Gives a random Llama of two narrow layers for that tokenizer."""
    config = LlamaConfig(
        vocab_size=len(tokenizer()),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ModelAndTokenizer(LlamaForCausalLM(config).eval(), tokenizer())


def save_model(folder: Path) -> Path:
    """Writes the tiny model as a folder that can be named."""
    loaded = tiny_model()
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def tiny_texts(count: int = 160, *, with_domain: bool = True) -> Dataset:
    """Gives texts of both labels, both lengths and both ends, in two data sets."""
    rows = [
        {
            "text": ("good" if number % 2 else "bad")
            + f" film {number}"
            + " and long" * (12 if number // 2 % 2 else 1)
            + ("!" if number // 4 % 2 else "."),
            "label": number % 2,
            "domain": ("here", "there")[number // 8 % 2],
        }
        for number in range(count)
    ]
    texts = Dataset.from_list(rows)
    return texts if with_domain else texts.remove_columns("domain")


def tiny_episodes(settings: TuningSettings = SETTINGS, count: int | None = None) -> list[EpisodeTokens]:
    """Gives the episodes of sentiment of these settings."""
    source = EpisodeSource(
        tiny_texts(), ["sentiment"], num_demonstrations=settings.num_demonstrations, seed=settings.seed
    )
    return [
        episode_tokens(tokenizer(), PROMPT, one.rows, one.labels, num_unscored=settings.num_unscored)
        for one in source.take(settings.num_episodes if count is None else count)
    ]
