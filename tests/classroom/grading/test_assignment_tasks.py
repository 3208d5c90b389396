"""Tasks of the assignments: bugs as shown, and open tasks with good, lazy and dishonest answers."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from course_lib.classroom.assignments.assignment import (
    Assignment,
    Case,
    Task,
    Variant,
    assignment_names,
    load_assignment,
)
from course_lib.classroom.assignments.building import AS_GIVEN
from course_lib.classroom.exercises import compare
from course_lib.classroom.grading.expecting import PlannedTask
from course_lib.classroom.grading.judging import TaskResult, _compared
from course_lib.classroom.grading.sandbox.course_copy import copy_course
from tests.classroom.grading.conftest import instructors_cells

ASSIGNMENTS = [load_assignment(name) for name in assignment_names()]
BUGS = [
    pytest.param(task, variant, id=f"{task.name}: {variant.name}")
    for assignment in ASSIGNMENTS
    for task in assignment.tasks
    for variant in task.variants
    if "bug" in variant.texts
]
SEEDS = range(3)


@pytest.mark.parametrize(("task", "variant"), BUGS)
def test_the_function_shown_with_a_bug_runs_and_is_wrong(task: Task, variant: Variant) -> None:
    names: dict[str, Any] = {"np": np}
    exec(variant.texts["bug"], names)
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
    cells = instructors_cells(assignment, secret_seed)
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


def parts_lost(task: Task, variant: Variant, seed: int, function: Callable[..., Any]) -> list[str]:
    """Give the parts of an open task that a function loses on the hidden cases of a seed."""
    return [name for name, passed in properties(task, variant, seed, function).items() if not passed]


def fit_of(x: Any, y: Any, degree: int) -> Callable[[Any], Any]:
    """Give a polynomial fitted as a learner might do it, on the powers of x themselves."""
    coefficients = np.linalg.lstsq(np.vander(x, degree + 1), y, rcond=None)[0]
    return lambda at: np.vander(at, degree + 1) @ coefficients


def plainly_chosen(x: Any, y: Any, x_validation: Any, y_validation: Any, x_test: Any) -> dict[str, Any]:
    """Choose a degree as a learner might."""
    errors = [np.mean((fit_of(x, y, degree)(x_validation) - y_validation) ** 2) for degree in range(13)]
    best = int(np.argmin(errors))
    predictions = list(fit_of(x, y, best)(x_test))
    return {"degree": best, "validation_errors": dict(enumerate(errors)), "predictions": predictions}


ALL_OF_DEGREE = ["test error", "validation errors as reported", "choice by validation error"]


@pytest.mark.parametrize(("task", "variant"), open_forms("a1"))
def test_a_choice_by_validation_error_earns_all_however_it_is_fitted(task: Task, variant: Variant) -> None:
    choose = solution("a1", task, variant)
    for seed in SEEDS:
        assert parts_lost(task, variant, seed, choose) == []
        assert parts_lost(task, variant, seed, plainly_chosen) == []


@pytest.mark.parametrize(("task", "variant"), open_forms("a1"))
@pytest.mark.parametrize("degree", [3, 5, 7, 9])
def test_a_constant_degree_earns_nothing_by_invented_errors_and_a_fit_to_all_points(
    task: Task, variant: Variant, degree: int
) -> None:
    def inventing(x: Any, y: Any, x_validation: Any, y_validation: Any, x_test: Any) -> dict[str, Any]:
        own = np.mean((fit_of(x, y, degree)(x_validation) - y_validation) ** 2)
        errors = {**dict.fromkeys(range(13), 1e9), degree: own}
        both = fit_of(np.r_[x, x_validation], np.r_[y, y_validation], degree)
        return {"degree": degree, "validation_errors": errors, "predictions": both(x_test)}

    def measuring(*arguments: Any) -> dict[str, Any]:
        x, y, _, _, x_test = arguments
        predictions = fit_of(x, y, degree)(x_test)
        return {**plainly_chosen(*arguments), "degree": degree, "predictions": predictions}

    for seed in SEEDS:
        assert parts_lost(task, variant, seed, inventing) == ALL_OF_DEGREE
        # The errors are those of fits; but a degree that is the same for all curves is no choice.
        assert parts_lost(task, variant, seed, measuring) == ["test error", "choice by validation error"]


@pytest.mark.parametrize(("task", "variant"), open_forms("a1"))
@pytest.mark.parametrize(
    ("changed", "lost_parts"),
    [
        ({"degree": 13}, ["test error", "choice by validation error"]),
        ({"degree": 3.5}, ["test error", "choice by validation error"]),
        ({"validation_errors": {}}, ["validation errors as reported"]),
        ({"validation_errors": dict.fromkeys(range(14), 1.0)}, ["validation errors as reported"]),
        ({"validation_errors": dict.fromkeys(range(13), float("nan"))}, ["validation errors as reported"]),
        ({"predictions": [0.0]}, ["test error"]),
        ({"predictions": [float("nan")] * 300}, ["test error"]),
        ({"degree": None}, ["test error", "choice by validation error"]),
        ({"validation_errors": None}, ["validation errors as reported"]),
        ({"validation_errors": [1.0] * 13}, ["validation errors as reported"]),
        (
            {"validation_errors": {**dict.fromkeys(range(13), 1.0), 0: None}},
            ["validation errors as reported"],
        ),
        ({"validation_errors": dict.fromkeys(range(13), "a")}, ["validation errors as reported"]),
        ({"predictions": None}, ["test error"]),
        ({"predictions": ["a"] * 300}, ["test error"]),
    ],
)
def test_a_figure_that_is_not_the_fits_costs_what_rests_on_it(
    task: Task, variant: Variant, changed: dict[str, Any], lost_parts: list[str]
) -> None:
    assert parts_lost(task, variant, 0, lambda *a: {**plainly_chosen(*a), **changed}) == lost_parts


@pytest.mark.parametrize(
    ("key", "lost_parts"),
    [
        ("degree", ["test error", "choice by validation error"]),
        ("validation_errors", ["validation errors as reported"]),
        ("predictions", ["test error"]),
    ],
)
def test_a_missing_part_of_a_choice_costs_what_rests_on_it_and_is_named(
    key: str, lost_parts: list[str]
) -> None:
    task = load_assignment("a1").tasks[-1]
    messages = lost_messages(task, task.variants[0], plainly_chosen, {}, without=key)
    assert list(messages) == lost_parts
    assert all(f'the key "{key}" is missing' in message for message in messages.values())


def test_no_validation_error_and_no_dictionary_are_named() -> None:
    task = load_assignment("a1").tasks[-1]
    changed = {"validation_errors": {**dict.fromkeys(range(13), 1.0), 3: None}}
    (message,) = lost_messages(task, task.variants[0], plainly_chosen, changed).values()
    assert "no finite number for degree 3" in message
    assert task.measure is not None
    measured = task.measure(task.drawn_cases(0, task.variants[0]), [None] * 6)
    assert {part.message for part in measured} == {"the function returns no dictionary."}


def lost_messages(
    task: Task, variant: Variant, function: Callable[..., Any], changed: dict[str, Any], without: str = ""
) -> dict[str, str]:
    """Give the messages of the parts that are lost when a function's answer is changed, or a key is left out."""
    assert task.measure is not None
    cases = task.drawn_cases(0, variant)
    answers = [{**function(*case.arguments.values()), **changed} for case in cases]
    for answer in answers:
        answer.pop(without, None)
    return {part.name: part.message for part in task.measure(cases, answers) if not part.passed}


