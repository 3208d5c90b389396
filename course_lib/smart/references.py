"""Full-size reference results of chapter 2."""

from __future__ import annotations

from typing import Any

from course_lib.runs.full_size import FULL, run_reference
from course_lib.runs.records import ResultRecord
from course_lib.smart.experiments import ablation, search


def smart_search() -> ResultRecord:
    """Lesson 04: the learning rate first, then the settings of each part of SMART, on development texts."""
    settings = FULL.sizes("search", "train_size", "num_steps", "num_development")
    texts, seeds = FULL.size("ablation.texts"), FULL.size("search.seeds")

    def run(tasks: list[dict[str, Any]]) -> ResultRecord:
        return run_reference("smart_search", search.search_run, settings, tasks)

    tasks = search.search_tasks(texts, search.rate_candidates(), seeds)
    chosen = search.choose_by_texts(run(tasks))
    for name in texts:
        rate = chosen[name]["plain"].learning_rate
        tasks += search.search_tasks([name], search.part_candidates(rate), seeds)
    return run(tasks)


def smart_ablation() -> ResultRecord:
    """Lesson 04: the arms of the ablation at the settings that `smart_search` chooses, on test texts."""
    searched = smart_search()
    searched.save()
    arms = {name: ablation.ablation_arms(chosen) for name, chosen in search.choose_by_texts(searched).items()}
    settings = FULL.sizes("ablation", "num_steps", "num_development", "num_test", "num_changed")
    tasks = ablation.ablation_tasks(arms, FULL.size("ablation.train_sizes"), FULL.size("ablation.seeds"))
    return run_reference("smart_ablation", ablation.ablation_run, settings, tasks)


REFERENCES = (smart_search, smart_ablation)
