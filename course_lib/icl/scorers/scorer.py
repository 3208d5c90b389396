"""What every scorer can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from course_lib.errors import CourseError


class Scorer(Protocol):
    """What every scorer can do."""

    def log_probabilities(
        self, prefix: str, items: Sequence[str], continuations: Sequence[str], progress: bool = True
    ) -> np.ndarray:
        """Computes the natural log of the probability of each label's whole continuation.

        Args:
            prefix: the text that all prompts begin with; may be empty.
            items: the rest of each prompt, up to the label word.
            continuations: what follows for each label, with its leading space where there is one.
            progress: whether to show a progress bar.

        Returns:
            float32 [n, num_labels].

        Raises:
            CourseError: labels that cannot be compared; an argument of another type.
        """
        ...


def a_scorer(name: str, value: Any) -> Any:
    """Returns a scorer.

    Raises:
        CourseError: it has no method `log_probabilities`, or is a class and not yet a scorer.
    """
    if isinstance(value, type) or not callable(getattr(value, "log_probabilities", None)):
        raise CourseError(
            f"{name} must have a method `log_probabilities`.",
            given=value,
            mend="Pass, for example, find_scorer().",
        )
    return value
