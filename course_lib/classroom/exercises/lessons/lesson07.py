"""Exercises of lesson 07, In-context learning."""

from __future__ import annotations

import numpy as np

from course_lib.classroom.exercises.framework import Inputs, exercise


def label_log_probability(log_probabilities: np.ndarray, token_ids: np.ndarray) -> float:
    """Give the log-probability of a label's whole continuation.

    Args:
        log_probabilities: array of shape (T, V); row t is what the model expects as the label's t-th token.
        token_ids: whole numbers of shape (T,), the label's tokens.

    Returns:
        The sum over its tokens, in nats.
    """
    return float(np.sum(log_probabilities[np.arange(len(token_ids)), token_ids]))


def choose_label(logits: np.ndarray, label_ids: np.ndarray) -> int:
    """Give the label whose word the model finds most probable.

    Args:
        logits: array of shape (V,), what the model expects next.
        label_ids: whole numbers of shape (num_labels,), the token of each label's word.

    Returns:
        The number of the label, not of the token.
    """
    return int(np.argmax(logits[label_ids]))


def contextual_calibration(probabilities: np.ndarray, content_free: np.ndarray) -> np.ndarray:
    """Divide label probabilities by those of an input without content.

    Args:
        probabilities: array of shape (n, num_labels).
        content_free: array of shape (num_labels,).

    Returns:
        Scores of shape (n, num_labels), which need not sum to 1.
    """
    return probabilities / content_free


def median_predictions(log_odds: np.ndarray) -> np.ndarray:
    """Decide for label 1 where the log-odds lie above their median.

    Args:
        log_odds: array of shape (n,), log p(label 1) - log p(label 0).

    Returns:
        Whole numbers 0 or 1 of shape (n,).
    """
    return (log_odds > np.median(log_odds)).astype(int)


def shared_prefix_speedup(prefix_tokens: int, item_tokens: np.ndarray) -> float:
    """Give how many times fewer tokens a model reads where the prefix is read once.

    Args:
        prefix_tokens: tokens of the shared part.
        item_tokens: whole numbers of shape (n,), tokens of each item.

    Returns:
        Tokens of all whole prompts, divided by those of the prefix once and of the items.
    """
    total = np.sum(item_tokens)
    return float((len(item_tokens) * prefix_tokens + total) / (prefix_tokens + total))


# --- 07.choose_label


@exercise(
    "07.choose_label",
    choose_label,
    hint="Look at the logits of the label words alone, and give the place in label_ids, not the token.",
)
def _choose_label(rng: np.random.Generator) -> Inputs:
    """Return the number of the label whose word has the largest logit, of equal ones the first."""
    return [
        (np.array([5.0, 1.0, 2.0, 0.5]), np.array([1, 2])),
        (np.array([0.1, 3.0, -1.0, 9.0, 2.0]), np.array([4, 1])),
        (np.round(rng.normal(0, 2, 8), 1), np.array([6, 3, 0])),
        (np.array([1.0, -2.0, -1.0]), np.array([1, 2])),
        (np.array([0.0, 1.5, 9.0, 1.5]), np.array([3, 1, 0])),  # equal: the first
    ]


@_choose_label.mistakes.add
def _argmax_over_the_vocabulary(logits, label_ids):
    """The largest logit of the whole vocabulary need not be a label word. Compare the labels only."""
    return int(np.argmax(logits))


@_choose_label.mistakes.add
def _token_not_label(logits, label_ids):
    """This is the token of the best label. Give the label's own number."""
    return int(label_ids[np.argmax(logits[label_ids])])


@_choose_label.mistakes.add
def _least_probable(logits, label_ids):
    """This is the label with the smallest logit."""
    return int(np.argmin(logits[label_ids]))


@_choose_label.mistakes.add
def _largest_token_number(logits, label_ids):
    """The token numbers are compared. Compare the logits at those tokens."""
    return int(np.argmax(label_ids))


# --- 07.label_log_probability


@exercise(
    "07.label_log_probability",
    label_log_probability,
    hint="From each row pick the entry of that row's token, then combine the logs of independent steps.",
)
def _label_log_probability(rng: np.random.Generator) -> Inputs:
    """Return the log-probability of the whole label, in nats: row t of the table is the guess at its t-th token."""

    def table(length: int, vocabulary: int) -> np.ndarray:
        return np.round(np.log(rng.dirichlet(np.ones(vocabulary), length)), 3)

    return [
        (table(1, 4), np.array([2])),
        (table(2, 5), np.array([4, 1])),
        (table(3, 6), np.array([0, 5, 2])),
        (table(3, 4), np.array([3, 3, 1])),
    ]


@_label_log_probability.mistakes.add
def _first_token_only(log_probabilities, token_ids):
    """Only the first token counts. Labels that begin alike could then never be told apart."""
    return log_probabilities[0, token_ids[0]]


@_label_log_probability.mistakes.add
def _last_token_only(log_probabilities, token_ids):
    """Only the last token counts. The probability of a label is that of all its tokens."""
    return log_probabilities[-1, token_ids[-1]]


@_label_log_probability.mistakes.add
def _mean_over_the_tokens(log_probabilities, token_ids):
    """The tokens are averaged. The log of a product of probabilities is the sum of their logs."""
    return label_log_probability(log_probabilities, token_ids) / len(token_ids)


@_label_log_probability.mistakes.add
def _probability_not_its_log(log_probabilities, token_ids):
    """This is the probability. Leave it as a log: products of small numbers run out of digits."""
    return np.exp(label_log_probability(log_probabilities, token_ids))


