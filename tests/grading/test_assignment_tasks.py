"""Tasks of the assignments: bugs as shown, and open tasks with good, lazy and dishonest answers."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from course_lib.exercises import compare
from course_lib.grading.assignments import (
    AS_GIVEN,
    Assignment,
    Task,
    Variant,
    assignment_names,
    load_assignment,
)
from course_lib.grading.course_copy import copy_course
from course_lib.grading.expecting import PlannedTask
from course_lib.grading.judging import TaskResult, _compared
from course_lib.pipeline.assignments import build_assignment
from tests.grading.conftest import ROOT, code_cells

ASSIGNMENTS = [load_assignment(name) for name in assignment_names()]
BUGS = [
    pytest.param(task, variant, id=f"{task.name}: {variant.name}")
    for assignment in ASSIGNMENTS
    for task in assignment.tasks
    for variant in task.variants
    if f"{task.function}.bug" in variant.texts
]
SEEDS = range(3)


@pytest.mark.parametrize(("task", "variant"), BUGS)
def test_the_function_shown_with_a_bug_runs_and_is_wrong(task: Task, variant: Variant) -> None:
    names: dict[str, Any] = {"np": np}
    exec(variant.texts[f"{task.function}.bug"], names)
    shown = names[f"{task.function}_with_bug"]
    (given,) = [mistake for mistake in variant.mistakes if mistake.hint.startswith(AS_GIVEN)]
    cases = task.drawn_cases(0, variant)
    pairs = [(case.arguments, shown(*case.arguments.values())) for case in cases]
    assert all(compare(result, given.function(**arguments)) is None for arguments, result in pairs)
    assert variant.reference is not None
    assert any(compare(result, variant.reference(**arguments)) for arguments, result in pairs)


@pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=lambda assignment: assignment.name)
def test_marks_sum_to_twenty_and_an_open_task_gives_all_of_its_own(assignment: Assignment) -> None:
    assert assignment.marks == 20
    assert [task.name for task in assignment.tasks if task.measure] == [assignment.tasks[-1].name]


def solved_cells(assignment: str, task: Task, variant: Variant) -> list[str]:
    """Give the instructor's code for one form of a task: the exercise's cell, then its example's."""
    secret_seed = next(seed for seed in range(100) if task.variant(seed).name == variant.name)
    cells = code_cells(build_assignment(ROOT, assignment, secret_seed, solutions=True))
    number = next(number for number, cell in enumerate(cells) if f"def {task.function}(" in cell)
    return cells[number : number + 2]


def function_of(source: str, task: Task) -> Callable[..., Any]:
    """Give the function that a cell defines."""
    names: dict[str, Any] = {"np": np}
    exec(source, names)
    return names[task.function]


def solution(assignment: str, task: Task, variant: Variant) -> Callable[..., dict[str, Any]]:
    """Give the instructor's function for one form of a task."""
    return function_of(solved_cells(assignment, task, variant)[0], task)


def properties(task: Task, variant: Variant, seed: int, function: Callable[..., Any]) -> dict[str, bool]:
    """Measure a function on the hidden cases of a seed."""
    assert task.measure is not None
    cases = task.drawn_cases(seed, variant)
    measured = task.measure(cases, [function(*case.arguments.values()) for case in cases])
    assert sum(part.marks for part in measured) == task.marks
    return {part.name: part.passed for part in measured}


def open_forms(name: str) -> list:
    """Give the open task of an assignment with each of its variants."""
    task = load_assignment(name).tasks[-1]
    return [pytest.param(task, variant, id=variant.name) for variant in task.variants]


@pytest.mark.parametrize(("task", "variant"), open_forms("a2"))
def test_a_smoothly_trained_model_earns_all_and_a_plain_one_does_not(task: Task, variant: Variant) -> None:
    train = solution("a2", task, variant)

    def plain(x: Any, y: Any, x_validation: Any, y_validation: Any, epsilon: float) -> dict[str, Any]:
        return train(x, y, x_validation, y_validation, 0.0)

    def boasting(*arguments: Any) -> dict[str, Any]:
        answer = train(*arguments)
        return {**answer, "validation": {**answer["validation"], answer["penalty"]: 1.0}}

    for seed in SEEDS:
        assert all(properties(task, variant, seed, train).values())
        assert not properties(task, variant, seed, plain)["worst-case accuracy"]
    assert not properties(task, variant, 0, boasting)["validation as reported"]


