"""Small models and texts that the right calls are made of; each is made once."""

from __future__ import annotations

from functools import cache

from datasets import Dataset

from course_lib.models import ModelAndTokenizer, load_classifier, load_language_model


@cache
def classifier() -> ModelAndTokenizer:
    """Return the embedded encoder with a fresh head for two labels."""
    return load_classifier("embedded", num_labels=2, seed=0)


@cache
def language_model() -> ModelAndTokenizer:
    """Return the embedded causal language model."""
    return load_language_model("embedded")


def texts() -> Dataset:
    """Return four short labelled texts."""
    return Dataset.from_dict({"text": ["good", "bad", "very good", "very bad"], "label": [1, 0, 1, 0]})
