"""h-accuracy: which of two features a model follows where the demonstrations leave it open."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from course_lib.checks.arrays import check_labels

Labels = Sequence[int] | np.ndarray


def h_accuracy(predictions: Labels, hypothesis_labels: Labels) -> float:
    """Computes how often predictions are what a hypothesis says.

    Args:
        predictions: 0 or 1 for each of n test items.
        hypothesis_labels: what the hypothesis gives for each, 0 or 1.

    Returns:
        The share that agrees. On a disambiguating test set h1- and h2-accuracy add up to 1, and 0.5 is no
        preference; but a model that answers the same label everywhere has 0.5 too, so look at the share of
        each label beside it.

    Raises:
        CourseError: no items, different numbers of them, or anything other than 0 and 1.

    Source: Si et al., ACL 2023, section 3.

    Example:
        >>> h_accuracy([1, 1, 0, 1], [1, 0, 0, 0])
        0.5
    """
    predicted = check_labels("predictions", predictions, num_labels=2)
    given = check_labels("labels", hypothesis_labels, num_labels=2, num_rows=len(predicted))
    return float((predicted == given).mean())
