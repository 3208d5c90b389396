"""Assignment a1, Complexity and overfitting: the trusted side. The notebook: notebooks/src/assignments/a1.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.polynomial.legendre import legvander

from course_lib.classroom.assignments.assignment import (
    AS_GIVEN,
    Assignment,
    Case,
    Measured,
    Mistake,
    Task,
    Variant,
    first_problem,
    shown_source,
)
from course_lib.classroom.checking.answers import as_numbers, as_whole_number

# --- a1.compare_models: P/N compares only within one unit


def _compared(
    rows: Sequence[Mapping[str, Any]],
    unit: str,
    *,
    inverted: bool = False,
    descending: bool = True,
    mixed: bool = False,
    whole: bool = False,
    by_name: bool = True,
) -> list[tuple[str, float]]:
    kept = [row for row in rows if mixed or row["unit"] == unit]
    result = [(row["model"], row["parameters"] / row["examples"]) for row in kept]
    if inverted:
        result = [(name, 1 / ratio) for name, ratio in result]
    if whole:
        result = _rounded(result)
    sign = -1 if descending else 1
    return sorted(result, key=lambda pair: (sign * pair[1], pair[0] if by_name else ""))


def _model_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    deck = [
        _row("AlexNet", 60_000_000, 1_200_000, "image"),
        _row("DenseNet-121", 8_000_000, 1_200_000, "image"),
        _row("BERT, pre-training", 110_000_000, 3_300_000_000, "word"),
        # A unit whose name holds another's.
        _row("RoBERTa", 125_000_000, 2_200_000_000, "subword"),
    ]
    tied = [_row("tied b", 30, 12, "pair"), _row("tied a", 5, 2, "pair"), _row("larger", 9, 2, "pair")]
    # Nearly equal to the tied ones, and by name after them; one run twice; one model of two runs.
    close = [
        _row("z, nearly tied", 25_000_001, 10_000_000, "pair"),
        *[_row("tied a", 5, 2, "pair")] * 2,
        _row("trained twice", 3, 2, "pair"),
        _row("trained twice", 7, 2, "pair"),
        _row("tied b", 30, 12, "pair"),
    ]
    drawn = [
        _row(f"model {index}", int(rng.integers(10_000, 10**8)), int(rng.integers(100, 10**6)), unit)
        for index, unit in enumerate(rng.permutation(["image", "image", "image", "word", "word", "pair"]))
    ]
    cases = [
        (deck, "image"),
        (tied + drawn, "pair"),
        (deck + drawn, "word"),
        (drawn, "image"),
        (deck, "pair"),
        (close, "pair"),
        (deck[:1], "image"),
        ([], "image"),
    ]
    return [Case({"rows": rows, "unit": unit}) for rows, unit in cases]


def _row(model: str, parameters: int, examples: int, unit: str) -> dict[str, Any]:
    return {"model": model, "parameters": parameters, "examples": examples, "unit": str(unit)}


_ROUNDED = "The quotients are rounded; return them as they are."
_OTHER_WAY = "The quotients are right, but the list runs the other way."


def _rounded(pairs: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    return [(name, float(round(quotient))) for name, quotient in pairs]


def _model_variant(name: str, *, inverted: bool, descending: bool, texts: Mapping[str, str]) -> Variant:
    right = partial(_compared, inverted=inverted, descending=descending)
    return Variant(
        name,
        {f"compare_models.{key}": text for key, text in texts.items()},
        right,
        (
            Mistake(
                "other way round",
                "The quotient stands the other way round: look again at what is divided by what.",
                partial(right, inverted=not inverted),
            ),
            Mistake(
                "units mixed",
                "Rows of other units are among them. A ratio in words and one in images do not compare.",
                partial(right, mixed=True),
            ),
            Mistake("rounded", _ROUNDED, partial(right, whole=True)),
            Mistake("rounded at the end", _ROUNDED, lambda rows, unit: _rounded(right(rows, unit))),
            Mistake("other order", _OTHER_WAY, partial(right, descending=not descending)),
            Mistake("reversed", _OTHER_WAY, lambda rows, unit: right(rows, unit)[::-1]),
            Mistake(
                "ties",
                "Where two quotients are equal, the models are in the order of their names.",
                partial(right, by_name=False),
            ),
        ),
    )


COMPARE_MODELS = Task(
    name="a1.compare_models",
    title="Compare models whose examples have the same unit",
    marks=3,
    cases=_model_cases,
    variants=(
        _model_variant(
            "parameters per example, largest first",
            inverted=False,
            descending=True,
            texts={
                "quotient": "the number of parameters per training example",
                "order": "the largest quotient first",
                "code": 'row["parameters"] / row["examples"]',
                "key": "(-pair[1], pair[0])",
            },
        ),
        _model_variant(
            "examples per parameter, smallest first",
            inverted=True,
            descending=False,
            texts={
                "quotient": "the number of training examples per parameter",
                "order": "the smallest quotient first",
                "code": 'row["examples"] / row["parameters"]',
                "key": "(pair[1], pair[0])",
            },
        ),
    ),
    hint="Keep the rows of the unit, compute one quotient a row, then sort by quotient and name.",
)


# --- a1.summarise_gaps: a generalization gap with its spread over seeds


def _gaps(train: np.ndarray, heldout: np.ndarray) -> np.ndarray:
    return np.asarray(train, dtype=float) - np.asarray(heldout, dtype=float)


def _standard_errors(
    train: np.ndarray,
    heldout: np.ndarray,
    *,
    ddof: int = 1,
    axis: int = 0,
    root: bool = True,
    width: float = 2,
) -> np.ndarray:
    gaps = _gaps(train, heldout)
    mean, spread = gaps.mean(axis=axis), gaps.std(axis=axis, ddof=ddof)
    half = width * spread / (np.sqrt(gaps.shape[axis]) if root else 1)
    return np.stack([mean - half, mean, mean + half], axis=1)


def _unpaired_errors(train: np.ndarray, heldout: np.ndarray) -> np.ndarray:
    gaps = _gaps(train, heldout)
    variances = np.var(train, axis=0, ddof=1) + np.var(heldout, axis=0, ddof=1)
    half = 2 * np.sqrt(variances / len(gaps))
    return np.stack([gaps.mean(axis=0) - half, gaps.mean(axis=0), gaps.mean(axis=0) + half], axis=1)


def _quartiles(
    train: np.ndarray, heldout: np.ndarray, *, axis: int = 0, levels: Sequence[float] = (0.25, 0.5, 0.75)
) -> np.ndarray:
    return np.stack(list(np.quantile(_gaps(train, heldout), levels, axis=axis)), axis=1)


def _quartiles_apart(train: np.ndarray, heldout: np.ndarray) -> np.ndarray:
    levels = (0.25, 0.5, 0.75)
    return np.stack(list(np.quantile(train, levels, axis=0) - np.quantile(heldout, levels, axis=0)), axis=1)


def _gap_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    shapes = [(3, 2), (5, 4), (4, 4), (8, 1), (2, 3)]
    pairs = [_accuracies(rng, *shape) for shape in shapes]
    # Gaps below 0, whole numbers, and runs that are all alike.
    pairs.append(_accuracies(rng, 6, 2)[::-1])
    pairs.append((np.array([[1, 0], [1, 1], [1, 0], [1, 0]]), np.array([[0, 1], [0, 0], [0, 1], [1, 1]])))
    pairs.append((np.full((3, 2), 0.75), np.full((3, 2), 0.75)))
    return [Case({"train": train, "heldout": heldout}) for train, heldout in pairs]


def _accuracies(rng: np.random.Generator, num_seeds: int, num_sizes: int) -> tuple[np.ndarray, np.ndarray]:
    # A seed that learns its training set better does so at every size: the two are not independent.
    luck = rng.normal(0, 0.03, (num_seeds, 1))
    train = 0.85 + luck + rng.uniform(0, 0.1, (num_seeds, num_sizes))
    heldout = 0.6 + luck + rng.uniform(0, 0.15, (num_seeds, num_sizes))
    return np.round(train, 9), np.round(heldout, 9)


_SIGN = "The sign is turned: a gap is training minus held-out accuracy."
_AXIS = "The summary runs over the wrong axis: seeds are rows, training sizes are columns."
_PAIRED = (
    "Take the difference within each seed first, then summarise the differences: both come from one run."
)

SUMMARISE_GAPS = Task(
    name="a1.summarise_gaps",
    title="A generalization gap with its interval over seeds",
    marks=4,
    cases=_gap_cases,
    variants=(
        Variant(
            "the mean and two standard errors",
            {
                "summarise_gaps.middle": "the mean over seeds",
                "summarise_gaps.ends": "the mean minus and plus **two standard errors of the mean** (the standard "
                "deviation with $S - 1$ in its denominator, divided by $\\sqrt{S}$)",
                "summarise_gaps.code": "half = 2 * gaps.std(axis=0, ddof=1) / np.sqrt(len(gaps))\n"
                "middle = gaps.mean(axis=0)\n"
                "return np.stack([middle - half, middle, middle + half], axis=1)",
            },
            _standard_errors,
            (
                Mistake("sign", _SIGN, lambda train, heldout: _standard_errors(heldout, train)),
                Mistake("axis", _AXIS, partial(_standard_errors, axis=1)),
                Mistake(
                    "population",
                    "The standard deviation divides by S, not by S − 1: NumPy needs `ddof=1` for that.",
                    partial(_standard_errors, ddof=0),
                ),
                Mistake(
                    "deviation",
                    "These are standard deviations. The standard error of a mean is smaller by √S.",
                    partial(_standard_errors, root=False),
                ),
                Mistake(
                    "one error",
                    "One standard error stands here in place of two.",
                    partial(_standard_errors, width=1),
                ),
                Mistake("unpaired", _PAIRED, _unpaired_errors),
            ),
        ),
        Variant(
            "the median and the quartiles",
            {
                "summarise_gaps.middle": "the median over seeds",
                "summarise_gaps.ends": "the **lower and upper quartile** over seeds (`np.quantile` with its default, "
                "linear interpolation)",
                "summarise_gaps.code": "return np.stack(list(np.quantile(gaps, [0.25, 0.5, 0.75], axis=0)), axis=1)",
            },
            _quartiles,
            (
                Mistake("sign", _SIGN, lambda train, heldout: _quartiles(heldout, train)),
                Mistake("axis", _AXIS, partial(_quartiles, axis=1)),
                Mistake(
                    "range",
                    "These are the least and the greatest gap. Quartiles leave a quarter of the seeds out on "
                    "either side.",
                    partial(_quartiles, levels=(0, 0.5, 1)),
                ),
                Mistake("unpaired", _PAIRED, _quartiles_apart),
            ),
        ),
    ),
    hint="Differences first, one for each seed and size; then one summary a column, three numbers a row.",
)


# --- a1.descend: gradient descent that reports where it oversteps


def _descended(
    curvatures: Sequence[float],
    start: Sequence[float],
    learning_rate: float,
    rate: float,
    num_steps: int,
    *,
    move: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> dict[str, Any]:
    curvature, point = np.asarray(curvatures, dtype=float), np.asarray(start, dtype=float)
    velocity, points = np.zeros_like(point), [point]
    for step in range(num_steps):
        point, velocity = move(point, velocity, curvature, learning_rate, rate, step)
        points.append(point)
    return {"points": np.stack(points), "overshoot": _overshoot(points)}


def _overshoot(points: Sequence[np.ndarray], *, to_zero: bool = False) -> int | None:
    for step in range(1, len(points)):
        products = points[step] * points[step - 1]
        if np.any(products <= 0 if to_zero else products < 0):
            return step
    return None


def _constant(point: Any, velocity: Any, curvature: Any, eta: float, rate: float, step: int) -> Any:
    return point - eta * curvature * point, velocity


def _inverse_time(
    point: Any, velocity: Any, curvature: Any, eta: float, rate: float, step: int, *, first: int = 0
) -> Any:
    return point - eta / (1 + rate * (step + first)) * curvature * point, velocity


def _exponential(
    point: Any, velocity: Any, curvature: Any, eta: float, rate: float, step: int, *, first: int = 0
) -> Any:
    return point - eta * rate ** (step + first) * curvature * point, velocity


def _heavy_ball(point: Any, velocity: Any, curvature: Any, eta: float, rate: float, step: int) -> Any:
    velocity = rate * velocity - eta * curvature * point
    return point + velocity, velocity


def _averaged(point: Any, velocity: Any, curvature: Any, eta: float, rate: float, step: int) -> Any:
    velocity = rate * velocity - (1 - rate) * eta * curvature * point
    return point + velocity, velocity


def _nesterov(point: Any, velocity: Any, curvature: Any, eta: float, rate: float, step: int) -> Any:
    velocity = rate * velocity - eta * curvature * (point + rate * velocity)
    return point + velocity, velocity


# (curvatures, start, learning rate, rate, steps), exact in floating point: steps that end at 0 and go through 0, from
# either side; an overstep of the second axis alone, of the first alone, and of several steps; a start at 0; no step.
_EXACT_DESCENTS: tuple[tuple[list[float], list[float], float, float, int], ...] = (
    ([1.0], [2.0], 1.0, 0.5, 3),
    ([1.0, 2.0], [-2.0, -1.0], 0.5, 0.5, 4),
    ([0.5, 3.0], [1.0, 1.0], 0.5, 0.5, 2),
    ([3.0, 0.5], [-1.0, -1.0], 0.5, 0.5, 2),
    ([1.0], [1.0], 2.5, 0.5, 4),
    ([1.0, 2.0], [0.0, 1.0], 0.25, 0.5, 2),
    ([2.0], [1.5], 0.25, 0.5, 0),
)


def _descent_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    # (axes, the learning rate times the largest curvature, steps): below 1 nothing oversteps without momentum.
    sizes = [(1, 0.6, 3), (1, 1.7, 4), (2, 1.4, 6), (3, 2.3, 8), (2, 0.3, 12), (1, 1.2, 1)]
    exact = [
        Case(
            {
                "curvatures": np.array(curvatures),
                "start": np.array(start),
                "learning_rate": learning_rate,
                "rate": rate,
                "num_steps": num_steps,
            }
        )
        for curvatures, start, learning_rate, rate, num_steps in _EXACT_DESCENTS
    ]
    return [_descent_case(rng, *size) for size in sizes] + exact


def _descent_case(rng: np.random.Generator, num_axes: int, product: float, num_steps: int) -> Case:
    curvatures = np.round(rng.uniform(0.5, 4, num_axes), 3)
    return Case(
        {
            "curvatures": curvatures,
            "start": np.round(rng.uniform(0.5, 3, num_axes) * rng.choice([-1, 1], num_axes), 3),
            "learning_rate": round(float(product * rng.uniform(0.95, 1.05) / curvatures.max()), 5),
            "rate": round(float(rng.uniform(0.3, 0.9)), 3),
            "num_steps": num_steps,
        }
    )


def _without_start(**case: Any) -> dict[str, Any]:
    result = _descended(**case)
    return {**result, "points": result["points"][1:]}


def _counted_from_zero(**case: Any) -> dict[str, Any]:
    result = _descended(**case)
    step = result["overshoot"]
    return {**result, "overshoot": None if step is None else step - 1}


def _zero_with_sign(**case: Any) -> dict[str, Any]:
    result = _descended(**case)
    return {**result, "overshoot": _overshoot(result["points"], to_zero=True)}


def _moved_away(**case: Any) -> dict[str, Any]:
    result = _descended(**case)
    distances = np.linalg.norm(result["points"], axis=1)
    away = [step for step in range(1, len(distances)) if distances[step] > distances[step - 1]]
    return {**result, "overshoot": away[0] if away else None}


def _descent_variant(name: str, move: Callable, rule: str, code: str, wrong: Callable, hint: str) -> Variant:
    right = partial(_descended, move=move)
    return Variant(
        name,
        {"descend.name": name, "descend.rule": rule, "descend.code": code},
        right,
        (
            Mistake("rule", hint, partial(_descended, move=wrong)),
            Mistake(
                "plain",
                "This is plain gradient descent with a fixed step: `rate` has no effect on it.",
                partial(_descended, move=_constant),
            ),
            Mistake(
                "start missing",
                "The start belongs to the points: after T steps there are T + 1 of them.",
                partial(_without_start, move=move),
            ),
            Mistake(
                "counted from zero",
                "The points are right; the step that oversteps is counted from 1, the start being 0.",
                partial(_counted_from_zero, move=move),
            ),
            Mistake(
                "moved away",
                "A step can overstep the minimum and still come nearer to it. Ask whether a coordinate changes "
                "its sign.",
                partial(_moved_away, move=move),
            ),
            Mistake(
                "zero has a sign",
                "A coordinate that is exactly 0 has no sign, so that a step to 0 or from 0 does not overstep.",
                partial(_zero_with_sign, move=move),
            ),
        ),
    )


DESCEND = Task(
    name="a1.descend",
    title="Gradient descent that reports its first overstep",
    marks=5,
    cases=_descent_cases,
    variants=(
        _descent_variant(
            "a step size that decays with the inverse of time",
            _inverse_time,
            r"\eta_t = \frac{\eta}{1 + r\,t}, \qquad x_{t+1} = x_t - \eta_t \nabla f(x_t), \qquad t = 0, 1, \dots",
            "point = point - learning_rate / (1 + rate * step) * curvatures * point",
            partial(_inverse_time, first=1),
            "The first step has t = 0: its step size is η itself.",
        ),
        _descent_variant(
            "a step size that decays exponentially",
            _exponential,
            r"\eta_t = \eta\,r^t, \qquad x_{t+1} = x_t - \eta_t \nabla f(x_t), \qquad t = 0, 1, \dots",
            "point = point - learning_rate * rate**step * curvatures * point",
            partial(_exponential, first=1),
            "The first step has t = 0: its step size is η itself.",
        ),
        _descent_variant(
            "heavy-ball momentum",
            _heavy_ball,
            r"v_{t+1} = r\,v_t - \eta \nabla f(x_t), \qquad x_{t+1} = x_t + v_{t+1}, \qquad v_0 = 0",
            "velocity = rate * velocity - learning_rate * curvatures * point\npoint = point + velocity",
            _averaged,
            "The gradient enters with η alone, not with η (1 − r).",
        ),
        _descent_variant(
            "Nesterov momentum",
            _nesterov,
            r"v_{t+1} = r\,v_t - \eta \nabla f(x_t + r\,v_t), \qquad x_{t+1} = x_t + v_{t+1}, \qquad v_0 = 0",
            "velocity = rate * velocity - learning_rate * curvatures * (point + rate * velocity)\n"
            "point = point + velocity",
            _heavy_ball,
            "The gradient is taken at x_t. Nesterov takes it where the momentum alone would lead, at x_t + r v_t.",
        ),
    ),
    hint="Keep every point, the start included; then look for the first step that changes a coordinate's sign.",
)


# --- a1.stop_early: find the bug


def _stop_right(losses: Sequence[float], patience: int, min_delta: float) -> tuple[int, int]:
    best, best_epoch, waited = float("inf"), 0, 0
    for epoch, loss in enumerate(losses):
        if loss < best - min_delta:
            best, best_epoch, waited = loss, epoch, 0
        else:
            waited += 1
        if waited == patience:
            return best_epoch, epoch
    return best_epoch, len(losses) - 1


def _stop_never_reset(losses, patience, min_delta):  # type: ignore[no-untyped-def]
    best, best_epoch, waited = float("inf"), 0, 0
    for epoch, loss in enumerate(losses):
        if loss < best - min_delta:
            best, best_epoch = loss, epoch
        else:
            waited += 1
        if waited == patience:
            return best_epoch, epoch
    return best_epoch, len(losses) - 1


def _stop_previous(losses, patience, min_delta):  # type: ignore[no-untyped-def]
    previous, best_epoch, waited = float("inf"), 0, 0
    for epoch, loss in enumerate(losses):
        if loss < previous - min_delta:
            best_epoch, waited = epoch, 0
        else:
            waited += 1
        previous = loss
        if waited == patience:
            return best_epoch, epoch
    return best_epoch, len(losses) - 1


def _stop_one_late(losses, patience, min_delta):  # type: ignore[no-untyped-def]
    best, best_epoch, waited = float("inf"), 0, 0
    for epoch, loss in enumerate(losses):
        if loss < best - min_delta:
            best, best_epoch, waited = loss, epoch, 0
        else:
            waited += 1
        if waited > patience:
            return best_epoch, epoch
    return best_epoch, len(losses) - 1


def _stop_slow_creep(losses: Sequence[float], patience: int, min_delta: float) -> tuple[int, int]:
    """Forget `min_delta`."""
    return _stop_right(losses, patience, 0.0)


def _stop_equal(losses: Sequence[float], patience: int, min_delta: float) -> tuple[int, int]:
    """Count a loss that is lower by `min_delta` exactly."""
    best, best_epoch, waited = float("inf"), 0, 0
    for epoch, loss in enumerate(losses):
        improves = loss <= best - min_delta
        best, best_epoch, waited = (loss, epoch, 0) if improves else (best, best_epoch, waited + 1)
        if waited == patience:
            return best_epoch, epoch
    return best_epoch, len(losses) - 1


def _loss_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    cases: list[tuple[list[float], int, float]] = [
        ([1.0, 0.8, 0.9, 0.7, 0.75, 0.72, 0.71, 0.6], 3, 0.0),
        ([1.0, 0.9, 1.2, 1.1, 1.0, 0.95, 0.93], 3, 0.0),
        ([1.0, 0.999, 0.998, 0.997, 0.5], 2, 0.01),
        ([0.5, 0.6, 0.7], 5, 0.0),
        ([1.0, float("nan"), float("nan"), 0.2], 2, 0.0),
        # Equal losses, and those lower by `min_delta` exactly; the creep is none once it has come far enough.
        ([1.0, 1.0, 0.5, 0.5, 0.5, 0.25], 2, 0.0),
        ([1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125], 4, 0.25),
        # A first loss that is NaN, one epoch, losses far from 1, differences of nearly nothing.
        ([float("nan"), 0.75, 0.5, float("nan"), 0.25], 2, 0.0),
        ([0.5], 1, 0.0),
        ([3e9, 2e9, 1e9, 2e9], 1, 0.0),
        ([-1.0, -2.0, -3.0, -2.5, -3.25, -2.0], 2, 0.5),
        ([0.5, 0.4999999, 0.4999998, 0.4999999], 2, 0.0),
        # The last epoch is the one that stops it, or would be the next.
        ([1.0, 0.5, 0.6, 0.7], 2, 0.0),
        ([1.0, 0.5, 0.6, 0.7], 3, 0.0),
        ([1.0, 1.5, 0.5, 0.25], 1, 0.0),
    ]
    for _ in range(4):
        losses = 1 / np.arange(1, 13) + 0.15 * rng.random(12)
        cases.append((np.round(losses, 3).tolist(), int(rng.integers(2, 4)), 0.0125))
    return [Case({"losses": losses, "patience": p, "min_delta": delta}) for losses, p, delta in cases]


def _bug(name: str, function: Callable, hint: str, symptom: str) -> Variant:
    shown = shown_source(function, "stop_early_with_bug")
    others = {
        "never reset": (_stop_never_reset, "Waiting starts anew after an improvement."),
        "previous": (_stop_previous, "An improvement is one over the best loss so far, not over the last."),
        "one late": (_stop_one_late, "With patience 1, the first epoch that does not improve is the last."),
        "creep": (_stop_slow_creep, "An improvement of less than `min_delta` is none."),
        "equal": (_stop_equal, "Lower by `min_delta` exactly is no improvement: it takes more."),
    }
    mistakes = [
        Mistake(key, (AS_GIVEN + hint) if wrong is function else text, wrong)
        for key, (wrong, text) in others.items()
    ]
    return Variant(
        name, {"stop_early.bug": shown, "stop_early.symptom": symptom}, _stop_right, tuple(mistakes)
    )


STOP_EARLY = Task(
    name="a1.stop_early",
    title="Find the bug in an early-stopping rule",
    marks=4,
    cases=_loss_cases,
    variants=(
        _bug(
            "the bug is in the waiting",
            _stop_never_reset,
            "Follow `waited` by hand over a loss that improves after it has once got worse.",
            "training stops long before it should, although the loss kept improving",
        ),
        _bug(
            "the bug is in the comparison",
            _stop_previous,
            "What is each loss compared with, and what should it be compared with?",
            "the model that is kept is sometimes worse than one it had before",
        ),
        _bug(
            "the bug is in the patience",
            _stop_one_late,
            "Count by hand how many epochs without improvement it takes until this returns.",
            "training always goes on for longer than the patience it was given",
        ),
    ),
    hint="Take the first losses of the text above and write down `best`, `waited` and the epoch line by line.",
)


# --- a1.choose_degree: the open experiment

# y at x, for a sharpness and a place of the middle: at 0 a curve is flat, and the sharper, the higher its best degree.
CURVES: dict[str, Callable[..., np.ndarray]] = {
    "waves": lambda x, sharpness, middle: np.sin(2.3 * sharpness * np.pi * (x - middle)),
    "a slope": lambda x, sharpness, middle: np.tanh(10 * sharpness * (x - middle)),
    "a bump": lambda x, sharpness, middle: 2 * np.exp(-20 * sharpness * (x - middle) ** 2),
}
# Besides a flat curve, for which degree 0 is best, a very sharp one, for which the last degree is, and an odd one.
NUM_BETWEEN = 3
MAX_DEGREE = 12
_SETS = ("train", "validation", "test")
# What the parts are worth.
DEGREE_MARKS = {"test error": 2, "validation errors as reported": 1, "choice by validation error": 1}
# How much worse than a choice by validation error the predictions may be, in mean squared error on test points.
WORST_FACTOR = 1.1
# How far apart the errors of two ways to solve the same least squares may be.
ROUNDING = 0.005
# How much worse a wrong choice is on test points, in some case, and how much on validation points.
LEAST_TEST_FACTOR, LEAST_VALIDATION_FACTOR = 1.12, 1.02


def _among(first: int, behind: int, step: int = 1) -> Callable[..., int]:
    """Choose the degree of least validation error among some alone."""
    return lambda train, validation: first + step * int(np.argmin(validation[first:behind:step]))


def _within(share: float, place: int) -> Callable[..., int]:
    """Choose the first or the last degree that is nearly the best."""
    return lambda train, validation: int(np.flatnonzero(validation <= (1 + share) * validation.min())[place])


def _first_rise(train: np.ndarray, validation: np.ndarray) -> int:
    """Go on to higher degrees until the validation error rises."""
    return int(np.argmax(np.append(np.diff(validation) >= 0, True)))


_ABOVE_0, _BELOW_LAST, _EVEN = _among(1, MAX_DEGREE + 1), _among(0, MAX_DEGREE), _among(0, MAX_DEGREE + 1, 2)
# Wrong choices, from the errors of each degree. Each has a higher validation error than the right one in some case,
_NEAR_CHOICES: tuple[Callable[..., int], ...] = (
    *(_within(share, place) for share in (0.05, 0.1, 0.2) for place in (0, -1)),
    lambda train, validation: int(np.argmin(np.round(validation, 2))),
    lambda train, validation: int(np.argmin(train + validation)),
)
# and each of these a higher test error, too.
_FAR_CHOICES: tuple[Callable[..., int], ...] = (
    *(_among(degree, degree + 1) for degree in range(MAX_DEGREE + 1)),
    _ABOVE_0,
    _BELOW_LAST,
    _EVEN,
    _among(1, MAX_DEGREE + 1, 2),
    _first_rise,
    lambda train, validation: MAX_DEGREE - _first_rise(train[::-1], validation[::-1]),
    lambda train, validation: min(int(np.argmin(validation)) + 1, MAX_DEGREE),
    lambda train, validation: max(int(np.argmin(validation)) - 1, 0),
    lambda train, validation: int(np.argmin(train)),
    lambda train, validation: int(np.argmin(np.abs(validation - train))),
)


def _degree_cases(rng: np.random.Generator, variant: str) -> list[Case]:
    """Draw cases until each wrong way to choose loses in one of them."""
    # The same number of points in all cases, which come in any order: only the points tell the degree.
    draw = partial(_degree_case, rng, variant, int(rng.integers(24, 31)))
    flat = _first_telling(lambda: [draw(0.0, noise=rng.uniform(0.1, 0.4))], [_ABOVE_0])
    sharp = _first_telling(lambda: [draw(rng.uniform(1, 1.4), noise=rng.uniform(0.03, 0.1))], [_BELOW_LAST])
    odd = _first_telling(lambda: [draw(rng.uniform(0.1, 1), noise=rng.uniform(0.1, 0.4))], [_EVEN])

    def with_some_between() -> list[Case]:
        sharpnesses = 0.1 + 0.9 * (np.arange(NUM_BETWEEN) + rng.random(NUM_BETWEEN)) / NUM_BETWEEN
        between = [draw(sharpness, noise=rng.uniform(0.1, 0.4)) for sharpness in sharpnesses]
        return [*flat, *sharp, *odd, *between]

    cases = _first_telling(with_some_between, _FAR_CHOICES, _NEAR_CHOICES)
    return [cases[place] for place in rng.permutation(len(cases))]


def _first_telling(
    draw: Callable[[], list[Case]], far: Sequence[Callable[..., int]], near: Sequence[Callable[..., int]] = ()
) -> list[Case]:
    """Draw cases until every wrong choice is seen to be wrong in one of them."""
    while True:
        cases = draw()
        errors = [_errors_of_degrees(case) for case in cases]
        if all(_is_seen(choose, errors, LEAST_TEST_FACTOR) for choose in far) and all(
            _is_seen(choose, errors, 0.0) for choose in near
        ):
            return cases


def _is_seen(choose: Callable[..., int], errors: Sequence[Any], least_test_factor: float) -> bool:
    on_validation, on_test = np.max([_factors(choose, *of_case) for of_case in errors], axis=0)
    return bool(on_validation > LEAST_VALIDATION_FACTOR and on_test > least_test_factor)


def _factors(
    choose: Callable[..., int], train: np.ndarray, validation: np.ndarray, test: np.ndarray
) -> tuple[float, float]:
    """Give how much worse a choice is than that by validation error, on validation and on test points."""
    chosen, best = choose(train, validation), int(np.argmin(validation))
    return float(validation[chosen] / validation[best]), float(test[chosen] / test[best])


def _degree_case(
    rng: np.random.Generator, variant: str, num_train: int, sharpness: float, *, noise: float
) -> Case:
    curve = partial(CURVES[variant], sharpness=sharpness, middle=rng.uniform(-0.2, 0.2))
    sets = {
        name: _points(rng, curve, noise, count)
        for name, count in (("train", num_train), ("validation", 80), ("test", 300))
    }
    arguments = {f"{axis}_{name}": sets[name]["xy".index(axis)] for name in sets for axis in "xy"}
    y_test = arguments.pop("y_test")
    return Case(arguments, {"y_test": y_test})


def _points(
    rng: np.random.Generator, curve: Callable[[np.ndarray], np.ndarray], noise: float, count: int
) -> tuple[np.ndarray, np.ndarray]:
    # One point in each of `count` equal parts: no draw leaves a gap that makes the best degree a matter of luck.
    x = -1 + 2 * (np.arange(count) + rng.random(count)) / count
    x = rng.permutation(x)
    return x, curve(x) + rng.normal(0, noise, count)


def _degree_properties(cases: Sequence[Case], answers: Sequence[Any]) -> list[Measured]:
    unusable = first_problem(map(_form_problem, answers))
    if unusable:
        return [Measured(name, marks, False, unusable) for name, marks in DEGREE_MARKS.items()]
    errors = [_errors_of_degrees(case) for case in cases]
    validation = [of_case[1] for of_case in errors]
    factors = list(map(_error_factor, cases, errors, answers))
    problems = {
        "test error": first_problem(map(_prediction_problem, cases, answers)),
        "validation errors as reported": first_problem(map(_validation_problem, validation, answers)),
        "choice by validation error": first_problem(map(_choice_problem, validation, answers)),
    }
    factor = (
        f"at worst {min(max(factors), 999):.2f} times that of a choice by validation error; "
        f"{WORST_FACTOR} is allowed."
    )
    if max(factors) > WORST_FACTOR:
        problems["test error"] = problems["test error"] or factor
    well = {
        "test error": factor,
        "validation errors as reported": "they are those of least-squares fits to the training points.",
        "choice by validation error": "of all degrees, yours has the least.",
    }
    return [
        Measured(name, marks, not problems[name], problems[name] or well[name])
        for name, marks in DEGREE_MARKS.items()
    ]


def _form_problem(answer: Any) -> str:
    return "" if isinstance(answer, Mapping) else "the function returns no dictionary."


def _missing(answer: Mapping[str, Any], *keys: str) -> str:
    return first_problem(f'the key "{key}" is missing.' for key in keys if key not in answer)


def _error_factor(case: Case, errors: Sequence[np.ndarray], answer: Mapping[str, Any]) -> float:
    _, validation, test = errors
    predictions, y_test = as_numbers(answer.get("predictions")), case.hidden["y_test"]
    if predictions.shape != y_test.shape or not np.isfinite(predictions).all():
        return float("inf")
    return float(np.mean((predictions - y_test) ** 2) / test[np.argmin(validation)])


def _prediction_problem(case: Case, answer: Mapping[str, Any]) -> str:
    """Compare the predictions with a fit's: a better method than the fit of the degree is another task."""
    malformed = _missing(answer, "degree", "predictions") or _degree_problem(answer)
    if malformed:
        return malformed
    given = case.arguments
    degree, predictions = int(answer["degree"]), as_numbers(answer["predictions"])
    own = _predictions(given, given["x_test"])[degree]
    if predictions.shape != own.shape:
        return '"predictions" is no array of one number for each test point.'
    if np.allclose(predictions, own, rtol=0.01, atol=0.01):
        return ""
    return "the predictions are not those of the fit of your degree to the training points."


