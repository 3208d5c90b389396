"""Full-size reference results of chapter 1."""

from __future__ import annotations

from course_lib.complexity.capacity import sample_size_run
from course_lib.complexity.updating import learning_rate_run
from course_lib.runs.full_size import FULL, grid, run_reference
from course_lib.runs.records import ResultRecord


def sample_size() -> ResultRecord:
    """Lesson 01: accuracy and loss over the number of training examples."""
    settings = FULL.sizes("capacity", "num_heldout", "num_epochs") | {"learning_rate": 2e-4, "texts": "movie"}
    tasks = grid(seed=FULL.size("capacity.seeds"), train_size=FULL.size("capacity.train_sizes"))
    return run_reference("sample_size", sample_size_run, settings, tasks)


def learning_rate() -> ResultRecord:
    """Lesson 02: accuracy, distance, churn and forgetting over the learning rate."""
    settings = FULL.sizes("updating", "num_train", "num_heldout", "num_steps", "num_pairs")
    tasks = grid(seed=FULL.size("updating.seeds"), learning_rate=FULL.size("updating.learning_rates"))
    return run_reference("learning_rate", learning_rate_run, settings, tasks)


REFERENCES = (sample_size, learning_rate)