A3 = load_assignment("a3")
A3_FORMS = [
    pytest.param(task, variant, id=f"{task.function}: {variant.name}")
    for task in A3.tasks[:-1]
    for variant in task.variants
]


@pytest.mark.parametrize(("task", "variant"), A3_FORMS)
def test_an_example_of_a3_gives_the_value_that_its_text_shows(task: Task, variant: Variant) -> None:
    shown = ast.literal_eval(variant.texts[f"{task.function}.value"])
    exercise, example = solved_cells("a3", task, variant)
    *lines, call = ast.parse(example).body
    assert isinstance(call, ast.Expr)
    for function in (variant.reference, function_of(exercise, task)):
        names = {"np": np, task.function: function}
        exec(ast.unparse(ast.Module(lines, [])), names)
        assert compare(eval(ast.unparse(call), names), shown, 1e-4) is None


# What a learner wrote in place of some of the instructor's code, and what the hint says of it.
A3_WRONG_ANSWERS = [
    ("build_choices", [("max(here,", "max(reversed(here),")], "The earlier is asked for"),
    ("build_choices", [(" + documents[:home]", "")], "After the last document comes the first"),
    (
        "build_choices",
        [
            ("options.insert(place, ", "options.append("),
            ("examples.append", "options[place], options[-1] = options[-1], options[place]; examples.append"),
        ],
        "have not kept their order",
    ),
    (
        "start_rows",
        [("np.median(norms)", "np.median(np.linalg.norm(table, axis=1))")],
        "The median is over all rows, not over the ordinary ones.",
    ),
    (
        "start_rows",
        [
            (
                "np.argsort(np.abs(norms - np.median(norms)), kind='stable')",
                "sorted(range(len(ids)), key=lambda i: (abs(norms[i] - np.median(norms)), -i))",
            )
        ],
        "Of equally near rows, that with the lower number comes first.",
    ),
    *(
        (
            "start_rows",
            [("np.argsort(-counts[ids], kind='stable')", ranking)],
            "Of equally frequent tokens, the lower number comes first.",
        )
        for ranking in (
            "sorted(range(len(ids)), key=lambda i: (counts[ids[i]], i), reverse=True)",
            "np.argsort(counts[ids])[::-1]",
            "np.argsort(-counts[ids])",
        )
    ),
    ("label_loss", [("x = x - x.max(axis=-1, keepdims=True)", "")], "the exponentials overflow"),
    (
        "label_loss",
        [
            ("x = x - x.max(axis=-1, keepdims=True)", ""),
            (
                "x - np.log(np.exp(x).sum(axis=-1, keepdims=True))",
                "np.log(np.exp(x) / np.exp(x).sum(-1)[..., None])",
            ),
        ],
        "the exponentials overflow",
    ),
    *(
        (
            "label_loss",
            [
                ("range(len(word)), word]", f"range(T), word + [{padding}] * (T - len(word))]"),
                ("logits)", "logits); T = logits.shape[2]"),
            ],
            "What stands behind a word's end is counted too",
        )
        for padding in (0, -1)
    ),
    (
        "draw_few_shot",
        [
            (
                "[row for row in order if any(row in chosen[side, label] for label in set(labels))]",
                "[row for label in sorted(set(labels)) for row in order if row in chosen[side, label]]",
            )
        ],
        "class by class",
    ),
    (
        "draw_few_shot",
        [
            (
                "side_of[groups[row]]",
                "dict(zip(dict.fromkeys(groups[r] for r in candidates if labels[r] == labels[row]), cycle * 99))"
                "[groups[row]]",
            )
        ],
        "The turns begin anew for each class",
    ),
    ("report", [("accuracy(test[kept]", "accuracy(test[-1]")], "that of the last step"),
]


@pytest.mark.parametrize(("function", "edits", "hint"), A3_WRONG_ANSWERS)
def test_a_wrong_answer_to_a3_loses_its_task_and_gets_its_hint(
    function: str, edits: list[tuple[str, str]], hint: str
) -> None:
    (task,) = [task for task in A3.tasks if task.function == function]
    sources = [(variant, solved_cells("a3", task, variant)[0]) for variant in task.variants]
    found = [(variant, source) for variant, source in sources if all(old in source for old, _ in edits)]
    assert found
    for variant, source in found:
        assert marked(task, variant, source).verdict == "passed"
        for old, new in edits:
            source = source.replace(old, new)
        result = marked(task, variant, source)
        assert (result.verdict, result.marks) == ("failed", 0)
        assert hint in result.hint


