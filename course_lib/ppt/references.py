"""Full-size reference results of chapter 3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

from course_lib.ppt.fewshot.methods import METHODS, learning_rates
from course_lib.ppt.fewshot.pilot import pilot_rows, pilot_run, pilot_variants
from course_lib.ppt.fewshot.run import FewShotRow, few_shot_run
from course_lib.ppt.fewshot.splits import NUM_EXAMPLES
from course_lib.ppt.fewshot.tables import choose_learning_rates
from course_lib.ppt.pretraining.evaluation import evaluate_shipped
from course_lib.ppt.pretraining.probing import probe_task
from course_lib.ppt.pretraining.shipped import prompt_versions
from course_lib.ppt.pretraining.tasks import PRETRAINING_TASKS
from course_lib.runs.full_size import FULL, grid, num_workers, run_reference
from course_lib.runs.records import ResultRecord

# What chapter 3 computes in: about twice as fast as float32 where a processor has matrix units for it.
PROMPT_DTYPE = "bfloat16"


def ppt_prompts() -> ResultRecord:
    """Lesson 06: each shipped prompt on its own held-out task, beside an untrained one and a hard pattern."""
    return evaluate_shipped(
        num_test=FULL.size("prompt.num_test"), dtype=PROMPT_DTYPE, num_workers=num_workers()
    )


def ppt_probe() -> ResultRecord:
    """Lesson 06: what linear probes of the hidden states know of the pre-training tasks, layer by layer."""
    settings = FULL.sizes("probe", "layers", "num_train", "num_test") | {"dtype": PROMPT_DTYPE}
    return run_reference("ppt_probe", probe_task, settings, grid(task=PRETRAINING_TASKS))


def tuning_search() -> ResultRecord:
    """Lesson 05: learning rates of the methods that need no pre-trained prompt, on development examples alone."""
    return _rate_search("tuning_search", pretrained=False)


def ppt_search() -> ResultRecord:
    """Lesson 06: learning rates of the methods with a pre-trained prompt, on development examples alone."""
    return _rate_search("ppt_search", pretrained=True)


def few_shot_rows(
    task: str, method: str, seed: int, learning_rate: float, **settings: Any
) -> list[FewShotRow]:
    """Return the row of `few_shot_run` as a list, as the reference runs keep it."""
    return [few_shot_run(task, method, seed, learning_rate=learning_rate, **settings)]


def _rate_search(name: str, *, pretrained: bool) -> ResultRecord:
    tasks = [
        {"task": task, "method": method, "seed": seed, "learning_rate": rate}
        for seed, task, method in product(
            FULL.size("fewshot.search_seeds"),
            FULL.size("fewshot.search_tasks"),
            _methods(pretrained=pretrained),
        )
        for rate in learning_rates(method)
    ]
    settings = _training_settings() | {"read_test": False}
    prompts = {"prompts": prompt_versions()} if pretrained else {}
    return run_reference(name, few_shot_rows, settings, tasks, **prompts)


def ppt_few_shot() -> ResultRecord:
    """Lesson 06: every few-shot method on every task, at the learning rates that the searches chose."""
    rates = _chosen_rates(tuning_search, ppt_search)
    tasks = [
        {"task": task, "method": method, "seed": seed, "learning_rate": rates[method]}
        for seed, task, method in product(FULL.size("fewshot.seeds"), FULL.size("fewshot.tasks"), METHODS)
    ]
    return run_reference(
        "ppt_few_shot", few_shot_rows, _few_shot_settings(), tasks, prompts=prompt_versions()
    )


def ppt_pilot() -> ResultRecord:
    """Lesson 05: label words, initialisations, patterns, and few against many examples."""
    rates = _chosen_rates(tuning_search)
    variants = pilot_variants(FULL.size("pilot.num_full"), FULL.size("pilot.full_updates"))
    tasks = [
        {
            "method": variant.method,
            "seed": seed,
            "learning_rate": rates[variant.method],
            "options": dict(variant.options),
        }
        for seed, variant in product(FULL.size("pilot.seeds"), variants)
    ]
    once = [task for number, task in enumerate(tasks) if task not in tasks[:number]]
    record = run_reference("ppt_pilot", pilot_run, _few_shot_settings(), once)
    return replace(record, rows=pilot_rows(record.rows, variants))


def ppt_sample_efficiency() -> ResultRecord:
    """Lesson 06: accuracy on movie sentences over the number of examples."""
    rates = _chosen_rates(tuning_search, ppt_search)
    tasks = [
        {
            "task": "movie",
            "method": method,
            "seed": seed,
            "learning_rate": rates[method],
            "num_train": size,
            # as many to choose on as to train on, until the protocol's number
            "num_development": min(size, NUM_EXAMPLES),
        }
        for seed, size, method in product(
            FULL.size("fewshot.size_seeds"),
            FULL.size("fewshot.train_sizes"),
            FULL.size("fewshot.size_methods"),
        )
    ]
    return run_reference(
        "ppt_sample_efficiency", few_shot_rows, _few_shot_settings(), tasks, prompts=prompt_versions()
    )


def _methods(*, pretrained: bool) -> list[str]:
    return [name for name, method in METHODS.items() if (method.initialisation == "pretrained") == pretrained]


def _training_settings() -> dict[str, Any]:
    return FULL.sizes("fewshot", "num_updates", "batch_size") | {"dtype": PROMPT_DTYPE}


def _few_shot_settings() -> dict[str, Any]:
    return _training_settings() | {"num_test": FULL.size("fewshot.num_test")}


def _chosen_rates(*searches: Callable[[], ResultRecord]) -> dict[str, float]:
    rates: dict[str, float] = {}
    for search in searches:
        searched = search()
        searched.save()
        rates |= choose_learning_rates(searched.rows)
    return rates


REFERENCES = (
    ppt_prompts,
    tuning_search,
    ppt_probe,
    ppt_search,
    ppt_few_shot,
    ppt_pilot,
    ppt_sample_efficiency,
)