@pytest.mark.parametrize(("task", "variant"), open_forms("a1"))
def test_predictions_of_a_fit_to_all_points_cost_the_test_error(task: Task, variant: Variant) -> None:
    def refitted(*arguments: Any) -> dict[str, Any]:
        answer, (x, y, x_validation, y_validation, x_test) = plainly_chosen(*arguments), arguments
        both = fit_of(np.r_[x, x_validation], np.r_[y, y_validation], answer["degree"])
        return {**answer, "predictions": both(x_test)}

    for seed in SEEDS:
        assert parts_lost(task, variant, seed, refitted) == ["test error"]


PENALTIES = (0, 0.05, 0.1, 0.2, 0.4)
ALL_OF_SMOOTH = ["worst-case accuracy", "accuracy without a perturbation", "models as reported"]


def descended(
    x: Any, y: Any, epsilon: float, penalty: float, *, rate: float = 0.1, steps: int = 200
) -> tuple[Any, float]:
    """Train as a learner might, with steps of one size."""
    weight, bias = np.zeros(x.shape[1]), 0.0
    for _ in range(steps):
        slope = -y / (1 + np.exp(y * (x @ weight + bias)))
        smooth = 2 * penalty * epsilon**2 * np.abs(weight).sum() * np.sign(weight)
        weight, bias = weight - rate * (slope @ x / len(x) + smooth), bias - rate * slope.mean()
    return weight, bias


