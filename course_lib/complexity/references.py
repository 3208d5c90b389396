"""Full-size reference results of chapter 1."""

from __future__ import annotations

from functools import partial
from itertools import product

from course_lib.complexity.capacity import sample_size_run
from course_lib.complexity.updating import learning_rate_run
from course_lib.runs.full_size import FULL, run_reference
from course_lib.runs.records import ResultRecord


def sample_size() -> ResultRecord:
    """Lesson 01: accuracy and loss over the number of training examples."""
    settings = {
        "num_heldout": FULL.size("capacity.num_heldout"),
        "num_epochs": FULL.size("capacity.num_epochs"),
        "learning_rate": 2e-4,
        "texts": "movie",
    }
    return run_reference(
        "sample_size",
        settings,
        [
            {"seed": seed, "train_size": size}
            for seed, size in product(FULL.size("capacity.seeds"), FULL.size("capacity.train_sizes"))
        ],
        partial(sample_size_run, **settings),
    )


def learning_rate() -> ResultRecord:
    """Lesson 02: accuracy, distance, churn and forgetting over the learning rate."""
    settings = {
        name: FULL.size(f"updating.{name}") for name in ("num_train", "num_heldout", "num_steps", "num_pairs")
    }
    return run_reference(
        "learning_rate",
        settings,
        [
            {"seed": seed, "learning_rate": rate}
            for seed, rate in product(FULL.size("updating.seeds"), FULL.size("updating.learning_rates"))
        ],
        partial(learning_rate_run, **settings),
    )


REFERENCES = (sample_size, learning_rate)