def _validation_problem(validation: np.ndarray, answer: Mapping[str, Any]) -> str:
    if "validation_errors" not in answer:
        return _missing(answer, "validation_errors")
    reported = answer["validation_errors"]
    if isinstance(reported, list | tuple | np.ndarray):
        # In the order of the degrees: it says the same.
        reported = dict(enumerate(reported))
    if not isinstance(reported, Mapping):
        return '"validation_errors" is no dictionary.'
    if set(reported) != set(range(MAX_DEGREE + 1)):
        return f"asked for are those of the degrees from 0 to {MAX_DEGREE}, each once."
    errors = {degree: as_numbers(reported[degree]) for degree in range(MAX_DEGREE + 1)}
    no_numbers = [
        degree for degree, error in errors.items() if error.size != 1 or not np.isfinite(error).all()
    ]
    if no_numbers:
        return f'"validation_errors" holds no finite number for degree {no_numbers[0]}.'
    # Another way to solve the same least squares ends in other roundings.
    wrong = [
        degree
        for degree, own in enumerate(validation)
        if not abs(errors[degree].sum() - own) <= ROUNDING * own
    ]
    if not wrong:
        return ""
    return f"a fit of degree {wrong[0]} to the training points alone has another mean squared error."


def _choice_problem(validation: np.ndarray, answer: Mapping[str, Any]) -> str:
    """Compare the degree with the one that has the least validation error, whatever was reported."""
    malformed = _missing(answer, "degree") or _degree_problem(answer)
    if malformed:
        return malformed
    chosen = validation[int(answer["degree"])]
    return "" if chosen <= (1 + ROUNDING) * validation.min() else "another degree has a lower one."