def answered(models: dict[float, Any], x: Any, y: Any, epsilon: float) -> dict[str, Any]:
    """Measure models on the validation examples, and choose."""
    found = {
        penalty: np.mean(y * (x @ weight + bias) > epsilon * np.abs(weight).sum())
        for penalty, (weight, bias) in models.items()
    }
    return {"models": models, "validation": found, "penalty": max(PENALTIES, key=lambda tried: found[tried])}


def trained_with(fitted: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """Give a solution that fits one model for each penalty from all it is given."""

    def train(x: Any, y: Any, x_validation: Any, y_validation: Any, epsilon: float) -> dict[str, Any]:
        given = {"x": x, "y": y, "x_validation": x_validation, "y_validation": y_validation}
        models = {penalty: fitted(given, epsilon, penalty) for penalty in PENALTIES}
        return answered(models, x_validation, y_validation, epsilon)

    return train


def _plainly(given: dict[str, Any], epsilon: float, penalty: float) -> Any:
    return descended(given["x"], given["y"], epsilon, penalty)


def _constant_weight(given: dict[str, Any], epsilon: float, penalty: float) -> Any:
    weight = np.zeros(given["x"].shape[1])
    weight[: 4 if len(weight) == 44 else 2] = 1
    return weight, 0.0


def _without_penalty(given: dict[str, Any], epsilon: float, penalty: float) -> Any:
    return descended(given["x"], given["y"], epsilon, 0)


def _one_model(given: dict[str, Any], epsilon: float, penalty: float) -> Any:
    return descended(given["x"], given["y"], epsilon, 0.1)


def _one_model_scaled(given: dict[str, Any], epsilon: float, penalty: float) -> Any:
    x, y, (weight, bias) = given["x"], given["y"], _one_model(given, epsilon, penalty)

    def loss(scale: float) -> float:
        smooth = penalty * (scale * epsilon * np.abs(weight).sum()) ** 2
        return float(np.mean(np.log(1 + np.exp(-scale * y * (x @ weight + bias)))) + smooth)

    scale = min(np.geomspace(0.2, 8, 60), key=loss)
    return scale * weight, scale * bias


def _with_validation(given: dict[str, Any], epsilon: float, penalty: float) -> Any:
    x, y = np.r_[given["x"], given["x_validation"]], np.r_[given["y"], given["y_validation"]]
    return descended(x, y, epsilon, penalty)


def _with_validation_and_without_penalty(given: dict[str, Any], epsilon: float, penalty: float) -> Any:
    return _with_validation(given, epsilon, 0)


def stepping(rate: float, steps: int) -> Callable[..., Any]:
    """Give a training with another learning rate, or number of steps."""

    def stepped(given: dict[str, Any], epsilon: float, penalty: float) -> Any:
        return descended(given["x"], given["y"], epsilon, penalty, rate=rate, steps=steps)

    stepped.__name__ = f"{rate} x {steps}"
    return stepped


SMOOTH_ATTEMPTS = [
    (stepping(0.3, 300), []),
    (stepping(0.1, 20), []),
    (stepping(0.1, 5), ALL_OF_SMOOTH),
    (stepping(0.01, 100), ALL_OF_SMOOTH),
    (stepping(0.001, 200), ALL_OF_SMOOTH),
    (stepping(1.0, 300), ALL_OF_SMOOTH),
    (stepping(3.0, 300), ALL_OF_SMOOTH),
    (_plainly, []),
    (_constant_weight, ALL_OF_SMOOTH),
    (_without_penalty, ALL_OF_SMOOTH),
    (_one_model, ALL_OF_SMOOTH),
    (_one_model_scaled, ALL_OF_SMOOTH),
    (_with_validation, ["models as reported"]),
    (_with_validation_and_without_penalty, ALL_OF_SMOOTH),
]


@pytest.mark.parametrize(("task", "variant"), open_forms("a2"))
@pytest.mark.parametrize(("fitted", "lost_parts"), SMOOTH_ATTEMPTS)
def test_smooth_training_earns_all_and_what_is_none_loses_its_parts(
    task: Task, variant: Variant, fitted: Callable[..., Any], lost_parts: list[str]
) -> None:
    for seed in SEEDS:
        assert parts_lost(task, variant, seed, trained_with(fitted)) == lost_parts


@pytest.mark.parametrize(("task", "variant"), open_forms("a2"))
def test_invented_validation_figures_and_another_choice_cost_the_report(task: Task, variant: Variant) -> None:
    train = solution("a2", task, variant)

    def inventing(*arguments: Any) -> dict[str, Any]:
        answer = train(*arguments)
        own = {answer["penalty"]: answer["validation"][answer["penalty"]]}
        return {**answer, "validation": {**dict.fromkeys(PENALTIES, 0.0), **own}}

    def boasting(*arguments: Any) -> dict[str, Any]:
        answer = train(*arguments)
        return {**answer, "validation": {**answer["validation"], answer["penalty"]: 1.0}}

    def without_choice(*arguments: Any) -> dict[str, Any]:
        return {**train(*arguments), "penalty": 0}

    for seed in SEEDS:
        assert parts_lost(task, variant, seed, train) == []
        for dishonest in (inventing, boasting):
            assert parts_lost(task, variant, seed, dishonest) == ["models as reported"]
        assert "models as reported" in parts_lost(task, variant, seed, without_choice)


@pytest.mark.parametrize(("task", "variant"), open_forms("a2"))
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "no dictionary"),
        ({}, 'the key "models" is missing'),
        (
            {"models": {0: 1}, "validation": {}, "penalty": 0},
            'the keys of "models" are not the penalties 0, 0.05',
        ),
        (
            {"models": dict.fromkeys(PENALTIES, 1), "validation": dict.fromkeys(PENALTIES, 1), "penalty": 3},
            '"penalty" is none',
        ),
        (
            {
                "models": dict.fromkeys(PENALTIES, ([float("nan")] * 32, 0.0)),
                "validation": dict.fromkeys(PENALTIES, 1),
                "penalty": 0,
            },
            'an entry of "models" is no pair',
        ),
    ],
)
def test_an_answer_without_models_is_named(task: Task, variant: Variant, answer: Any, message: str) -> None:
    assert task.measure is not None
    cases = task.drawn_cases(0, variant)
    measured = task.measure(cases, [answer] * len(cases))
    assert [part.passed for part in measured] == [False] * 3
    assert all(message in part.message for part in measured)


