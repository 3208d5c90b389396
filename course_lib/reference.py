"""Full-size reference results: one command each, resumable, kept in `data/results/` with their record."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

from course_lib.models import choose_device
from course_lib.runs import Profile, ResultRecord, run_resumable

FULL = Profile("full")
# What chapter 3 computes in: about twice as fast as float32 where a processor has matrix units for it.
PROMPT_DTYPE = "bfloat16"


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
    from course_lib.smart.experiments import search

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
    from course_lib.smart.experiments import ablation, search

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


def ppt_prompts() -> ResultRecord:
    """Lesson 06: each shipped prompt on its own held-out task, beside an untrained one and a hard pattern."""
    from course_lib.ppt.pretraining.shipped import evaluate_shipped

    return evaluate_shipped(
        num_test=FULL.size("prompt.num_test"), dtype=PROMPT_DTYPE, num_workers=_num_workers()
    )


def ppt_probe() -> ResultRecord:
    """Lesson 06: what linear probes of the hidden states know of the pre-training tasks, layer by layer."""
    from course_lib.ppt.pretraining.probing import probe_task
    from course_lib.ppt.pretraining.tasks import TASK_NAMES

    settings = {name: FULL.size(f"probe.{name}") for name in ("layers", "num_train", "num_test")}
    settings["dtype"] = PROMPT_DTYPE
    return _run(
        "ppt_probe", settings, [{"task": task} for task in TASK_NAMES], partial(probe_task, **settings)
    )


def tuning_search() -> ResultRecord:
    """Lesson 05: learning rates of the methods that need no pre-trained prompt, on development examples alone."""
    return _rate_search("tuning_search", pretrained=False)


def ppt_search() -> ResultRecord:
    """Lesson 06: learning rates of the methods with a pre-trained prompt, on development examples alone."""
    return _rate_search("ppt_search", pretrained=True)


def _rate_search(name: str, *, pretrained: bool) -> ResultRecord:
    from course_lib.ppt.fewshot import run as fewshot
    from course_lib.ppt.fewshot import tasks as fewshot_tasks

    tasks = [
        {"task": task, "method": method, "seed": seed, "learning_rate": rate}
        for seed, task, method in product(
            FULL.size("fewshot.search_seeds"),
            FULL.size("fewshot.search_tasks"),
            _methods(pretrained=pretrained),
        )
        for rate in fewshot_tasks.learning_rates(method)
    ]
    settings = _training_settings() | {"read_test": False}
    return _few_shot_reference(name, settings, tasks, fewshot.few_shot_rows, pretrained=pretrained)


def ppt_few_shot() -> ResultRecord:
    """Lesson 06: every few-shot method on every task, at the learning rates that the searches chose."""
    from course_lib.ppt.fewshot import run as fewshot
    from course_lib.ppt.fewshot import tasks as fewshot_tasks

    rates = _chosen_rates(tuning_search, ppt_search)
    tasks = [
        {"task": task, "method": method, "seed": seed, "learning_rate": rates[method]}
        for seed, task, method in product(
            FULL.size("fewshot.seeds"), FULL.size("fewshot.tasks"), fewshot_tasks.METHODS
        )
    ]
    return _few_shot_reference(
        "ppt_few_shot", _few_shot_settings(), tasks, fewshot.few_shot_rows, pretrained=True
    )


def ppt_pilot() -> ResultRecord:
    """Lesson 05: label words, initialisations, patterns, and few against many examples."""
    from course_lib.ppt.fewshot import run as fewshot

    rates = _chosen_rates(tuning_search)
    variants = fewshot.pilot_variants(FULL.size("pilot.num_full"), FULL.size("pilot.full_updates"))
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
    record = _few_shot_reference("ppt_pilot", _few_shot_settings(), once, fewshot.pilot_run, pretrained=False)
    return replace(record, rows=fewshot.pilot_rows(record.rows, variants))


def ppt_sample_efficiency() -> ResultRecord:
    """Lesson 06: accuracy on movie sentences over the number of examples."""
    from course_lib.ppt.fewshot import run as fewshot
    from course_lib.ppt.fewshot import tasks as fewshot_tasks

    rates = _chosen_rates(tuning_search, ppt_search)
    tasks = [
        {
            "task": "movie",
            "method": method,
            "seed": seed,
            "learning_rate": rates[method],
            "num_train": size,
            # as many to choose on as to train on, until the protocol's number
            "num_development": min(size, fewshot_tasks.NUM_EXAMPLES),
        }
        for seed, size, method in product(
            FULL.size("fewshot.size_seeds"),
            FULL.size("fewshot.train_sizes"),
            FULL.size("fewshot.size_methods"),
        )
    ]
    return _few_shot_reference(
        "ppt_sample_efficiency", _few_shot_settings(), tasks, fewshot.few_shot_rows, pretrained=True
    )


def _methods(*, pretrained: bool) -> list[str]:
    from course_lib.ppt.fewshot.tasks import METHODS

    return [name for name, method in METHODS.items() if (method.initialisation == "pretrained") == pretrained]


def _training_settings() -> dict[str, Any]:
    sizes = {name: FULL.size(f"fewshot.{name}") for name in ("num_updates", "batch_size")}
    return {**sizes, "dtype": PROMPT_DTYPE}


def _few_shot_settings() -> dict[str, Any]:
    return _training_settings() | {"num_test": FULL.size("fewshot.num_test")}


def _chosen_rates(*searches: Callable[[], ResultRecord]) -> dict[str, float]:
    from course_lib.ppt.fewshot.run import choose_learning_rates

    rates: dict[str, float] = {}
    for search in searches:
        searched = search()
        searched.save()
        rates |= choose_learning_rates(searched.rows)
    return rates


def _few_shot_reference(
    name: str,
    settings: dict[str, Any],
    tasks: list[dict[str, Any]],
    run_task: Callable[..., list[dict[str, Any]]],
    *,
    pretrained: bool,
) -> ResultRecord:
    """Run few-shot tasks; where they use the pre-trained prompts, other prompts start the run anew."""
    from course_lib.ppt.fewshot.run import prompt_versions

    identity = {**settings, "prompts": prompt_versions()} if pretrained else settings
    return _run(name, identity, tasks, partial(run_task, **settings))


def context_accuracy() -> ResultRecord:
    """Lesson 07: accuracy over the number of demonstrations."""
    from course_lib.icl.experiments.context_size import context_run

    settings = {"texts": "movie", "num_items": FULL.size("context.num_items")}
    return _run(
        "context_accuracy",
        settings,
        [
            {"set_number": number, "num_demonstrations": count}
            for number, count in product(
                range(FULL.size("context.num_sets")), FULL.size("context.num_demonstrations")
            )
        ],
        partial(context_run, **settings),
    )


def icl_conditions() -> ResultRecord:
    """Lesson 08: the search for a condition in which preferences are steadier."""
    from course_lib.icl.experiments.conditions import condition_run, condition_tasks

    settings = {"test_size": FULL.size("bias.search_items")}
    tasks = condition_tasks(FULL.size("bias.search_sets"))
    return _run("icl_conditions", settings, tasks, partial(condition_run, **settings))


def icl_bias() -> ResultRecord:
    """Lesson 08: every pair and every feature alone, in the paper's condition and in the steadiest one."""
    from course_lib.icl.experiments import conditions, measuring

    searched = icl_conditions()
    searched.save()
    steadiest = conditions.choose_condition(conditions.condition_table(searched.rows))
    papers = next(iter(conditions.CONDITIONS))
    sizes = {  # condition -> sets, items
        steadiest: (FULL.size("bias.steady_sets"), FULL.size("bias.steady_items")),
        papers: (FULL.size("bias.num_sets"), FULL.size("bias.num_items")),
    }
    features = dict.fromkeys(name for pair in measuring.EMBEDDED_PAIRS for name in pair)
    measured = [*measuring.EMBEDDED_PAIRS, *((feature, None) for feature in features)]
    tasks = [
        {"condition": condition, "h1": h1, "h2": h2, "set_number": number, "test_size": num_items}
        for number in range(FULL.size("bias.num_sets"))
        for condition, (num_sets, num_items) in sizes.items()
        for h1, h2 in measured
        if number < num_sets
    ]
    return _run("icl_bias", {}, tasks, conditions.condition_run)


