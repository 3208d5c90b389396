"""The open experiment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import Case, Measured, Variant
from course_lib.classroom.assignments.building import first_problem, log_softmax
from course_lib.classroom.checking.answers import as_numbers

TITLE = "Open experiment: tune a prompt on few examples"
MARKS = 4
HINT = (
    "Follow the training loss downhill from the start, keep a prompt now and then, and at the end choose the one "
    "with the least development loss."
)

ACTIVATIONS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "the hyperbolic tangent": (np.tanh, lambda hidden: 1 - np.tanh(hidden) ** 2),
    "a rectifier": (lambda hidden: np.maximum(hidden, 0), lambda hidden: (hidden > 0).astype(float)),
}
WIDTH, HIDDEN = 6, 6
NUM_TRAIN, NUM_DEVELOPMENT, NUM_TEST = 32, 64, 400
# The share of labels that are wrong.
FLIPPED = 0.05
# What the parts are worth.
TUNING_MARKS = {"test accuracy": 2, "choice as reported": 1, "candidates from the training examples": 1}
# How many prompts are to be chosen among.
LEAST_CANDIDATES, MOST_CANDIDATES = 5, 20
# The share of a plain tuning's gain in test accuracy that has to be reached in each pair of cases; what good learning
# rates reach at least, and wrong ones at most.
LEAST_GAIN, LEAST_GOOD_GAIN, MOST_WRONG_GAIN = 0.6, 0.75, 0.45
# The share of a plain tuning's fall in training loss from which a prompt counts as tuned.
LEAST_FALL = 0.25
# What a plain tuning gains in test accuracy at least.
LEAST_PLAIN_GAIN = 0.1
# Multiples of the start: prompts that can be answered without a look at the examples.
MULTIPLES = (0.0, -1.0, 0.5, 2.0)
RATES = (0.1, 0.5, 1.0, 2.0)
# As slow as 300 steps with 0.01.
SLOW_RATE = 0.015
# Learning rates with which a tuning comes to nothing; in some pair of cases, this is to be seen.
TOO_SLOW, TOO_FAST = (0.005, 0.02), (5.0, 20.0)
LOOKS, STEPS_BETWEEN, MOST_STEPS_BETWEEN = 20, 10, 15


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    pairs = [_tuning_pair(rng, variant, wrong) for wrong in (TOO_SLOW, TOO_FAST, ())]
    return [case for place in rng.permutation(len(pairs)) for case in pairs[place]]


def _tuning_pair(rng: np.random.Generator, form: str, wrong_rates: Sequence[float]) -> list[Case]:
    """Draw two cases that differ in their development and test examples alone; again until they tell something."""
    while True:
        given, target = _frozen(rng, form)
        given["x_train"], given["y_train"] = _texts(rng, form, given, target, NUM_TRAIN)
        pair = [_tuning_case(rng, form, given, target) for _ in range(2)]
        if _is_telling(pair, wrong_rates):
            return pair


def _tuning_case(
    rng: np.random.Generator, form: str, given: Mapping[str, np.ndarray], target: np.ndarray
) -> Case:
    x, y = _texts(rng, form, given, target, NUM_DEVELOPMENT)
    x_test, y_test = _texts(rng, form, given, target, NUM_TEST)
    arguments = {**given, "x_development": x, "y_development": y, "x_test": x_test}
    return Case(arguments, {"y_test": y_test, "form": form})


def _is_telling(pair: Sequence[Case], wrong_rates: Sequence[float]) -> bool:
    """Say whether there is enough to gain: with any of the rates, and with no wrong one nor a multiple of the start.

    A share of next to nothing says nothing, and nobody is to lose marks by one bad local minimum.
    """
    paths = _paths(pair[0], (*RATES, SLOW_RATE, *wrong_rates))
    plain = [_best(case, np.concatenate(paths[: len(RATES)])) for case in pair]
    if _gain(pair, plain) < LEAST_PLAIN_GAIN:
        return False

    def shares(some_paths: Sequence[np.ndarray]) -> list[float]:
        return [_gain_share(pair, [_best(case, path) for case in pair], plain) for path in some_paths]

    wrong = [*paths[len(RATES) + 1 :], *_paths(pair[0], wrong_rates, MOST_STEPS_BETWEEN)]
    if (
        max(shares(wrong), default=0.0) > MOST_WRONG_GAIN
        or min(shares(paths[: len(RATES)])) < LEAST_GOOD_GAIN
    ):
        return False
    slow = [_best(case, paths[len(RATES)]) for case in pair]
    return min(map(_fall_share, pair, slow, plain)) >= LEAST_FALL and not any(
        _multiple_passes(pair, factor, plain) for factor in MULTIPLES
    )


def _multiple_passes(pair: Sequence[Case], factor: float, plain: Sequence[np.ndarray]) -> bool:
    """Say whether a multiple of the start would pass as tuned, or gain as much as is asked for."""
    prompts = [factor * case.arguments["start"] for case in pair]
    falls = map(_fall_share, pair, prompts, plain)
    return max(falls) >= LEAST_FALL or _gain_share(pair, prompts, plain) >= LEAST_GAIN


def _frozen(rng: np.random.Generator, form: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draw a frozen model, a start, and the prompt that makes the labels.

    Drawn again until both classes are frequent, and the start and its multiples are far from good: otherwise there
    is nothing to tune.
    """
    while True:
        given = {
            "weights": np.round(rng.normal(0, 1 / np.sqrt(WIDTH), (HIDDEN, WIDTH)), 4),
            "output": np.round(rng.normal(0, 2, (2, HIDDEN)), 4),
            "start": np.round(rng.normal(0, 0.5, HIDDEN), 4),
        }
        target = rng.normal(0, 1.5, HIDDEN)
        x = rng.normal(0, 1.5, (300, WIDTH))
        labels = _scores(form, given, target, x).argmax(axis=1)
        if 0.35 < labels.mean() < 0.65 and all(
            (_scores(form, given, factor * given["start"], x).argmax(axis=1) == labels).mean() < 0.7
            for factor in (1.0, *MULTIPLES)
        ):
            return given, target


