"""How often a prediction flips under small changes that leave a text's meaning alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from course_lib.errors import CourseError, unknown_name
from course_lib.finetuning import collate, encode, evaluate, length_bucketed_batches
from course_lib.models import ModelAndTokenizer
from course_lib.smart.embeddings import forward_from_embeddings, word_embeddings
from course_lib.smart.smoothness import SmoothnessRegularizer

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset


def swap_letters(text: str, rng: random.Random, share: float = 0.3) -> str:
    """Make typos: swap two neighbouring letters inside a share of the longer words.

    Args:
        text: the text.
        rng: the source of chance.
        share: share of the words of at least four letters that get a typo; one at least.

    Returns:
        The text with typos; first and last letters of words stay.
    """
    words = text.split()
    long_words = [i for i, word in enumerate(words) if len(word) >= 4 and word.isalpha()]
    chosen = rng.sample(long_words, min(len(long_words), max(1, round(share * len(long_words)))))
    for i in chosen:
        place = rng.randrange(1, len(words[i]) - 2)
        word = words[i]
        words[i] = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return " ".join(words)


def drop_punctuation(text: str, rng: random.Random) -> str:
    """Leave out every mark but letters, digits, spaces and apostrophes."""
    return " ".join("".join(c if c.isalnum() or c in " '" else " " for c in text).split())


def change_case(text: str, rng: random.Random) -> str:
    """Write the whole text in capitals."""
    return text.upper()


CHANGES: dict[str, Callable[[str, random.Random], str]] = {
    "typos": swap_letters,
    "capitals": change_case,
    "no punctuation": drop_punctuation,
}


def flip_rate(classifier: ModelAndTokenizer, texts: Dataset, change: str, *, seed: int = 0) -> float:
    """Give the share of texts whose prediction changes when the text is changed.

    Args:
        classifier: the model and its tokenizer.
        texts: rows with `text` and `label`.
        change: one of `CHANGES`. An uncased tokenizer reads capitals as it reads small letters.
        seed: seed of the changes.

    Raises:
        CourseError: an unknown change.
    """
    if change not in CHANGES:
        raise unknown_name("change", change, CHANGES)
    rng = random.Random(seed)
    changed = texts.map(lambda row: {"text": CHANGES[change](row["text"], rng)}, load_from_cache_file=False)
    before, after = evaluate(classifier, texts), evaluate(classifier, changed)
    return float((before.predictions != after.predictions).mean())


def noise_flip_rate(
    classifier: ModelAndTokenizer, texts: Dataset, noise: float, *, seed: int = 0, batch_size: int = 64
) -> float:
    """Give the share of texts whose prediction changes when noise is added to the word embeddings.

    Args:
        classifier: the model and its tokenizer.
        texts: rows with `label` and text.
        noise: standard deviation of the noise; the embeddings' own is about 0.05.
        seed: seed of the noise.
        batch_size: texts at a time.

    Raises:
        CourseError: negative noise.
    """
    import torch

    if noise < 0:
        raise CourseError("The noise cannot be negative.", given=noise)
    flips = 0
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for batch in _batches(classifier, texts, batch_size):
            embeddings = word_embeddings(classifier.model, batch["input_ids"])
            forward = forward_from_embeddings(classifier.model, batch)
            noisy = forward(embeddings + noise * torch.randn_like(embeddings))
            flips += int((noisy.argmax(dim=1) != forward(embeddings).argmax(dim=1)).sum())
    return flips / len(texts)


def measure_smoothness(
    classifier: ModelAndTokenizer,
    texts: Dataset,
    regularizer: SmoothnessRegularizer,
    *,
    seed: int = 0,
    batch_size: int = 64,
) -> np.ndarray:
    """Give R_s of each text, without training on it.

    Args:
        classifier: the model and its tokenizer.
        texts: rows with `label` and text.
        regularizer: R_s with its settings.
        seed: seed of the starting noise.
        batch_size: texts at a time.

    Returns:
        Float array [n], in batches from the longest text to the shortest.
    """
    import numpy as np
    import torch

    from course_lib.smart.divergence import find_divergence

    divergence = find_divergence(regularizer.divergence)
    values = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for batch in _batches(classifier, texts, batch_size):
            embeddings = word_embeddings(classifier.model, batch["input_ids"])
            forward = forward_from_embeddings(classifier.model, batch)
            logits = forward(embeddings)
            delta = regularizer.perturb(forward, embeddings, logits, batch["attention_mask"])
            values.append(divergence(forward(embeddings + delta), logits, "none").cpu().numpy())
    return np.concatenate(values)


def _batches(classifier: ModelAndTokenizer, texts: Dataset, batch_size: int) -> list:
    classifier.model.eval()
    examples = encode(classifier, texts)
    lengths = [len(example["input_ids"]) for example in examples]
    return [
        collate(classifier, [examples[row] for row in rows])
        for rows in length_bucketed_batches(lengths, batch_size)
    ]