def icl_paper_sets() -> ResultRecord:
    """Lesson 08: every pair with the paper's sizes, 3 sets of up to 1,200 items."""
    from course_lib.icl.experiments.measuring import EMBEDDED_PAIRS, bias_run

    settings = {"test_size": FULL.size("bias.paper_items")}
    tasks = [
        {"h1": h1, "h2": h2, "set_number": number}
        for (h1, h2), number in product(EMBEDDED_PAIRS, range(FULL.size("bias.paper_sets")))
    ]
    return _run("icl_paper_sets", settings, tasks, partial(bias_run, **settings))


def icl_interventions() -> ResultRecord:
    """Lesson 09: every pair with every intervention in both directions, and without one."""
    from course_lib.icl.experiments.measuring import EMBEDDED_PAIRS, STEERS, bias_run

    settings = {"test_size": FULL.size("intervention.num_items")}
    tasks = [
        {"h1": h1, "h2": h2, "set_number": number, "kind": kind, "direction": direction}
        for number, (h1, h2), (kind, direction) in product(
            range(FULL.size("intervention.num_sets")), EMBEDDED_PAIRS, STEERS
        )
    ]
    return _run("icl_interventions", settings, tasks, partial(bias_run, **settings))


def _run(
    name: str,
    settings: dict[str, Any],
    tasks: list[dict[str, Any]],
    run_task: Callable[..., list[dict[str, Any]]],
) -> ResultRecord:
    return run_resumable(
        name,
        command=f"course reference {name}",
        settings=settings,
        tasks=tasks,
        run_task=run_task,
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
    "ppt_prompts": ppt_prompts,
    "tuning_search": tuning_search,
    "ppt_probe": ppt_probe,
    "ppt_search": ppt_search,
    "ppt_few_shot": ppt_few_shot,
    "ppt_pilot": ppt_pilot,
    "ppt_sample_efficiency": ppt_sample_efficiency,
    "context_accuracy": context_accuracy,
    "icl_conditions": icl_conditions,
    "icl_bias": icl_bias,
    "icl_paper_sets": icl_paper_sets,
    "icl_interventions": icl_interventions,
}
