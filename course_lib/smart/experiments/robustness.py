"""How smooth a classifier is, and how often small changes that leave the meaning alone flip its answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, TypedDict

import numpy as np
import pandas as pd
import torch
from datasets import Dataset

from course_lib.checks.calls import a_dataset, a_model_and_tokenizer, border, check_choice, of_type
from course_lib.checks.types import NotNegative, Positive, Seed, Share, Text
from course_lib.checks.values import check_texts, mapping_to
from course_lib.finetuning.batches import Batch, collate, encode, length_bucketed_batches, text_columns
from course_lib.finetuning.evaluating import evaluate
from course_lib.models.loaded import ModelAndTokenizer, evaluation_mode
from course_lib.smart.divergence import find_divergence
from course_lib.smart.embeddings import forward_from_embeddings, word_embeddings
from course_lib.smart.smoothness import SmoothnessRegularizer

# Standard deviation of the noise on word embeddings; their own entries have one of about 0.05.
NOISE = 0.02


@border(rng=of_type("random.Random"))
def swap_letters(text: Text, rng: random.Random, share: Share = 0.3) -> str:
    """Make typos: swap two neighbouring letters inside a share of the longer words.

    Args:
        text: the text.
        rng: the source of chance.
        share: share of the words that can get a typo that get one; one word at least.

    Returns:
        The text with typos. A word keeps its first and its last letter.

    Example:
        >>> swap_letters("a truly fine film", random.Random(0), share=1.0)
        'a trluy fnie flim'
    """
    words = text.split()
    places = {i: _places_to_swap(word) for i, word in enumerate(words)}
    candidates = [i for i, found in places.items() if found]
    chosen = rng.sample(candidates, min(len(candidates), max(1, round(share * len(candidates)))))
    for i in chosen:
        place, word = rng.choice(places[i]), words[i]
        words[i] = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return " ".join(words)


def _places_to_swap(word: str) -> list[int]:
    """Return the places inside a word whose letter differs from the next."""
    if not word.isalpha():
        return []
    return [place for place in range(1, len(word) - 2) if word[place] != word[place + 1]]


@border()
def drop_punctuation(text: Text, rng: random.Random) -> str:
    """Leave out every mark but letters, digits, spaces and apostrophes; `rng` is not used.

    Args:
        text: the text.
        rng: a source of chance.

    Returns:
        The text, with one space between words.
    """
    return " ".join("".join(c if c.isalnum() or c in " '" else " " for c in text).split())


@border()
def change_case(text: Text, rng: random.Random) -> str:
    """Write the whole text in capitals; `rng` is not used.

    Args:
        text: the text.
        rng: a source of chance.

    Returns:
        The text.
    """
    return text.upper()


Change = Literal["typos", "capitals", "no punctuation"]
FlipRates = TypedDict(
    "FlipRates", {"typos": float, "capitals": float, "no punctuation": float, "noise": float}
)
CHANGES: dict[Change, Callable[[str, random.Random], str]] = {
    "typos": swap_letters,
    "capitals": change_case,
    "no punctuation": drop_punctuation,
}


@border(texts=a_dataset)
def change_texts(texts: Dataset, change: Change, *, seed: Seed = 0) -> Dataset:
    """Change each text in a way that leaves its meaning alone.

    Args:
        texts: rows with text.
        change: one of `CHANGES`.
        seed: seed of the changes.

    Returns:
        The same rows with changed text.

    Raises:
        CourseError: an unknown change, or no text column.
    """
    changed_text, rng = CHANGES[check_choice("change", change, CHANGES)], random.Random(seed)
    read = {name: check_texts(f"The column `{name}`", texts[name][:]) for name in text_columns(texts)}
    changed = {name: [changed_text(text, rng) for text in column] for name, column in read.items()}
    return Dataset.from_pandas(texts.to_pandas().assign(**changed), preserve_index=False)


@border(texts=a_dataset)
def flip_rates(
    classifier: ModelAndTokenizer, texts: Dataset, *, noise: NotNegative = NOISE, seed: Seed = 0
) -> FlipRates:
    """Compute the share of predictions that each small change flips.

    Args:
        classifier: the model and its tokenizer. An uncased tokenizer reads capitals as small letters.
        texts: rows with `label` and text.
        noise: standard deviation of Gaussian noise on the word embeddings.
        seed: seed of the changes and of the noise.

    Returns:
        A share for each of `CHANGES`, and for "noise".

    Raises:
        CourseError: negative noise; texts as in `evaluate`.
    """
    before = evaluate(classifier, texts).predictions

    def flips(change: Change) -> float:
        after = evaluate(classifier, change_texts(texts, change, seed=seed)).predictions
        return float((after != before).mean())

    return {
        "typos": flips("typos"),
        "capitals": flips("capitals"),
        "no punctuation": flips("no punctuation"),
        "noise": noise_flip_rate(classifier, texts, noise, seed=seed),
    }


@border(texts=a_dataset)
def noise_flip_rate(
    classifier: ModelAndTokenizer, texts: Dataset, noise: NotNegative = NOISE, *, seed: Seed = 0
) -> float:
    """Compute the share of texts whose prediction changes when noise is added to the word embeddings.

    Args:
        classifier: the model and its tokenizer.
        texts: rows with `label` and text.
        noise: standard deviation of the noise.
        seed: seed of the noise.

    Returns:
        A share from 0 to 1.

    Raises:
        CourseError: noise that is negative or not finite.
    """
    flips = 0
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for batch in _batches(classifier, texts):
            embeddings = word_embeddings(classifier.model, batch["input_ids"])
            forward = forward_from_embeddings(classifier.model, batch)
            # drawn on the CPU, so that one seed is one noise on every device
            drawn = noise * torch.randn(embeddings.shape).to(embeddings.device)
            flips += int((forward(embeddings + drawn).argmax(1) != forward(embeddings).argmax(1)).sum())
    return flips / len(texts)


@border(texts=a_dataset)
def measure_smoothness(
    classifier: ModelAndTokenizer, texts: Dataset, regularizer: SmoothnessRegularizer, *, seed: Seed = 0
) -> np.ndarray:
    """Compute R_s of each text, without training on it.

    Args:
        classifier: the model and its tokenizer.
        texts: rows with `label` and text.
        regularizer: R_s with its settings.
        seed: seed of the starting noise.

    Returns:
        Float array [n], from the longest text to the shortest.
    """
    divergence = find_divergence(regularizer.divergence)
    values = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for batch in _batches(classifier, texts):
            embeddings = word_embeddings(classifier.model, batch["input_ids"])
            forward = forward_from_embeddings(classifier.model, batch)
            logits = forward(embeddings)
            delta = regularizer.perturb(forward, embeddings, logits, batch["attention_mask"])
            values.append(divergence(forward(embeddings + delta), logits, "none").cpu().numpy())
    return np.concatenate(values)


@border(classifiers=mapping_to(a_model_and_tokenizer), texts=a_dataset)
def robustness_table(
    classifiers: Mapping[str, ModelAndTokenizer],
    texts: Dataset,
    *,
    noise: NotNegative = NOISE,
    seed: Seed = 0,
) -> pd.DataFrame:
    """Compare how classifiers do on texts, and how often small changes flip their predictions.

    Args:
        classifiers: name -> model and tokenizer.
        texts: rows with `label` and text.
        noise: standard deviation of the noise on the word embeddings.
        seed: seed of the changes and of the noise.

    Returns:
        A row for each classifier: accuracy, loss, and what `flip_rates` gives.
    """
    rows = {}
    for name, classifier in classifiers.items():
        result = evaluate(classifier, texts)
        flips = flip_rates(classifier, texts, noise=noise, seed=seed)
        rows[name] = {"accuracy": result.accuracy, "loss": result.loss, **flips}
    return pd.DataFrame.from_dict(rows, orient="index")


@border(classifiers=mapping_to(a_model_and_tokenizer), texts=a_dataset)
def smoothness_over_radius(
    classifiers: Mapping[str, ModelAndTokenizer], texts: Dataset, radii: Sequence[Positive], *, seed: Seed = 0
) -> pd.DataFrame:
    """Measure R_s of classifiers in balls of several radii.

    Args:
        classifiers: name -> model and tokenizer.
        texts: rows with `label` and text.
        radii: values of ε; step size and noise grow with them as in the paper's defaults.
        seed: seed of the starting noise.

    Returns:
        Columns: model, epsilon, smoothness (mean R_s over the texts).
    """
    rows = [
        {
            "model": name,
            "epsilon": epsilon,
            "smoothness": float(measure_smoothness(classifier, texts, in_ball(epsilon), seed=seed).mean()),
        }
        for name, classifier in classifiers.items()
        for epsilon in radii
    ]
    return pd.DataFrame(rows)


@border()
def in_ball(epsilon: Positive) -> SmoothnessRegularizer:
    """Return R_s with radius ε, and step size 100 ε and noise ε, the proportions of the paper's defaults.

    Args:
        epsilon: ε, positive.

    Returns:
        R_s with its settings.

    Raises:
        CourseError: if ε is not positive and finite.
    """
    return SmoothnessRegularizer(epsilon=epsilon, step_size=100 * epsilon, noise_std=epsilon)


def _batches(classifier: ModelAndTokenizer, texts: Dataset, batch_size: int = 64) -> Iterator[Batch]:
    """Yield padded batches, the longest texts first; until the last is done, the model is in evaluation mode."""
    examples = encode(classifier, texts)
    lengths = [len(example["input_ids"]) for example in examples]
    with evaluation_mode(classifier.model):
        for rows in length_bucketed_batches(lengths, batch_size):
            yield collate(classifier, [examples[row] for row in rows])
