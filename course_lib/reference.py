"""Full-size reference results: one command each, resumable, kept in `data/results/` with their record."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

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


def smart_search() -> ResultRecord:
    """Lesson 04: the learning rate first, then the settings of each part of SMART, on development texts."""
    from course_lib.smart import search

    settings = {name: FULL.size(f"search.{name}") for name in ("train_size", "num_steps", "num_development")}
    texts, seeds = FULL.size("ablation.texts"), FULL.size("search.seeds")

    def run(tasks: list[dict[str, Any]]) -> ResultRecord:
        return run_resumable(
            "smart_search",
            command="course reference smart_search",
            settings=settings,
            tasks=tasks,
            run_task=partial(search.search_run, **settings),
            num_workers=_num_workers(),
        )

    tasks = search.search_tasks(texts, search.rate_candidates(), seeds)
    chosen = search.choose_by_texts(run(tasks))
    for name in texts:
        rate = chosen[name]["plain"].learning_rate
        tasks += search.search_tasks([name], search.part_candidates(rate), seeds)
    return run(tasks)


def smart_ablation() -> ResultRecord:
    """Lesson 04: the arms of the ablation at the settings that `smart_search` chooses, on test texts."""
    from course_lib.smart import ablation, search

    searched = smart_search()
    searched.save()
    arms = {name: ablation.ablation_arms(chosen) for name, chosen in search.choose_by_texts(searched).items()}
    settings = {
        name: FULL.size(f"ablation.{name}")
        for name in ("num_steps", "num_development", "num_test", "num_changed")
    }
    return run_resumable(
        "smart_ablation",
        command="course reference smart_ablation",
        settings=settings,
        tasks=ablation.ablation_tasks(arms, FULL.size("ablation.train_sizes"), FULL.size("ablation.seeds")),
        run_task=partial(ablation.ablation_run, **settings),
        num_workers=_num_workers(),
    )


def _num_workers() -> int:
    """One process a core; one in all where a GPU does the work."""
    return 1 if choose_device().type == "cuda" else os.cpu_count() or 1


REFERENCES: dict[str, Callable[[], ResultRecord]] = {
    "sample_size": sample_size,
    "learning_rate": learning_rate,
    "smart_search": smart_search,
    "smart_ablation": smart_ablation,
}