def _texts(
    rng: np.random.Generator, form: str, given: Mapping[str, np.ndarray], target: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    x = np.round(rng.normal(0, 1.5, (count, WIDTH)), 4)
    labels = _scores(form, given, target, x).argmax(axis=1)
    return x, np.where(rng.random(count) < FLIPPED, 1 - labels, labels)


def _scores(form: str, given: Mapping[str, np.ndarray], prompt: np.ndarray, x: np.ndarray) -> np.ndarray:
    return ACTIVATIONS[form][0](x @ given["weights"].T + prompt) @ given["output"].T


def _set_loss(form: str, given: Mapping[str, np.ndarray], prompt: np.ndarray, name: str) -> float:
    return float(_set_losses(form, given, prompt, name))


def _set_losses(form: str, given: Mapping[str, np.ndarray], prompts: np.ndarray, name: str) -> np.ndarray:
    """Give the loss on a set behind one prompt, [H], or behind each of several, [K, 1, H]."""
    x, y = given[f"x_{name}"], given[f"y_{name}"]
    return np.asarray(-log_softmax(_scores(form, given, prompts, x))[..., np.arange(len(y)), y].mean(axis=-1))


def _paths(case: Case, rates: Sequence[float], steps_between: int = STEPS_BETWEEN) -> list[np.ndarray]:
    """Give the prompts at each look of a gradient descent, for each rate an array [looks, H]."""
    given = case.arguments
    activation, derivative = ACTIVATIONS[case.hidden["form"]]
    without_prompt, labels = given["x_train"] @ given["weights"].T, np.eye(2)[given["y_train"]]
    sizes, prompts, kept = np.array(rates)[:, None], given["start"][None], []
    for step in range(1, LOOKS * steps_between + 1):
        hidden = without_prompt + prompts[:, None]
        errors = np.exp(log_softmax(activation(hidden) @ given["output"].T)) - labels
        prompts = prompts - sizes * (errors @ given["output"] * derivative(hidden)).mean(axis=1)
        if step % steps_between == 0:
            kept.append(prompts)
    return list(np.stack(kept, axis=1))


def _best(case: Case, candidates: np.ndarray) -> np.ndarray:
    """Give the candidate with the least development loss."""
    losses = _set_losses(case.hidden["form"], case.arguments, candidates[:, None], "development")
    return np.asarray(candidates[int(np.argmin(losses))])


def _tuned(case: Case) -> np.ndarray:
    """Tune plainly: the prompt with the least development loss of a few learning rates and looks."""
    return _best(case, np.concatenate(_paths(case, RATES)))


def _case_loss(case: Case, prompt: np.ndarray, name: str) -> float:
    return _set_loss(case.hidden["form"], case.arguments, prompt, name)


def _fall_share(case: Case, prompt: np.ndarray, plain: np.ndarray) -> float:
    """Give the fall of the training loss from the start to a prompt, as a share of that to a plainly tuned one."""
    start, own, reached = (
        _case_loss(case, tried, "train") for tried in (case.arguments["start"], prompt, plain)
    )
    return (start - own) / (start - reached)


def _gain(cases: Sequence[Case], prompts: Sequence[np.ndarray]) -> float:
    """Give the gain in test accuracy over the start, all cases together."""
    started, _ = _on_test_texts(cases, [case.arguments["start"] for case in cases])
    return _on_test_texts(cases, prompts)[0] - started


def _gain_share(cases: Sequence[Case], prompts: Sequence[np.ndarray], plain: Sequence[np.ndarray]) -> float:
    """Give this gain as a share of plainly tuned prompts'."""
    return _gain(cases, prompts) / _gain(cases, plain)


def measure(cases: Sequence[Case], answers: Sequence[Any]) -> list[Measured]:
    """Measures the properties of the answers."""
    unusable = first_problem(_prompt_problem(answer) for answer in answers)
    if unusable:
        return [Measured(name, marks, False, unusable) for name, marks in TUNING_MARKS.items()]
    prompts, plain = [as_numbers(answer["prompt"]) for answer in answers], [_tuned(case) for case in cases]
    problem = first_problem(map(_tuning_problem, cases, prompts, plain)) or first_problem(
        map(_candidates_problem, answers)
    )
    problems = {
        "choice as reported": problem or first_problem(map(_report_problem, cases, answers, prompts)),
        "candidates from the training examples": problem
        or first_problem(map(_blindness_problem, answers[::2], answers[1::2]))
        or first_problem(map(_guess_problem, cases, answers)),
    }
    reached, message = _accuracy_reached(cases, prompts, plain)
    return [
        Measured("test accuracy", TUNING_MARKS["test accuracy"], reached, message),
        *(
            Measured(name, TUNING_MARKS[name], not problem, problem or _TUNED_WELL[name])
            for name, problem in problems.items()
        ),
    ]


_TUNED_WELL = {
    "choice as reported": "the prompt is tuned and the best candidate, and losses and predictions are what they say.",
    "candidates from the training examples": "the prompt is tuned, and other development and test examples leave "
    "the candidates as they are.",
}


def _prompt_problem(answer: Any) -> str:
    if not isinstance(answer, Mapping):
        return "the function returns no dictionary."
    if "prompt" not in answer:
        return 'the key "prompt" is missing.'
    prompt = as_numbers(answer["prompt"])
    if prompt.shape != (HIDDEN,) or not np.isfinite(prompt).all():
        return f'"prompt" is not an array of H = {HIDDEN} finite numbers.'
    return ""


def _tuning_problem(case: Case, prompt: np.ndarray, plain: np.ndarray) -> str:
    if _fall_share(case, prompt, plain) >= LEAST_FALL:
        return ""
    start, own, reached = (
        _case_loss(case, tried, "train") for tried in (case.arguments["start"], prompt, plain)
    )
    return (
        f"a prompt is not tuned: behind it the training loss is {own:.3f}, behind the start {start:.3f}, behind a "
        f"plainly tuned prompt {reached:.3f}. A quarter of this fall is asked for."
    )


def _candidates_problem(answer: Mapping[str, Any]) -> str:
    if "prompts" not in answer:
        return 'the key "prompts" is missing.'
    prompts = as_numbers(answer["prompts"])
    if prompts.ndim != 2 or prompts.shape[1] != HIDDEN or not np.isfinite(prompts).all():
        return f'"prompts" is not an array of finite numbers of shape [K, H], with H = {HIDDEN}.'
    if not len(np.unique(prompts, axis=0)) >= LEAST_CANDIDATES or len(prompts) > MOST_CANDIDATES:
        return f'"prompts" are not {LEAST_CANDIDATES} to {MOST_CANDIDATES} different candidates.'
    return ""


def _report_problem(case: Case, answer: Mapping[str, Any], prompt: np.ndarray) -> str:
    missing = [key for key in ("development_losses", "predictions") if key not in answer]
    if missing:
        return f'the key "{missing[0]}" is missing.'
    candidates, losses = as_numbers(answer["prompts"]), as_numbers(answer["development_losses"])
    if losses.shape != (len(candidates),):
        return '"development_losses" is not a list of one number for each of "prompts".'
    own = np.array([_case_loss(case, candidate, "development") for candidate in candidates])
    # Losses may be rounded to two places.
    rounding = np.maximum(0.01 * own, 0.006)
    wrong = np.flatnonzero(~(np.abs(losses - own) <= rounding))
    if len(wrong):
        number = wrong[0]
        return (
            f'in "development_losses", {losses[number]:.3f} stands for candidate {number}, but behind it the loss is '
            f"{own[number]:.3f}."
        )
    kept = np.isclose(candidates, prompt).all(axis=1)
    if not kept.any():
        return '"prompt" is none of "prompts".'
    if not own[kept].min() <= own.min() + rounding[own.argmin()]:
        return 'another of "prompts" has a lower development loss than "prompt".'
    predicted = _scores(case.hidden["form"], case.arguments, prompt, case.arguments["x_test"]).argmax(axis=1)
    if not np.array_equal(as_numbers(answer["predictions"]), predicted):
        return '"predictions" is not the list of the labels that the frozen model gives behind "prompt".'
    return ""


def _blindness_problem(answer: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Compare the candidates of two calls that differ in their development and test examples alone."""
    prompts, others = as_numbers(answer["prompts"]), as_numbers(other["prompts"])
    if prompts.shape == others.shape and np.allclose(prompts, others):
        return ""
    return "two calls that differ in the development and test examples alone gave other candidates."


def _guess_problem(case: Case, answer: Mapping[str, Any]) -> str:
    """Tell candidates of a tuning from guesses, which are the same in all calls too."""
    start = _case_loss(case, case.arguments["start"], "train")
    better = [_case_loss(case, candidate, "train") < start for candidate in as_numbers(answer["prompts"])]
    if np.mean(better) > 0.5:
        return ""
    return "half of the candidates or more have no lower training loss than the start."


def _accuracy_reached(
    cases: Sequence[Case], prompts: Sequence[np.ndarray], plain: Sequence[np.ndarray]
) -> tuple[bool, str]:
    """Say whether the gain over the start is enough in each pair, measured with the frozen model behind the prompts."""
    pairs = [slice(first, first + 2) for first in range(0, len(cases), 2)]
    shares = [_gain_share(cases[pair], prompts[pair], plain[pair]) for pair in pairs]
    worst = pairs[int(np.argmin(shares))]
    if min(shares) < 0:
        accuracy, loss = _on_test_texts(cases[worst], prompts[worst])
        started, start_loss = _on_test_texts(cases[worst], [case.arguments["start"] for case in cases[worst]])
        return False, (
            f"it got worse: behind your prompts test accuracy is {accuracy:.2f} and the loss {loss:.2f}, behind the "
            f"start {started:.2f} and {start_loss:.2f}."
        )
    message = (
        f"over the start, {min(shares):.0%} of a plain tuning's gain; {LEAST_GAIN:.0%} is asked for in each pair of "
        "calls."
    )
    return min(shares) >= LEAST_GAIN, message.replace("%", " %")


def _on_test_texts(cases: Sequence[Case], prompts: Sequence[np.ndarray]) -> tuple[float, float]:
    """Give test accuracy and mean cross-entropy behind the prompts, all cases together."""
    accuracies, losses = [], []
    for case, prompt in zip(cases, prompts, strict=True):
        given, form = {**case.arguments, **case.hidden}, case.hidden["form"]
        predicted = _scores(form, given, prompt, given["x_test"]).argmax(axis=1)
        accuracies.append(np.mean(predicted == given["y_test"]))
        losses.append(_set_loss(form, given, prompt, "test"))
    return float(np.mean(accuracies)), float(np.mean(losses))


VARIANTS = (
    Variant(
        "the hyperbolic tangent",
        {
            "activation": r"\tanh h",
            "slope": r"1 - \tanh^2 h",
            "apply": "np.tanh",
            "derivative": "1 - np.tanh(h) ** 2",
        },
    ),
    Variant(
        "a rectifier",
        {
            "activation": r"\max(h, 0)",
            "slope": r"1 \text{ where } h > 0, \text{ else } 0",
            "apply": "(lambda h: np.maximum(h, 0))",
            "derivative": "(h > 0)",
        },
    ),
)
