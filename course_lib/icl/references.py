"""Full-size reference results of chapter 4."""

from __future__ import annotations

from itertools import product

from course_lib.icl.experiments import conditions
from course_lib.icl.experiments.context_size import context_run
from course_lib.icl.experiments.embedded import EMBEDDED_PAIRS, bias_run
from course_lib.icl.experiments.siblings import curve_run, sibling_run
from course_lib.icl.interventions import STEERS
from course_lib.icl.tuning.siblings import shipped_versions
from course_lib.models.loaded import EMBEDDED
from course_lib.runs import ResultRecord
from course_lib.runs.full_size import FULL, grid, run_reference


def context_accuracy() -> ResultRecord:
    """Lesson 07: accuracy over the number of demonstrations."""
    settings = {"texts": "movie", "num_items": FULL.size("context.num_items")}
    tasks = grid(
        set_number=range(FULL.size("context.num_sets")),
        num_demonstrations=FULL.size("context.num_demonstrations"),
    )
    return run_reference("context_accuracy", context_run, settings, tasks)


def icl_conditions() -> ResultRecord:
    """Lesson 08: the search for a condition in which preferences are steadier."""
    settings = {"test_size": FULL.size("bias.search_items")}
    tasks = conditions.condition_tasks(FULL.size("bias.search_sets"))
    return run_reference("icl_conditions", conditions.condition_run, settings, tasks)


def icl_bias() -> ResultRecord:
    """Lesson 08: every pair and every feature alone, in the paper's condition and in the steadiest one."""
    searched = icl_conditions()
    searched.save()
    steadiest = conditions.choose_condition(conditions.condition_table(searched.rows))
    papers = next(iter(conditions.CONDITIONS))
    sizes = {  # condition -> sets, items
        steadiest: (FULL.size("bias.steady_sets"), FULL.size("bias.steady_items")),
        papers: (FULL.size("bias.num_sets"), FULL.size("bias.num_items")),
    }
    features = dict.fromkeys(name for pair in EMBEDDED_PAIRS for name in pair)
    measured = [*EMBEDDED_PAIRS, *((feature, None) for feature in features)]
    tasks = [
        {"condition": condition, "h1": h1, "h2": h2, "set_number": number, "test_size": num_items}
        for number in range(FULL.size("bias.num_sets"))
        for condition, (num_sets, num_items) in sizes.items()
        for h1, h2 in measured
        if number < num_sets
    ]
    return run_reference("icl_bias", conditions.condition_run, {}, tasks)


def icl_paper_sets() -> ResultRecord:
    """Lesson 08: every pair with the paper's sizes, 3 sets of up to 1,200 items."""
    settings = {"test_size": FULL.size("bias.paper_items")}
    tasks = [
        {"h1": h1, "h2": h2, "set_number": number}
        for (h1, h2), number in product(EMBEDDED_PAIRS, range(FULL.size("bias.paper_sets")))
    ]
    return run_reference("icl_paper_sets", bias_run, settings, tasks)


def icl_interventions() -> ResultRecord:
    """Lesson 09: every pair with every intervention in both directions, and without one."""
    settings = {"test_size": FULL.size("intervention.num_items")}
    tasks = [
        {"h1": h1, "h2": h2, "set_number": number, "kind": kind, "direction": direction}
        for number, (h1, h2), (kind, direction) in product(
            range(FULL.size("intervention.num_sets")), EMBEDDED_PAIRS, STEERS
        )
    ]
    return run_reference("icl_interventions", bias_run, settings, tasks)


def icl_siblings() -> ResultRecord:
    """Lesson 08: the untuned model and its siblings, every pair and every feature alone, on the same texts."""
    features = dict.fromkeys(name for pair in EMBEDDED_PAIRS for name in pair)
    tasks = [
        {"model_source": model, "h1": h1, "h2": h2, "set_number": number}
        for number, (h1, h2), model in product(
            range(FULL.size("siblings.num_sets")),
            [*EMBEDDED_PAIRS, *((feature, None) for feature in features)],
            _models(),
        )
    ]
    settings = {"beside": _models(), "test_size": FULL.size("siblings.num_items")}
    return run_reference("icl_siblings", sibling_run, settings, tasks, adapters=shipped_versions())


def icl_sibling_interventions() -> ResultRecord:
    """Lesson 09: the siblings steered in both directions, from the meaning to the surface and back."""
    pairs = [pair for pair in EMBEDDED_PAIRS if pair[0] == "sentiment"]
    tasks = [
        {
            "model_source": model,
            "h1": h1,
            "h2": h2,
            "set_number": number,
            "kind": kind,
            "direction": direction,
        }
        for number, (h1, h2), (kind, direction), model in product(
            range(FULL.size("siblings.steered_sets")), pairs, STEERS, shipped_versions()
        )
    ]
    settings = {"beside": _models(), "test_size": FULL.size("siblings.steered_items")}
    return run_reference(
        "icl_sibling_interventions", sibling_run, settings, tasks, adapters=shipped_versions()
    )


def icl_tuning_curve() -> ResultRecord:
    """Lesson 08: how many episodes it takes until a sibling follows what it was tuned on."""
    pairs = [pair for pair in EMBEDDED_PAIRS if pair[0] == "sentiment"]
    tasks = [
        {"sibling": sibling, "num_episodes": count, "h1": h1, "h2": h2, "set_number": number}
        for number, (h1, h2), sibling, count in product(
            range(FULL.size("siblings.curve_sets")),
            pairs,
            shipped_versions(),
            FULL.size("siblings.curve_episodes"),
        )
    ]
    settings = {"test_size": FULL.size("siblings.num_items")}
    return run_reference("icl_tuning_curve", curve_run, settings, tasks, adapters=shipped_versions())


def _models() -> list[str]:
    return [EMBEDDED, *shipped_versions()]


REFERENCES = (
    context_accuracy,
    icl_conditions,
    icl_bias,
    icl_paper_sets,
    icl_interventions,
    icl_siblings,
    icl_sibling_interventions,
    icl_tuning_curve,
)