def _degree_problem(answer: Mapping[str, Any]) -> str:
    degree = as_whole_number(answer["degree"])
    if degree is not None and 0 <= degree <= MAX_DEGREE:
        return ""
    return f"the degree is no whole number from 0 to {MAX_DEGREE}."


def _errors_of_degrees(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the mean squared errors of each degree's fit on training, validation and test points."""
    given = {**case.arguments, **case.hidden}
    x, y = (np.concatenate([given[f"{axis}_{name}"] for name in _SETS]) for axis in "xy")
    squares = (_predictions(given, x) - y) ** 2
    ends = np.cumsum([len(given[f"x_{name}"]) for name in _SETS])
    train, validation, test = (part.mean(axis=1) for part in np.split(squares, ends[:-1], axis=1))
    return train, validation, test


def _predictions(given: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    """Give what the fit of each degree to the training points says at x, an array [degrees, points]."""
    basis, triangle = np.linalg.qr(legvander(given["x_train"], MAX_DEGREE))
    # In an orthogonal basis, the fit of a degree is that of the degree below and one term more.
    terms = np.linalg.solve(triangle.T, legvander(x, MAX_DEGREE).T)
    return np.asarray(np.cumsum((basis.T @ given["y_train"])[:, None] * terms, axis=0))


CHOOSE_DEGREE = Task(
    name="a1.choose_degree",
    title="Open experiment: choose a degree without looking at the test",
    marks=4,
    cases=_degree_cases,
    variants=tuple(Variant(curve, {"choose_degree.curve": curve}) for curve in CURVES),
    hint="Fit every degree to the training points, measure on the validation points, and use the test points "
    "only to predict.",
    measure=_degree_properties,
)

ASSIGNMENT = Assignment(
    name="a1",
    title="Complexity and overfitting",
    tasks=(COMPARE_MODELS, SUMMARISE_GAPS, DESCEND, STOP_EARLY, CHOOSE_DEGREE),
    # `gradient_descent` does one step of a fixed size; the rest of the task would be a loop around it.
    blocked=("course_lib.complexity.descent.gradient_descent",),
)
