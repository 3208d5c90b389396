"""P/N: how many parameters a model has for each training example."""

from __future__ import annotations

import pandas as pd

from course_lib.checks.calls import border
from course_lib.checks.types import NotNegative, Positive

# The seminar deck's rows, with the unit that its N counts. Parameter counts are the deck's, except
# where the note says otherwise (torchvision's documentation: Inception v3 27.2M with its auxiliary
# head, 23.8M without; GoogLeNet 6.6M without its auxiliary heads).
DECK_ROWS = (
    ("AlexNet", 60e6, 1.2e6, "images", 50.0, ""),
    ("Inception v3", 23e6, 1.2e6, "images", 19.0, "the deck says Inception v1, but 23M is v3's size"),
    ("Inception v1 (GoogLeNet)", 6.62e6, 1.2e6, "images", None, "what the name stands for"),
    ("DenseNet-121", 8e6, 1.2e6, "images", 6.7, ""),
    ("BERT, pre-training", 110e6, 3.3e9, "words", 0.034, "words, not examples; the deck rounds 0.0333 up"),
    ("BERT, fine-tuning", 110e6, 20_000, "labelled examples", 5_500.0, ""),
)


@border()
def parameter_ratio(num_parameters: NotNegative, num_examples: Positive) -> float:
    """Compute P/N, the parameters for each training example.

    Args:
        num_parameters: P, at least 0.
        num_examples: N, more than 0. Its unit (images, words, pairs) belongs beside the ratio.

    Returns:
        P/N.

    Raises:
        CourseError: if P is negative or N is not positive.

    Example:
        >>> parameter_ratio(60e6, 1.2e6)
        50.0
    """
    return num_parameters / num_examples


def ratio_table() -> pd.DataFrame:
    """Recompute the deck's P/N table.

    Returns:
        Columns: model, P, N, unit of N, P/N (computed), P/N in the deck, note.
    """
    rows = [
        {
            "model": model,
            "P": num_parameters,
            "N": num_examples,
            "unit of N": unit,
            "P/N": parameter_ratio(num_parameters, num_examples),
            "P/N in the deck": printed,
            "note": note,
        }
        for model, num_parameters, num_examples, unit, printed, note in DECK_ROWS
    ]
    return pd.DataFrame(rows)