A3 = load_assignment("a3")
A3_FORMS = [
    pytest.param(task, variant, id=f"{task.function}: {variant.name}")
    for task in A3.tasks[:-1]
    for variant in task.variants
]


@pytest.mark.parametrize(("task", "variant"), A3_FORMS)
def test_an_example_of_a3_gives_the_value_that_its_text_shows(task: Task, variant: Variant) -> None:
    shown = ast.literal_eval(variant.texts["value"])
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
            (
                "[*rest[:place], here[beside], *rest[place:]]",
                "[[*rest, here[beside]][{place: -1, num_options - 1: place}.get(i, i)] for i in range(num_options)]",
            ),
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
            assert all(len(choice["options"]) == case.arguments["num_options"] for choice in choices)
            assert bool(choices) == bool(case.arguments["queries"])


@cache
def tuning_cases(variant: str, seed: int) -> list[Case]:
    """Draw the hidden cases of a3's open task, once for all tests: it takes a second or two."""
    task = A3.tasks[-1]
    return task.drawn_cases(seed, next(form for form in task.variants if form.name == variant))


def tuning_of(
    task: Task, variant: Variant, function: Callable[..., Any], seed: int = 0
) -> dict[str, tuple[bool, str]]:
    """Measure a tuning on hidden cases; give whether each part passed, and its message."""
    assert task.measure is not None
    cases = tuning_cases(variant.name, seed)
    measured = task.measure(cases, [function(*case.arguments.values()) for case in cases])
    assert sum(part.marks for part in measured) == task.marks
    return {part.name: (part.passed, part.message) for part in measured}


def lost(found: dict[str, tuple[bool, str]]) -> list[str]:
    """Give the parts that did not pass."""
    return [name for name, (passed, _) in found.items() if not passed]


TEST_ACCURACY, CHOICE, CANDIDATES = ALL_OF_TUNING = [
    "test accuracy",
    "choice as reported",
    "candidates from the training examples",
]
# All but the test accuracy.
REST_OF_TUNING = [CHOICE, CANDIDATES]