@_label_log_probability.mistakes.add
def _every_pair_of_row_and_token(log_probabilities, token_ids):
    """Every token is looked up in every row. Token t belongs to row t alone."""
    return np.sum(log_probabilities[:, token_ids])


# --- 07.contextual_calibration


@exercise(
    "07.contextual_calibration",
    contextual_calibration,
    hint="A label that the model likes anyway has to earn more.",
)
def _contextual_calibration(rng: np.random.Generator) -> Inputs:
    """Return the scores: each label's probability divided by its probability without content."""
    return [
        (np.array([[0.3, 0.7]]), np.array([0.2, 0.8])),
        (np.array([[0.6, 0.4], [0.5, 0.5]]), np.array([0.5, 0.5])),
        (np.round(rng.dirichlet(np.ones(3), 4), 2) + 0.01, np.array([0.2, 0.3, 0.5])),
        (np.round(rng.dirichlet(np.ones(2), 3), 2) + 0.01, np.array([0.9, 0.1])),
    ]


@_contextual_calibration.mistakes.add
def _upside_down(probabilities, content_free):
    """The fraction is upside down: the probability with content stands above."""
    return content_free / probabilities


@_contextual_calibration.mistakes.add
def _multiplied(probabilities, content_free):
    """Multiplying makes the favourite label stronger still. Divide."""
    return probabilities * content_free


@_contextual_calibration.mistakes.add
def _subtracted(probabilities, content_free):
    """The probabilities are subtracted. Contextual calibration divides."""
    return probabilities - content_free


@_contextual_calibration.mistakes.add
def _not_calibrated(probabilities, content_free):
    """These are the probabilities as they came. Divide by those without content."""
    return probabilities


@_contextual_calibration.mistakes.add
def _made_to_sum_to_one(probabilities, content_free):
    """The scores are made to sum to 1. The choice is the same, but the scores asked for are the plain ratios."""
    return (probabilities / content_free) / np.sum(probabilities / content_free, axis=1, keepdims=True)


# --- 07.median_predictions


@exercise(
    "07.median_predictions",
    median_predictions,
    hint="The threshold is the middle value of the test set's own log-odds; no label is needed for it.",
)
def _median_predictions(rng: np.random.Generator) -> Inputs:
    """Return 1 where the log-odds of label 1 lie above the median of all of them, else 0 (also at the
    median itself)."""
    return [
        (np.array([1.2, 1.5, 1.1, 1.9]),),
        (np.array([-3.0, -1.0, -2.0, -2.5]),),
        (np.round(rng.normal(2, 0.5, 8), 2),),
        (np.array([-0.5, 10.0, 0.2, 0.4, -0.1, 0.3]),),
        (np.array([0.7, 2.0, 0.9, 3.1, 0.8]),),  # an odd number: one item is the median
        (np.array([1.5, 0.5, 1.5, 2.5, 1.5, 3.0]),),  # a tie in the middle
        (np.array([0.4]),),
    ]


@_median_predictions.mistakes.add
def _threshold_zero(log_odds):
    """The threshold is 0, as without calibration. Take the median of the log-odds."""
    return (log_odds > 0).astype(int)


@_median_predictions.mistakes.add
def _threshold_at_the_mean(log_odds):
    """The threshold is the mean, which one extreme value can pull away. Take the median."""
    return (log_odds > np.mean(log_odds)).astype(int)


@_median_predictions.mistakes.add
def _median_counted_as_above(log_odds):
    """An item at the median itself gets label 1. Only those above it do: > and not >=."""
    return (log_odds >= np.median(log_odds)).astype(int)


@_median_predictions.mistakes.add
def _labels_swapped(log_odds):
    """The labels are swapped: above the median is label 1."""
    return (log_odds < np.median(log_odds)).astype(int)


@_median_predictions.mistakes.add
def _always_one_label(log_odds):
    """Every item has the same label. About half of them lie above the median."""
    return np.ones(len(log_odds), dtype=int)


# --- 07.shared_prefix_speedup


@exercise(
    "07.shared_prefix_speedup",
    shared_prefix_speedup,
    hint="Count the tokens of all whole prompts, then those of one prefix and all items, and divide.",
)
def _shared_prefix_speedup(rng: np.random.Generator) -> Inputs:
    """Return how many times fewer tokens are read if the prefix is read once and not once an item, as a factor."""
    return [
        (473, np.array([31] * 4)),
        (100, np.array([10, 20])),
        (473, rng.integers(10, 60, 50)),
        (0, np.array([5, 7])),
    ]


@_shared_prefix_speedup.mistakes.add
def _prefix_free_of_charge(prefix_tokens, item_tokens):
    """Below, only the items are counted. The prefix has to be read once, too."""
    return (len(item_tokens) * prefix_tokens + np.sum(item_tokens)) / np.sum(item_tokens)


@_shared_prefix_speedup.mistakes.add
def _number_of_items(prefix_tokens, item_tokens):
    """This would hold if the items had no tokens of their own."""
    return float(len(item_tokens))


@_shared_prefix_speedup.mistakes.add
def _upside_down_speedup(prefix_tokens, item_tokens):
    """The fraction is upside down: the whole prompts stand above."""
    return 1 / shared_prefix_speedup(prefix_tokens, item_tokens)


@_shared_prefix_speedup.mistakes.add
def _items_left_out_above(prefix_tokens, item_tokens):
    """Only prefixes are counted above. Whole prompts hold the items' tokens, too."""
    return len(item_tokens) * prefix_tokens / (prefix_tokens + np.sum(item_tokens))
