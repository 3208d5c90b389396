"""Full-size reference results: one command each, resumable, kept in `data/results/` with their record."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import product

from course_lib.errors import unknown_name
from course_lib.models import choose_device
from course_lib.runs import Profile, ResultRecord, run_resumable

FULL = Profile("full")


def sample_size() -> ResultRecord:
    """Lesson 01: accuracy and loss over the number of training examples."""
    from course_lib.complexity.capacity import sample_size_run

    settings = {
        "num_heldout": FULL.size("capacity.num_heldout"),
        "num_epochs": FULL.size("capacity.num_epochs"),
        "learning_rate": 2e-4,
        "texts": "movie",
    }
    return run_resumable(
        "sample_size",
        command="course reference sample_size",
        settings=settings,
        tasks=[
            {"seed": seed, "train_size": size}
            for seed, size in product(FULL.size("capacity.seeds"), FULL.size("capacity.train_sizes"))
        ],
        run_task=partial(sample_size_run, **settings),
        num_workers=_num_workers(),
    )


def learning_rate() -> ResultRecord:
    """Lesson 02: accuracy, distance, churn and forgetting over the learning rate."""
    from course_lib.complexity.updating import learning_rate_run

    settings = {
        name: FULL.size(f"updating.{name}") for name in ("num_train", "num_heldout", "num_steps", "num_pairs")
    }
    return run_resumable(
        "learning_rate",
        command="course reference learning_rate",
        settings=settings,
        tasks=[
            {"seed": seed, "learning_rate": rate}
            for seed, rate in product(FULL.size("updating.seeds"), FULL.size("updating.learning_rates"))
        ],
        run_task=partial(learning_rate_run, **settings),
        num_workers=_num_workers(),
    )


def _num_workers() -> int:
    """One process a core; one in all where a GPU does the work."""
    return 1 if choose_device().type == "cuda" else os.cpu_count() or 1


REFERENCES: dict[str, Callable[[], ResultRecord]] = {
    "sample_size": sample_size,
    "learning_rate": learning_rate,
}


def make_reference(name: str) -> ResultRecord:
    """Make one reference result, or go on with it, and save it to `data/results/`.

    Args:
        name: one of `REFERENCES`.

    Raises:
        CourseError: if there is none of this name.
    """
    if name not in REFERENCES:
        raise unknown_name("reference result", name, REFERENCES)
    record = REFERENCES[name]()
    record.save()
    return record