def chosen_among(
    task: Task, variant: Variant, candidates_of: Callable[..., Any], sets: tuple[int, int] = (3, 5)
) -> Callable[..., dict[str, Any]]:
    """Give a solution that chooses among candidates by the development loss, and reports all of it truly.

    Args:
        candidates_of: gives them for the slope of the loss on some examples, the start, and these examples.
        sets: where the examples stand among the arguments; those for training if nothing is said.
    """
    texts = variant.texts

    def tune(*arguments: Any) -> dict[str, Any]:
        weights, output, start = arguments[:3]

        def loss_and_slope(prompt: Any, x: Any, y: Any) -> tuple[float, Any]:
            h = x @ weights.T + prompt
            scores = eval(f"({texts['apply']})(h)", {"np": np, "h": h}) @ output.T
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            shares /= shares.sum(axis=1, keepdims=True)
            derivative = eval(texts["derivative"], {"np": np, "h": h})
            slope = ((shares - np.eye(2)[y]) @ output * derivative).mean(axis=0)
            return float(-np.log(shares[np.arange(len(y)), y]).mean()), slope

        examples = arguments[slice(*sets)]
        candidates = candidates_of(lambda prompt: loss_and_slope(prompt, *examples)[1], start)
        losses = [loss_and_slope(prompt, *arguments[5:7])[0] for prompt in candidates]
        prompt = candidates[int(np.argmin(losses))]
        scores = eval(f"({texts['apply']})(h)", {"np": np, "h": arguments[7] @ weights.T + prompt}) @ output.T
        return {
            "prompts": candidates,
            "development_losses": losses,
            "prompt": prompt,
            "predictions": scores.argmax(axis=1),
        }

    return tune


