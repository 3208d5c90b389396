"""h-accuracy: which of two features a model follows where the demonstrations leave it open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from course_lib.checks import a_seed, border, check_count, check_labels, each
from course_lib.errors import CourseError
from course_lib.statistics import Interval, hierarchical_bootstrap

if TYPE_CHECKING:
    import numpy as np

    Labels = Sequence[int] | np.ndarray


def h_accuracy(predictions: Labels, hypothesis_labels: Labels) -> float:
    """Give how often predictions are what a hypothesis says.

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


@dataclass(frozen=True)
class FeatureBias:
    """How far a model follows h1 rather than h2.

    Args:
        h1_accuracy: mean over the demonstration sets with a 95 % interval.
        h2_accuracy: the same for h2, 1 - h1_accuracy.
        share_of_1: share of the predictions that are label 1, over all sets.
        set_accuracies: h1-accuracy of each set.
        num_items: test items of each set.
        num_ties: items whose two labels had the same score.
    """

    h1_accuracy: Interval
    h2_accuracy: Interval
    share_of_1: float
    set_accuracies: tuple[float, ...]
    num_items: tuple[int, ...]
    num_ties: int

    @property
    def has_preference(self) -> bool:
        """Whether the interval leaves out 0.5."""
        return self.h1_accuracy.low > 0.5 or self.h1_accuracy.high < 0.5


_label_lists = each(partial(check_labels, num_labels=2), least=0)


@border(predictions=_label_lists, h1_labels=_label_lists, h2_labels=_label_lists, seed=a_seed)
def feature_bias(
    predictions: Sequence[Labels],
    h1_labels: Sequence[Labels],
    h2_labels: Sequence[Labels],
    *,
    num_ties: int = 0,
    seed: int = 0,
) -> FeatureBias:
    """Give h1- and h2-accuracy over several demonstration sets.

    Args:
        predictions: for each set, 0 or 1 for each of its test items.
        h1_labels: for each set, what h1 says.
        h2_labels: for each set, what h2 says; never the same.
        num_ties: items whose two labels had the same score, to be reported.
        seed: seed of the bootstrap over sets, then items.

    Returns:
        See `FeatureBias`.

    Raises:
        CourseError: no sets, unequal numbers, or a test item on which the hypotheses agree: it tells
            nothing of a preference.
    """
    import numpy as np

    if not len(predictions) == len(h1_labels) == len(h2_labels) or len(predictions) == 0:
        raise CourseError(
            "Predictions, h1 and h2 need the same number of sets, at least one.",
            given=(len(predictions), len(h1_labels), len(h2_labels)),
        )
    agreements = []
    for predicted, h1, h2 in zip(predictions, h1_labels, h2_labels, strict=True):
        if h_accuracy(h1, h2) != 0:
            raise CourseError(
                "The two hypotheses must differ on every test item.",
                given=f"they agree on {100 * h_accuracy(h1, h2):.0f} %",
                mend="Draw the test set with `underspecified_split`.",
            )
        h_accuracy(predicted, h1)  # refuses what is no pair of label lists
        agreements.append(np.asarray(predicted) == np.asarray(h1))
    interval = hierarchical_bootstrap(agreements, seed=seed)
    flat = [label for predicted in predictions for label in predicted]
    return FeatureBias(
        h1_accuracy=interval,
        h2_accuracy=Interval(1 - interval.mean, 1 - interval.high, 1 - interval.low, interval.n),
        share_of_1=float(sum(flat) / len(flat)),
        set_accuracies=tuple(float(each.mean()) for each in agreements),
        num_items=tuple(map(len, predictions)),
        num_ties=check_count("num_ties", num_ties, least=0, most=len(flat)),
    )