def marked(task: Task, variant: Variant, source: str) -> TaskResult:
    """Mark a cell on hidden cases as the judge does, but without a sandbox."""
    cases, function = task.drawn_cases(0, variant), function_of(source, task)
    assert variant.reference is not None
    with np.errstate(all="ignore"):
        values = [function(*case.arguments.values()) for case in cases]
        expected = [variant.reference(**case.arguments) for case in cases]
        mistakes = [
            (mistake.hint, [mistake.function(**case.arguments) for case in cases])
            for mistake in variant.mistakes
        ]
    planned = PlannedTask(task, variant.name, cases, [], expected, mistakes)
    return _compared(planned, values, [""] * len(cases))


def test_hidden_inputs_of_a3_have_enough_documents() -> None:
    task = A3.tasks[0]
    for variant in task.variants:
        assert variant.reference is not None
        for case in (case for seed in SEEDS for case in task.drawn_cases(seed, variant)):
            choices = variant.reference(**case.arguments)
            assert {len(choice["options"]) for choice in choices} == {case.arguments["num_options"]}


def tuning_of(
    task: Task, variant: Variant, function: Callable[..., Any], seed: int = 0
) -> dict[str, tuple[bool, str]]:
    """Measure a tuning on hidden cases; give whether each part passed, and its message."""
    assert task.measure is not None
    cases = task.drawn_cases(seed, variant)
    measured = task.measure(cases, [function(*case.arguments.values()) for case in cases])
    assert sum(part.marks for part in measured) == task.marks
    return {part.name: (part.passed, part.message) for part in measured}


def lost(found: dict[str, tuple[bool, str]]) -> list[str]:
    """Give the parts that did not pass."""
    return [name for name, (passed, _) in found.items() if not passed]


ALL_OF_TUNING = ["test accuracy", "as reported", "blind to the test texts"]


@pytest.mark.parametrize(("task", "variant"), open_forms("a3"))
def test_a_plain_tuning_earns_all_and_its_labels_may_be_whole_floats(task: Task, variant: Variant) -> None:
    tune = solution("a3", task, variant)

    def floats(*arguments: Any) -> dict[str, Any]:
        answer = tune(*arguments)
        return {**answer, "predictions": answer["predictions"].astype(float).tolist()}

    # With seed 11 a plain tuning of a rectifier once gained next to nothing, so that shares of it were huge.
    for seed in (*SEEDS, 11):
        found = tuning_of(task, variant, tune, seed)
        assert lost(found) == []
        share = re.match(r"over the start, (\d+) % of a plain", found["test accuracy"][1])
        assert share is not None
        assert 60 <= int(share[1]) <= 150
    assert lost(tuning_of(task, variant, floats)) == []


@pytest.mark.parametrize(("task", "variant"), open_forms("a3"))
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"development_losses": [1.0] * 4}, "no list of at least 5 numbers"),
        ({"development_losses": "none"}, "no list of at least 5 numbers"),
        ({"development_losses": [0.01] * 5}, 'the least of "development_losses" is 0.010'),
        ({"development_losses": [float("nan")] * 5}, "the least of"),
        ({"predictions": [0, 1]}, '"predictions" is not the list'),
        ({"predictions": None}, 'the key "predictions" is missing'),
        ({"development_losses": None}, 'the key "development_losses" is missing'),
    ],
)
def test_figures_that_are_not_the_prompts_cost_that_part_alone(
    task: Task, variant: Variant, changed: dict[str, Any], message: str
) -> None:
    tune = solution("a3", task, variant)

    def misreporting(*arguments: Any) -> dict[str, Any]:
        answer = {**tune(*arguments), **changed}
        return {key: value for key, value in answer.items() if value is not None}

    found = tuning_of(task, variant, misreporting)
    assert lost(found) == ["as reported"]
    assert message in found["as reported"][1]


