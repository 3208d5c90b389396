"""From label probabilities to answers: as they are, or after the model's taste for one label is taken out.

A language model often prefers one label word whatever the text says. Two remedies, neither of which looks at
a label: divide by the probabilities that the model gives behind an empty example (contextual), or put the
threshold in the middle of the test set's own scores (median).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from course_lib.checks.calls import border
from course_lib.checks.values import check_texts
from course_lib.errors import CourseError
from course_lib.icl.prompting import InstanceTemplate

Calibration = Literal["none", "contextual", "median"]
CALIBRATIONS: tuple[Calibration, ...] = get_args(Calibration)
CONTENT_FREE_INPUTS = ("N/A", "", "[MASK]")


class Decisions(NamedTuple):
    """Answers with what they were read off.

    Args:
        predictions: int [n], the label of each item; a tie goes to the first of the labels that tie.
        scores: float64 [n, num_labels], larger for the more probable label. What they mean depends on the
            calibration.
        num_ties: items whose two best labels have the same score.
    """

    predictions: np.ndarray
    scores: np.ndarray
    num_ties: int


@border()
def decide(
    log_probabilities: np.ndarray, calibration: Calibration = "none", content_free: np.ndarray | None = None
) -> Decisions:
    """Answers each item with its best label.

    Args:
        log_probabilities: float [n, num_labels], of the label words.
        calibration: "none", "contextual" or "median".
        content_free: for "contextual", float [m, num_labels], the same of m content-free inputs.

    Returns:
        The answers, their scores and the number of ties.

    Raises:
        CourseError: an unknown calibration; values of the wrong shape or not finite; content-free
            probabilities missing, or given where none are needed.

    Example:
        >>> import numpy as np
        >>> p, content_free = np.log([[0.3, 0.7]]), np.log([[0.2, 0.8]])
        >>> decide(p).predictions.tolist(), decide(p, "contextual", content_free).predictions.tolist()
        ([1], [0])
    """
    if (content_free is not None) != (calibration == "contextual"):
        raise CourseError(
            "Content-free log-probabilities belong to contextual calibration, and to no other.",
            given=calibration,
            mend="Score `content_free_rows(template)` behind the same prefix and pass the result, or leave it out.",
        )
    if calibration == "median":
        return _best(median_scores(log_probabilities))
    if content_free is not None:
        return _best(contextual_scores(log_probabilities, content_free))
    return _best(_checked(log_probabilities))


def contextual_scores(log_probabilities: np.ndarray, content_free: np.ndarray) -> np.ndarray:
    """Divides label probabilities by what the model gives behind inputs without content.

    Both are first made to sum to 1 over the labels; those of the content-free inputs are then averaged.

    Args:
        log_probabilities: float [n, num_labels].
        content_free: float [m, num_labels], behind the same prefix.

    Returns:
        float64 [n, num_labels], p / p_content_free.

    Raises:
        CourseError: values of the wrong shape or not finite.

    Source: Zhao et al. 2021, with a diagonal W = 1 / p_cf.

    Example:
        >>> import numpy as np
        >>> contextual_scores(np.log([[0.3, 0.7]]), np.log([[0.2, 0.8]])).round(3).tolist()
        [[1.5, 0.875]]
    """
    probabilities = _over_labels(_checked(log_probabilities))
    without_content = _over_labels(_checked(content_free))
    if not len(without_content) or without_content.shape[1] != probabilities.shape[1]:
        raise CourseError(
            f"There must be content-free log-probabilities of the same {probabilities.shape[1]} labels.",
            given=list(without_content.shape),
            mend="Score at least one content-free input with the same label words.",
        )
    return probabilities / without_content.mean(axis=0)


def median_scores(log_probabilities: np.ndarray) -> np.ndarray:
    """Moves the threshold between two labels to the median of their difference over the test set.

    It uses the test inputs, all at once, and never their labels; it takes for granted that about half of
    them belong to each label. The median of an odd number of items is one of them, which then ties.

    Args:
        log_probabilities: float [n, 2].

    Returns:
        float64 [n, 2]: 0 for label 0; for label 1 the log-odds in its favour, less their median.

    Raises:
        CourseError: other than two labels, no items, values that are not finite.

    Example:
        >>> import numpy as np
        >>> median_scores(np.array([[-1.0, -3.0], [-1.0, -2.0]]))[:, 1].tolist()
        [-0.5, 0.5]
    """
    values = _checked(log_probabilities)
    if values.shape[1] != 2 or not len(values):
        raise CourseError(
            "A median threshold needs two labels and at least one item.",
            given=list(values.shape),
            mend="Use contextual calibration for more labels.",
        )
    difference = values[:, 1] - values[:, 0]
    return np.stack([np.zeros_like(difference), difference - np.median(difference)], axis=1)


@border(inputs=check_texts)
def content_free_rows(
    template: InstanceTemplate, inputs: Sequence[str] = CONTENT_FREE_INPUTS
) -> list[dict[str, Any]]:
    """Returns rows without content: every field of the template holds the same content-free text.

    Args:
        template: how an example is written.
        inputs: the content-free texts.

    Returns:
        A row for each text, for `DemonstrationPrompt.item`.

    Source: Zhao et al. 2021, section 5.
    """
    return [dict.fromkeys(template.fields, text) for text in inputs]


def _best(scores: np.ndarray) -> Decisions:
    if not len(scores):
        return Decisions(np.zeros(0, dtype=int), scores, 0)
    highest = scores.max(axis=1, keepdims=True)
    return Decisions(scores.argmax(axis=1), scores, int(((scores == highest).sum(axis=1) > 1).sum()))


def _over_labels(log_probabilities: np.ndarray) -> np.ndarray:
    """Returns probabilities that sum to 1 over the labels."""
    if not len(log_probabilities):
        return log_probabilities
    weights = np.exp(log_probabilities - log_probabilities.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def _checked(log_probabilities: np.ndarray) -> np.ndarray:
    try:
        values = np.asarray(log_probabilities)
    except ValueError:
        values = np.array(None)
    if values.dtype.kind not in "iuf":
        raise CourseError("Log-probabilities must be numbers.", given=log_probabilities)
    values = values.astype(np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise CourseError(
            "Log-probabilities must be [n, num_labels], for at least two labels.",
            given=list(values.shape),
            mend="Pass what a scorer returns.",
        )
    if not np.isfinite(values).all():
        raise CourseError(
            "Some log-probabilities are not finite.",
            given=values[~np.isfinite(values).all(axis=1)][:3].tolist(),
            mend="A label that was not scored has no probability; it is not 0. Score it again.",
        )
    return values
