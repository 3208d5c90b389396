"""The open experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from course_lib.classroom.assignments.assignment import Case, Measured, Variant
from course_lib.classroom.assignments.building import first_problem
from course_lib.classroom.checking.answers import as_numbers

TITLE = "Open experiment: a linear model that a small change does not mislead"
MARKS = 4
HINT = (
    "Train once for each penalty on the training examples, keep every model, and choose the one that does best "
    "on the validation examples in the worst case."
)

# Which features move with the class by how much, and how noisy they are: (number, shift, noise).
DATA: dict[str, tuple[tuple[int, float, float], ...]] = {
    "two clear features among thirty faint ones": ((2, 1.0, 0.9), (30, 0.12, 0.3)),
    "four fairly clear features among forty faint ones": ((4, 0.8, 1.0), (40, 0.1, 0.3)),
}
PENALTIES = (0, 0.05, 0.1, 0.2, 0.4)
# What the parts are worth.
SMOOTH_MARKS = {"worst-case accuracy": 2, "accuracy without a perturbation": 1, "models as reported": 1}
# How far below the judge's own model a share of right answers may lie.
WORST_SHORTFALL = 0.04
# How far down the training loss has to come with each penalty, as a share of the judge's own training.
LEAST_DESCENT = 0.6
# How near the directions of the control's weight and the most penalised may be, as a cosine. Above is one model
# twice, be it scaled.
MOST_ALIKE = 0.96

Model = tuple[np.ndarray, float]


def cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draws the hidden cases."""
    return [case for epsilon in rng.uniform(0.2, 0.25, 2) for case in _training_pair(rng, variant, epsilon)]


def _training_pair(rng: np.random.Generator, variant: str, epsilon: float) -> list[Case]:
    """Draw two cases that differ in their validation examples alone, and in what is hidden."""
    shifts = _shifts(rng, variant)
    x_train, y_train = _classes(rng, *shifts, 200)
    cases = []
    for _ in range(2):
        x_validation, y_validation = _classes(rng, *shifts, 400)
        x_test, y_test = _classes(rng, *shifts, 2000)
        arguments = {
            "x_train": x_train,
            "y_train": y_train,
            "x_validation": x_validation,
            "y_validation": y_validation,
            "epsilon": round(float(epsilon), 3),
        }
        cases.append(Case(arguments, {"x_test": x_test, "y_test": y_test}))
    return cases