def downhill(rate: float, steps: int, looks: int = 20) -> Callable[..., list[Any]]:
    """Give candidates of a gradient descent, evenly spaced."""

    def candidates(slope: Callable[[Any], Any], start: Any) -> list[Any]:
        prompts, prompt = [], start
        for step in range(1, steps + 1):
            prompt = prompt - rate * slope(prompt)
            if step % (steps // looks) == 0:
                prompts.append(prompt)
        return prompts

    return candidates


@pytest.mark.parametrize(("task", "variant"), open_forms("a3"))
def test_a_plain_tuning_earns_all_and_its_labels_may_be_whole_floats(task: Task, variant: Variant) -> None:
    tune = solution("a3", task, variant)

    def floats(*arguments: Any) -> dict[str, Any]:
        answer = tune(*arguments)
        return {**answer, "predictions": answer["predictions"].astype(float).tolist()}

    def rounded(*arguments: Any) -> dict[str, Any]:
        answer = tune(*arguments)
        return {**answer, "development_losses": [round(float(x), 2) for x in answer["development_losses"]]}

    # With seed 11 a plain tuning of a rectifier once gained next to nothing, so that shares of it were huge.
    for seed in (*SEEDS, 11):
        found = tuning_of(task, variant, tune, seed)
        assert lost(found) == []
        share = re.match(r"over the start, (\d+) % of a plain", found["test accuracy"][1])
        assert share is not None
        assert 60 <= int(share[1]) <= 150
        assert lost(tuning_of(task, variant, rounded, seed)) == []
    assert lost(tuning_of(task, variant, floats)) == []


@pytest.mark.parametrize(("task", "variant"), open_forms("a3"))
def test_other_plain_tunings_earn_all_and_a_slow_one_is_tuned(task: Task, variant: Variant) -> None:
    for seed in SEEDS:
        for rate, steps in ((0.1, 200), (0.5, 300), (1.0, 60)):
            tune = chosen_among(task, variant, downhill(rate, steps))
            assert lost(tuning_of(task, variant, tune, seed)) == []
        slow = chosen_among(task, variant, downhill(0.01, 300))
        assert set(lost(tuning_of(task, variant, slow, seed))) <= {TEST_ACCURACY}


@pytest.mark.parametrize(("task", "variant"), open_forms("a3"))
@pytest.mark.parametrize("factor", [0, -1, 0.5, 2])
def test_a_multiple_of_the_start_earns_nothing(task: Task, variant: Variant, factor: float) -> None:
    def constant(slope: Callable[[Any], Any], start: Any) -> list[Any]:
        # Steps of nearly nothing make it five candidates.
        return [factor * start + shift for shift in np.arange(5) * 1e-6]

    for seed in range(5):
        assert lost(tuning_of(task, variant, chosen_among(task, variant, constant), seed)) == ALL_OF_TUNING


@pytest.mark.parametrize(("task", "variant"), open_forms("a3"))
def test_the_best_of_multiples_and_steps_of_next_to_nothing_earn_nothing(
    task: Task, variant: Variant
) -> None:
    def multiples(slope: Callable[[Any], Any], start: Any) -> list[Any]:
        return [factor * start for factor in (1, 0, -1, 0.5, 2)]

    for candidates in (multiples, downhill(0.001, 5, looks=5)):
        for seed in SEEDS:
            attack = chosen_among(task, variant, candidates)
            assert lost(tuning_of(task, variant, attack, seed)) == ALL_OF_TUNING


@pytest.mark.parametrize(("task", "variant"), open_forms("a3"))
def test_a_tuning_on_the_development_examples_and_guesses_are_no_candidates(
    task: Task, variant: Variant
) -> None:
    def guesses(slope: Callable[[Any], Any], start: Any) -> list[Any]:
        return list(start + np.random.default_rng(0).normal(0, 1, (20, 6)))

    for seed in SEEDS:
        on_development = chosen_among(task, variant, downhill(0.5, 300), sets=(5, 7))
        assert CANDIDATES in lost(tuning_of(task, variant, on_development, seed))
        assert CANDIDATES in lost(tuning_of(task, variant, chosen_among(task, variant, guesses), seed))


@pytest.mark.parametrize(("task", "variant"), open_forms("a3"))
@pytest.mark.parametrize(
    ("changed", "message", "lost_parts"),
    [
        ({"development_losses": [1.0] * 4}, "one number for each", [CHOICE]),
        ({"development_losses": "none"}, "one number for each", [CHOICE]),
        ({"development_losses": [0.01] * 20}, "0.010 stands for candidate 0", [CHOICE]),
        ({"development_losses": [float("nan")] * 20}, "nan stands for candidate 0", [CHOICE]),
        ({"development_losses": [None] * 20}, "nan stands for candidate 0", [CHOICE]),
        ({"development_losses": ["a"] * 20}, "one number for each", [CHOICE]),
        ({"predictions": [0, 1]}, '"predictions" is not the list', [CHOICE]),
        ({"predictions": None}, 'the key "predictions" is missing', [CHOICE]),
        ({"development_losses": None}, 'the key "development_losses" is missing', [CHOICE]),
        ({"prompts": None}, 'the key "prompts" is missing', REST_OF_TUNING),
        ({"prompts": "none"}, "finite numbers of shape [K, H]", REST_OF_TUNING),
        ({"prompts": [[float("nan")] * 6] * 5}, "finite numbers of shape [K, H]", REST_OF_TUNING),
        ({"prompts": [[0.0] * 6] * 5}, "not 5 to 20 different", REST_OF_TUNING),
        ({"prompts": np.arange(126.0).reshape(21, 6)}, "not 5 to 20 different", REST_OF_TUNING),
    ],
)
def test_figures_that_are_not_the_prompts_cost_what_rests_on_them(
    task: Task, variant: Variant, changed: dict[str, Any], message: str, lost_parts: list[str]
) -> None:
    tune = solution("a3", task, variant)

    def misreporting(*arguments: Any) -> dict[str, Any]:
        answer = {**tune(*arguments), **changed}
        return {key: value for key, value in answer.items() if value is not None}

    found = tuning_of(task, variant, misreporting)
    assert lost(found) == lost_parts
    assert all(message in found[name][1] for name in lost_parts)


@pytest.mark.parametrize(("task", "variant"), open_forms("a3"))
def test_invented_losses_and_another_choice_cost_the_choice_alone(task: Task, variant: Variant) -> None:
    tune = solution("a3", task, variant)

    def inventing(*arguments: Any) -> dict[str, Any]:
        answer = tune(*arguments)
        least = min(answer["development_losses"])
        return {
            **answer,
            "development_losses": [x if x == least else 9.0 for x in answer["development_losses"]],
        }

    def with_prompt(prompt_of: Callable[[dict[str, Any]], Any]) -> Callable[..., dict[str, Any]]:
        def choosing(*arguments: Any) -> dict[str, Any]:
            answer = tune(*arguments)
            return {**answer, "prompt": prompt_of(answer)}

        return choosing

    def worst(answer: dict[str, Any]) -> Any:
        return answer["prompts"][int(np.argmax(answer["development_losses"]))]

    assert lost(tuning_of(task, variant, inventing)) == [CHOICE]
    beside = tuning_of(task, variant, with_prompt(lambda answer: answer["prompt"] + 0.01))
    assert lost(beside) == [CHOICE]
    assert '"prompt" is none of "prompts"' in beside[CHOICE][1]
    found = tuning_of(task, variant, with_prompt(worst))
    assert CHOICE in lost(found)


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
    assert all("a prompt is not tuned" in found[name][1] for name in REST_OF_TUNING)
    found = tuning_of(task, variant, uphill)
    assert lost(found) == ALL_OF_TUNING
    message = found["test accuracy"][1]
    assert message.startswith("it got worse: behind your prompts test accuracy is 0.")
    assert "%" not in message


@pytest.mark.parametrize(("task", "variant"), open_forms("a3"))
def test_candidates_that_change_from_call_to_call_cost_that_part_alone(task: Task, variant: Variant) -> None:
    tune = solution("a3", task, variant)
    rng = np.random.default_rng(0)

    def from_any_start(weights: Any, output: Any, start: Any, *sets: Any) -> dict[str, Any]:
        return tune(weights, output, start + rng.normal(0, 0.1, start.shape), *sets)

    def from_seeded_start(weights: Any, output: Any, start: Any, *sets: Any) -> dict[str, Any]:
        own = np.random.default_rng(0)
        return tune(weights, output, start + own.normal(0, 0.1, start.shape), *sets)

    assert lost(tuning_of(task, variant, from_any_start)) == [CANDIDATES]
    assert lost(tuning_of(task, variant, from_seeded_start)) == []


@pytest.mark.parametrize(("task", "variant"), open_forms("a3"))
def test_calls_of_a_pair_differ_in_development_and_test_examples_alone(task: Task, variant: Variant) -> None:
    cases = tuning_cases(variant.name, 0)
    for case, other in zip(cases[::2], cases[1::2], strict=True):
        differ = [
            key for key, value in case.arguments.items() if not np.array_equal(value, other.arguments[key])
        ]
        assert differ == ["x_development", "y_development", "x_test"]


Variances = Callable[[Any], tuple[float, float]]


def planned_with(
    variant: Variant, variances: Variances, reported: Variances, items: Any
) -> Callable[..., Any]:
    """Give a solution that plans with some variances b and w and reports with others."""
    cost = variant.texts["code"]

    def plan(agrees: Any, prefix_tokens: int, item_tokens: int, budget: int) -> dict[str, Any]:
        tokens = eval(cost, {"n": items, "prefix_tokens": prefix_tokens, "item_tokens": item_tokens})
        sets = budget // tokens
        (b, w), (own_b, own_w) = variances(agrees), reported(agrees)
        best = np.argmin(np.where(sets >= 2, (b + w / items) / np.maximum(sets, 1), np.inf))
        num_sets, num_items = int(sets[best]), int(items[best])
        error = float(np.sqrt((own_b + own_w / num_items) / num_sets))
        return {"num_sets": num_sets, "num_items": num_items, "standard_error": error}

    return plan


def _split(agrees: Any) -> tuple[float, float]:
    means = agrees.mean(axis=1)
    within = np.mean(means * (1 - means))
    return max(np.var(means) - within / agrees.shape[1], 0), within


def _not_split(agrees: Any) -> tuple[float, float]:
    means = agrees.mean(axis=1)
    return np.var(means), np.mean(means * (1 - means))


def guessed(between: float) -> Variances:
    """Give b and w without a look at the earlier run."""
    return lambda agrees: (between, 0.22)


def _as_if_one_set(agrees: Any) -> tuple[float, float]:
    return 0.0, agrees.mean() * (1 - agrees.mean())


EVERY_NUMBER, SOME_NUMBERS = np.arange(10, 2000), np.array([10, 15, 20, 30, 40, 60, 80, 120, 160])


@pytest.mark.parametrize(("task", "variant"), open_forms("a4"))
def test_a_plan_that_splits_the_variance_earns_all(task: Task, variant: Variant) -> None:
    choose = solution("a4", task, variant)
    for seed in SEEDS:
        assert parts_lost(task, variant, seed, choose) == []
        for items in (EVERY_NUMBER, SOME_NUMBERS):
            assert parts_lost(task, variant, seed, planned_with(variant, _split, _split, items)) == []


@pytest.mark.parametrize(("task", "variant"), open_forms("a4"))
def test_a_plan_that_does_not_look_at_the_earlier_run_is_not_good_in_all_cases(
    task: Task, variant: Variant
) -> None:
    blind = ["standard error", "standard error as reported"]
    for seed in SEEDS:
        for between in (0.002, 0.005, 0.0125, 0.03, 0.08):
            guess = guessed(between)
            attack = planned_with(variant, guess, guess, EVERY_NUMBER)
            assert parts_lost(task, variant, seed, attack) == blind
            reporting = planned_with(variant, guess, _split, EVERY_NUMBER)
            assert parts_lost(task, variant, seed, reporting) == ["standard error"]
        for num_items in (10, 20, 40, 120):
            fixed = planned_with(variant, _as_if_one_set, _as_if_one_set, np.array([num_items]))
            assert parts_lost(task, variant, seed, fixed) == blind


@pytest.mark.parametrize(("task", "variant"), open_forms("a4"))
def test_no_plan_is_good_in_both_cases_of_one_prompt(task: Task, variant: Variant) -> None:
    for case_pairs in (pairs_of_one_prompt(task.drawn_cases(seed, variant)) for seed in SEEDS):
        assert len(case_pairs) == 3
        for pair in case_pairs:
            told = [{**case.arguments, "agrees": None} for case in pair]
            assert told[0] == told[1]
            runs = [case.arguments["agrees"].mean(axis=1).std() for case in pair]
            assert max(runs) > 2 * min(runs)


def pairs_of_one_prompt(cases: list[Case]) -> list[list[Case]]:
    """Give the cases by the length of their prefix."""
    lengths = {case.arguments["prefix_tokens"] for case in cases}
    return [[case for case in cases if case.arguments["prefix_tokens"] == length] for length in lengths]


@pytest.mark.parametrize(("task", "variant"), open_forms("a4"))
def test_measured_spread_taken_for_true_spread_costs_the_report_and_overspending_all(
    task: Task, variant: Variant
) -> None:
    choose = solution("a4", task, variant)

    def beyond(*arguments: Any) -> dict[str, Any]:
        answer = choose(*arguments)
        return {**answer, "num_sets": 4 * answer["num_sets"]}

    for seed in SEEDS:
        not_split = planned_with(variant, _not_split, _not_split, EVERY_NUMBER)
        assert "standard error as reported" in parts_lost(task, variant, seed, not_split)
        assert len(parts_lost(task, variant, seed, beyond)) == 3


ALL_OF_PLAN = ["within the budget", "standard error", "standard error as reported"]


@pytest.mark.parametrize(
    ("changed", "without", "message", "lost_parts"),
    [
        ({"standard_error": None}, "", '"standard_error" is no number', ALL_OF_PLAN[2:]),
        ({"standard_error": "small"}, "", '"standard_error" is no number', ALL_OF_PLAN[2:]),
        ({"standard_error": float("nan")}, "", "the earlier run says otherwise", ALL_OF_PLAN[2:]),
        ({}, "standard_error", 'the key "standard_error" is missing', ALL_OF_PLAN[2:]),
        ({"num_sets": 3.5}, "", '"num_sets" is no whole number above 0', ALL_OF_PLAN),
        ({"num_items": None}, "", '"num_items" is no whole number above 0', ALL_OF_PLAN),
        ({}, "num_items", 'the key "num_items" is missing', ALL_OF_PLAN),
    ],
)
@pytest.mark.parametrize(("task", "variant"), open_forms("a4"))
def test_a_malformed_part_of_a_plan_costs_what_rests_on_it_and_is_named(
    task: Task,
    variant: Variant,
    changed: dict[str, Any],
    without: str,
    message: str,
    lost_parts: list[str],
) -> None:
    choose = solution("a4", task, variant)
    messages = lost_messages(task, variant, choose, changed, without)
    assert list(messages) == lost_parts
    assert all(message in said for said in messages.values())


@pytest.mark.parametrize(("task", "variant"), open_forms("a4"))
def test_no_plan_at_all_is_named(task: Task, variant: Variant) -> None:
    assert task.measure is not None
    cases = task.drawn_cases(0, variant)
    measured = task.measure(cases, [None] * len(cases))
    assert [(part.passed, part.message) for part in measured] == [
        (False, "the function returns no dictionary.")
    ] * 3


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