@pytest.mark.parametrize(("task", "variant"), open_forms("a3"))
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (3, "the function returns no dictionary"),
        ({"predictions": []}, 'the key "prompt" is missing'),
        ({"prompt": [0.0] * 5}, '"prompt" is not an array of H = 6 finite numbers'),
        ({"prompt": [float("inf")] * 6}, '"prompt" is not an array of H = 6 finite numbers'),
        ({"prompt": ["a"] * 6}, '"prompt" is not an array of H = 6 finite numbers'),
    ],
)
def test_without_a_prompt_nothing_is_earned(task: Task, variant: Variant, answer: Any, message: str) -> None:
    found = tuning_of(task, variant, lambda *arguments: answer)
    assert lost(found) == ALL_OF_TUNING
    assert all(message in text for _, text in found.values())


@pytest.mark.parametrize(("task", "variant"), open_forms("a3"))
def test_the_start_earns_nothing_and_a_worse_prompt_is_said_to_be_worse(task: Task, variant: Variant) -> None:
    tune = solution("a3", task, variant)

    def start(weights: Any, output: Any, start: Any, *sets: Any) -> dict[str, Any]:
        return {"prompt": start}

    def uphill(weights: Any, output: Any, start: Any, *sets: Any) -> dict[str, Any]:
        return {"prompt": 2 * start - tune(weights, output, start, *sets)["prompt"]}

    found = tuning_of(task, variant, start)
    assert lost(found) == ALL_OF_TUNING
    assert "0 % of a plain tuning's gain; 60 % is asked for" in found["test accuracy"][1]
    assert all("the prompt is not tuned" in found[name][1] for name in ALL_OF_TUNING[1:])
    found = tuning_of(task, variant, uphill)
    assert lost(found) == ALL_OF_TUNING
    message = found["test accuracy"][1]
    assert message.startswith("it got worse: behind your prompts test accuracy is 0.")
    assert "%" not in message


@pytest.mark.parametrize(("task", "variant"), open_forms("a3"))
def test_a_prompt_that_changes_with_the_test_texts_costs_that_part_alone(
    task: Task, variant: Variant
) -> None:
    tune = solution("a3", task, variant)
    rng = np.random.default_rng(0)

    def from_any_start(weights: Any, output: Any, start: Any, *sets: Any) -> dict[str, Any]:
        return tune(weights, output, start + rng.normal(0, 0.1, start.shape), *sets)

    def from_seeded_start(weights: Any, output: Any, start: Any, *sets: Any) -> dict[str, Any]:
        own = np.random.default_rng(0)
        return tune(weights, output, start + own.normal(0, 0.1, start.shape), *sets)

    assert lost(tuning_of(task, variant, from_any_start)) == ["blind to the test texts"]
    assert lost(tuning_of(task, variant, from_seeded_start)) == []


@pytest.mark.parametrize(("task", "variant"), open_forms("a4"))
def test_a_plan_that_splits_the_variance_earns_all_and_a_fixed_one_does_not(
    task: Task, variant: Variant
) -> None:
    choose = solution("a4", task, variant)
    cost = variant.texts["plan_measurement.code"]

    def fixed(num_items: int) -> Callable[..., dict[str, Any]]:
        def plan(agrees: Any, prefix_tokens: int, item_tokens: int, budget: int) -> dict[str, Any]:
            tokens = eval(cost, {"n": num_items, "prefix_tokens": prefix_tokens, "item_tokens": item_tokens})
            sets = int(budget // tokens)
            error = np.sqrt(agrees.mean() * (1 - agrees.mean()) / (sets * num_items))
            return {"num_sets": sets, "num_items": num_items, "standard_error": float(error)}

        return plan

    def beyond(*arguments: Any) -> dict[str, Any]:
        answer = choose(*arguments)
        return {**answer, "num_sets": 4 * answer["num_sets"]}

    for seed in SEEDS:
        assert all(properties(task, variant, seed, choose).values())
        for num_items in (10, 40, 120):
            found = properties(task, variant, seed, fixed(num_items))
            assert (found["standard error"], found["standard error as reported"]) == (False, False)
    assert list(properties(task, variant, 0, beyond).values()) == [False, False, False]


@pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=lambda assignment: assignment.name)
def test_what_is_blocked_is_not_in_the_copy_and_the_rest_still_parses(
    assignment: Assignment, tmp_path: Any
) -> None:
    course = copy_course(tmp_path / "course", assignment.blocked)
    for name in assignment.blocked:
        module, _, short = name.rpartition(".")
        text = course.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
        compile(text, module, "exec")
        assert f"{name} is what this assignment asks you to write." in text
        assert f"def {short}(*arguments, **named)" in text