def _shifts(rng: np.random.Generator, variant: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw each feature's shift and noise, in any order and of any sign, so that no weight is right beforehand."""
    numbers, shifts, noises = zip(*DATA[variant], strict=True)
    shift, noise = np.repeat(shifts, numbers), np.repeat(noises, numbers)
    shift = shift * rng.uniform(0.85, 1.15, len(shift)) * rng.choice([-1, 1], len(shift))
    order = rng.permutation(len(shift))
    return shift[order], noise[order]


def _classes(
    rng: np.random.Generator, shift: np.ndarray, noise: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.permutation(np.repeat([-1, 1], count // 2))
    return np.round(labels[:, None] * shift + rng.normal(0, 1, (count, len(shift))) * noise, 3), labels


def _right_share(model: Model, x: np.ndarray, y: np.ndarray, *, radius: float) -> float:
    """Give the share of examples that a linear model gets right whatever moves an entry by up to the radius."""
    weight, bias = model
    return float(np.mean(y * (x @ weight + bias) > radius * np.abs(weight).sum()))


def _validation_share(case: Case, model: Model) -> float:
    given = case.arguments
    return _right_share(model, given["x_validation"], given["y_validation"], radius=given["epsilon"])


def _training_loss(case: Case, model: Model, penalty: float) -> float:
    x, y, (weight, bias) = case.arguments["x_train"], case.arguments["y_train"], model
    smooth = (case.arguments["epsilon"] * np.abs(weight).sum()) ** 2
    return float(np.mean(np.logaddexp(0, -y * (x @ weight + bias))) + penalty * smooth)


def _trained(case: Case, penalty: float) -> Model:
    x, y, epsilon = (case.arguments[name] for name in ("x_train", "y_train", "epsilon"))
    weight, bias = np.zeros(x.shape[1]), 0.0
    for step in range(300):
        slope = -y / (1 + np.exp(y * (x @ weight + bias)))
        smooth = 2 * penalty * epsilon**2 * np.abs(weight).sum() * np.sign(weight)
        rate = 0.3 / (1 + step / 50)
        weight, bias = weight - rate * (slope @ x / len(x) + smooth), bias - rate * slope.mean()
    return weight, float(bias)


def measure(cases: Sequence[Case], answers: Sequence[Any]) -> list[Measured]:
    """Measures the properties of the answers."""
    answers = [_tidied(answer) for answer in answers]
    unusable = first_problem(map(_models_problem, cases, answers))
    if unusable:
        return [Measured(name, marks, False, unusable) for name, marks in SMOOTH_MARKS.items()]
    models = [{penalty: _model(answer, penalty) for penalty in PENALTIES} for answer in answers]
    own = [{penalty: _trained(case, penalty) for penalty in PENALTIES} for case in cases]
    chosen = [tried[answer["penalty"]] for tried, answer in zip(models, answers, strict=True)]
    robust, clean = (min(map(partial(_shortfall, worst), cases, chosen, own)) for worst in (True, False))
    # Without a training the accuracies are a matter of luck, so that they earn nothing.
    untrained = first_problem(map(_training_problem, cases, models, own))
    problem = (
        untrained
        or first_problem(map(_validation_problem, cases, answers, models))
        or first_problem(map(_blindness_problem, models[::2], models[1::2]))
    )
    return [
        Measured(
            "worst-case accuracy",
            SMOOTH_MARKS["worst-case accuracy"],
            not untrained and robust >= -WORST_SHORTFALL,
            untrained
            or f"on hidden examples at worst {robust:+.3f} against a smoothly trained model; "
            f"{-WORST_SHORTFALL} is allowed.",
        ),
        Measured(
            "accuracy without a perturbation",
            SMOOTH_MARKS["accuracy without a perturbation"],
            not untrained and clean >= -WORST_SHORTFALL,
            untrained
            or f"on hidden examples at worst {clean:+.3f} against the same model; {-WORST_SHORTFALL} is allowed.",
        ),
        Measured(
            "models as reported",
            SMOOTH_MARKS["models as reported"],
            not problem,
            problem
            or "each is trained with its penalty, they do on the validation examples what you report, and yours is "
            "the best.",
        ),
    ]


def _tidied(answer: Any) -> Any:
    """Give an answer whose penalties are those asked for, also where they came as numbers of half the precision."""
    if not isinstance(answer, Mapping):
        return answer
    parts = {
        key: {_penalty(name): value for name, value in part.items()} if isinstance(part, Mapping) else part
        for key, part in answer.items()
    }
    return {**parts, "penalty": _penalty(answer["penalty"])} if "penalty" in answer else parts


def _penalty(value: Any) -> Any:
    found = as_numbers(value)
    return round(float(found), 6) if found.shape == () else value


def _models_problem(case: Case, answer: Any) -> str:
    if not isinstance(answer, Mapping):
        return "the function returns no dictionary."
    missing = [key for key in ("models", "validation", "penalty") if key not in answer]
    if missing:
        return f'the key "{missing[0]}" is missing.'
    for key in ("models", "validation"):
        if not isinstance(answer[key], Mapping) or set(answer[key]) != set(PENALTIES):
            return f'the keys of "{key}" are not the penalties {", ".join(map(str, PENALTIES))}.'
    if answer["penalty"] not in PENALTIES:
        return '"penalty" is none of the penalties.'
    dimension = case.arguments["x_train"].shape[1]
    if not all(_is_model(answer["models"][penalty], dimension) for penalty in PENALTIES):
        return 'an entry of "models" is no pair of a weight of shape [D] and a number, all finite.'
    return ""


def _is_model(pair: Any, dimension: int) -> bool:
    try:
        weight, bias = (np.asarray(part, dtype=float) for part in pair)
    except (TypeError, ValueError):
        return False
    # Larger than any training ends in, and sums of them would overflow.
    return (
        weight.shape == (dimension,) and bias.size == 1 and bool(np.all(np.abs([*weight, bias.sum()]) < 1e9))
    )


def _model(answer: Mapping[str, Any], penalty: float) -> Model:
    weight, bias = answer["models"][penalty]
    return np.asarray(weight, dtype=float), float(np.sum(bias))


def _shortfall(worst: bool, case: Case, model: Model, own: Mapping[float, Model]) -> float:
    """Give a model's accuracy on the hidden examples, less that of the judge's best on the validation examples."""
    best = max(own.values(), key=partial(_validation_share, case))
    test = case.hidden["x_test"], case.hidden["y_test"]
    radius = case.arguments["epsilon"] if worst else 0.0
    return _right_share(model, *test, radius=radius) - _right_share(best, *test, radius=radius)


def _training_problem(case: Case, models: Mapping[float, Model], own: Mapping[float, Model]) -> str:
    """Compare each model's training loss with that of the judge's own training with the same penalty."""
    untrained = np.zeros(case.arguments["x_train"].shape[1]), 0.0
    for penalty, model in models.items():
        start, reached, plain = (
            _training_loss(case, one, penalty) for one in (untrained, model, own[penalty])
        )
        if not start - reached >= LEAST_DESCENT * (start - plain):
            return (
                f"with λ = {penalty} the training loss with its penalty is {reached:.3f}; a plain training comes from "
                f"{start:.3f} down to {plain:.3f}."
            )
    control, smoothest = models[PENALTIES[0]][0], models[PENALTIES[-1]][0]
    if control @ smoothest > MOST_ALIKE * np.linalg.norm(control) * np.linalg.norm(smoothest):
        return "the models without a penalty and with the largest are the same, but for their scale."
    return ""


def _validation_problem(case: Case, answer: Mapping[str, Any], models: Mapping[float, Model]) -> str:
    reported = answer["validation"]
    own = {penalty: _validation_share(case, model) for penalty, model in models.items()}
    # One example more or less is rounding.
    rounding = 1.5 / len(case.arguments["y_validation"])
    wrong = [penalty for penalty in PENALTIES if not abs(reported[penalty] - own[penalty]) <= rounding]
    if wrong:
        return f"the model with λ = {wrong[0]} has another worst-case accuracy on the validation examples."
    if own[answer["penalty"]] < max(own.values()) - rounding:
        return "another penalty's model is better on the validation examples than the one you chose."
    return ""


def _blindness_problem(models: Mapping[float, Model], others: Mapping[float, Model]) -> str:
    """Compare the models of two calls that differ in their validation examples alone."""
    same = all(
        np.allclose([*models[penalty][0], models[penalty][1]], [*others[penalty][0], others[penalty][1]])
        for penalty in PENALTIES
    )
    return "" if same else "two calls that differ in the validation examples alone gave other models."


VARIANTS = tuple(Variant(name, {"data": name}) for name in DATA)
